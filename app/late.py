"""Libraries that few requests need are loaded by the first that does, not by every process at its start; and what no
request needs, by none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any


class _Late(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)


def late(name: str) -> Any:
    """Stands for the module of that name, which is imported when something of it is asked for.

    A library that is missing is noticed then, too; the lock file names all of them. Used beside an import under
    `TYPE_CHECKING`, which tells the type checker what it stands for.
    """
    return _Late(name)


@contextmanager
def left_out(*names: str) -> Iterator[None]:
    """Imports in the block find none of these modules: for what a library would load only because it is there."""
    missing = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(missing))  # type: ignore[arg-type] # None: halts the import
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


@contextmanager
def emptied(name: str, *attributes: str) -> Iterator[None]:
    """Imports in the block find that module with nothing in it but these names, which mean nothing: for a part of a
    library that is never used and would load much."""
    hollow = ModuleType(name)
    vars(hollow).update(dict.fromkeys(attributes))
    there = sys.modules.setdefault(name, hollow)
    try:
        yield
    finally:
        if there is hollow:
            del sys.modules[name]
