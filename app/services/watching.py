"""Whom long work tells how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Stage = TypeVar("Stage")
Report = Callable[[str, int], None]
"""Told of a collection, and how many of its documents are dealt with since it was told last."""


@dataclass(frozen=True)
class Watching(Generic[Stage]):
    """Whom to tell: of each stage as it begins, and in it of documents that are dealt with."""

    stage: Callable[[Stage], None] = lambda _: None
    step: Report = lambda *_: None
