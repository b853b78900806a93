"""When the clinic itself is open: its week, and the days on which it is closed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator
from pymongo import ASCENDING, IndexModel

from models.appointment import WallTime
from models.base import TenantDocument, Versioned
from models.values import Day, Line, Value


class OpeningHours(Value):
    """A span of one weekday (0 is Monday) in which the clinic is open, on its wall clock; `24:00` ends a day."""

    weekday: int = Field(ge=0, le=6)
    opens: WallTime
    closes: WallTime

    @model_validator(mode="after")
    def _closes_after_it_opens(self) -> OpeningHours:
        if self.closes <= self.opens:
            raise ValueError("must close after it opens, on the same day")
        return self


def _in_order(week: Sequence[OpeningHours]) -> list[OpeningHours]:
    ordered = sorted(week, key=lambda one: (one.weekday, one.opens))
    for one, following in pairwise(ordered):
        if one.weekday == following.weekday and following.opens < one.closes:
            raise ValueError("must not name an hour of a day twice")
    return ordered


OpeningWeek = Annotated[list[OpeningHours], Field(max_length=42), AfterValidator(_in_order)]
"""A week of opening hours, none overlapping another, in their order. An empty one says nothing."""


class Closure(Versioned, TenantDocument):
    """Days on which the clinic is closed, both included: a holiday, a move, a training."""

    name: Line
    first_day: Day
    last_day: Day

    class Settings:
        name = "closures"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("last_day", ASCENDING), ("first_day", ASCENDING), ("_id", ASCENDING)],
                name="days",
            ),
        )

    @model_validator(mode="after")
    def _ends_when_it_begins_or_later(self) -> Closure:
        if self.last_day < self.first_day:
            raise ValueError("the last day must not be before the first")
        return self
