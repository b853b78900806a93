"""The commands, each run as `python -m scripts.NAME`. Ctrl-C ends any of them without a trace also while it is still
being loaded, which takes a second or two."""

from __future__ import annotations

import sys
from types import TracebackType

_told = sys.excepthook


def _quietly(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        _told(kind, error, trace)


if sys.argv[:1] == ["-m"]:  # Python is looking for the command that is to run
    sys.excepthook = _quietly
