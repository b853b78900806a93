"""Appointments that come again and again: the rule by which they were made, and what became of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field, StringConstraints, model_validator
from pymongo import ASCENDING, DESCENDING, IndexModel

from models.appointment import Obstacle, RequestMark
from models.base import TenantDocument, Versioned
from models.references import PlatformReference, Reference
from models.uniques import ONE_PER_REQUEST
from models.values import Day, Line, Value

MOST_DATES = 104
"""Two years of weeks."""


class Frequency(StrEnum):
    """What a series counts its intervals in."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


class Recurrence(Value):
    """A rule: every so many days, weeks (on some weekdays) or months (on the first day's weekday of that week).

    It ends after `count` dates or on the day `until`, whichever comes first. `weekdays` (0 is Monday) are for weeks
    alone; without them it is the first day's.
    """

    frequency: Frequency
    interval: int = Field(default=1, ge=1, le=52)
    weekdays: list[Annotated[int, Field(ge=0, le=6)]] = Field(default_factory=list, max_length=7)
    count: int | None = Field(default=None, ge=1, le=MOST_DATES)
    until: Day | None = None

    @model_validator(mode="after")
    def _weekdays_of_weeks(self) -> Recurrence:
        if self.weekdays and self.frequency is not Frequency.WEEKLY:
            raise ValueError("weekdays are for weekly appointments")
        return self


class SkippedDate(Value):
    """A date on which there is no appointment, because something was in the way when the series was made."""

    starts_at: datetime
    obstacle: Obstacle


class AppointmentSeries(Versioned, TenantDocument):
    """What the appointments of a series have in common. Each of them stands for itself once it is made.

    `starts` is a time on the clinic's wall. From the day `ended_before` on the series has no dates any more: they were
    called off, or belong to another series, which `continues_id` then.
    """

    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    doctor_id: Annotated[PydanticObjectId, Reference("staff")]
    room_id: Annotated[PydanticObjectId, Reference("rooms")] | None = None
    service_id: Annotated[PydanticObjectId, Reference("services")] | None = None
    rule: Recurrence
    first_day: Day
    starts: Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5][05]$")]
    minutes: int = Field(ge=5, le=720, multiple_of=5)
    reason: Line | None = None
    skipped: list[SkippedDate] = Field(default_factory=list, max_length=MOST_DATES)
    continues_id: Annotated[PydanticObjectId, Reference("appointment_series")] | None = None
    ended_before: Day | None = None
    requests: list[RequestMark] = Field(default_factory=list)
    created_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None

    class Settings:
        name = "appointment_series"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)],
                name="patient_created",
            ),
            ONE_PER_REQUEST,
        )
