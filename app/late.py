"""Libraries that few requests need are loaded by the first that does, not by every process at its start."""

from __future__ import annotations

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
