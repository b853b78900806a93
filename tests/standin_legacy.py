"""The command that migrates old databases, killed (kill -9) before its N-th write:
`python -m tests.standin_legacy N …`."""

from __future__ import annotations

import os
import signal
import sys

from pymongo.monitoring import CommandStartedEvent

from app.tenancy.listener import TenantWall
from scripts.migrate_legacy import cli

WRITES = frozenset({"insert", "update", "delete", "findAndModify", "commitTransaction"})


def main() -> None:
    left = int(sys.argv.pop(1))
    started = TenantWall.started

    def dying(wall: TenantWall, event: CommandStartedEvent) -> None:
        nonlocal left
        left -= event.command_name in WRITES
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        started(wall, event)

    setattr(TenantWall, "started", dying)  # noqa: B010 - a method is replaced on purpose
    cli()


if __name__ == "__main__":
    main()
