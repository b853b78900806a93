"""What documents with states have in common: which state may follow which, and the steps that were taken."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from beanie import PydanticObjectId
from pydantic import Field

from models.base import Versioned
from models.references import PlatformReference
from models.values import Line, Value, now

Transitions = Mapping[Any, frozenset[Any]]
"""Each state with those that may follow it. A state without any is an end."""


class Step(Value):
    """One step in a document's life: where it stood from then on, by whom (a user, or the patient), and why."""

    at: datetime = Field(default_factory=now)
    by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    by_patient: bool = False
    """Whether it was the patient themselves, in the portal."""
    status: str
    reason: Line | None = None


class Staged(Versioned):
    """A document that moves between states by `app.services.states.advance`, and by nothing else.

    The class that derives from it declares `status` with an enum of its own, and `transitions`.
    """

    transitions: ClassVar[Transitions]

    status: Any
    history: list[Step] = Field(default_factory=list)


def followers(transitions: Transitions, status: StrEnum) -> list[str]:
    """The names of the states that may follow, in their order."""
    return [one.name for one in type(status) if one in transitions[status]]


def before(transitions: Transitions, status: StrEnum) -> list[str]:
    """The stored values of the states from which `status` may be reached."""
    return [one.value for one in type(status) if status in transitions[one]]
