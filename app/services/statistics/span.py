"""The days that figures are about, and what they are broken down by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from bson import ObjectId

from app.errors import ValidationFailed
from app.services.changes import Row
from app.services.scheduling.claims import check_year
from app.services.scheduling.diary import clinic_zone
from app.services.scheduling.slots import day_bounds

MAX_DAYS = 366
MOST_GROUPS = 1000


class StatisticsBy(StrEnum):
    """What figures are broken down by."""

    DAY = "day"
    DOCTOR = "doctor_id"
    SERVICE = "service_id"


@dataclass(frozen=True, slots=True)
class Span:
    """Days of the clinic's calendar, both included, for all doctors or for one."""

    first: date
    last: date
    by: StatisticsBy
    zone: ZoneInfo
    doctor_id: ObjectId | None = None

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        """The first instant of the span, and the first one after it."""
        return day_bounds(self.first, self.zone)[0], day_bounds(self.last, self.zone)[1]

    @property
    def days(self) -> list[str]:
        """Each day, as it is stored."""
        return [(self.first + timedelta(days=at)).isoformat() for at in range((self.last - self.first).days + 1)]

    @property
    def doctors(self) -> Row:
        """The filter for the doctor, if one is asked for."""
        return {"doctor_id": self.doctor_id} if self.doctor_id is not None else {}

    def key(self, day: Any) -> Any:
        """The expression that a `$group` is keyed by; `day` is that for the clinic's day."""
        return day if self.by is StatisticsBy.DAY else f"${self.by.value}"

    def day_of(self, column: str) -> Row:
        """The expression for the clinic's day of an instant."""
        return {"$dateToString": {"date": f"${column}", "timezone": self.zone.key, "format": "%Y-%m-%d"}}


def span_of(first: date, last: date, by: StatisticsBy, doctor_id: ObjectId | None) -> Span:
    """The span of a request. Raises VALIDATION_FAILED at `from` or `to` for none, or more than 366 days."""
    check_year(first, "from")
    check_year(last, "to")
    if last < first:
        raise ValidationFailed.at("to", "must not be before from")
    if (last - first).days >= MAX_DAYS:
        raise ValidationFailed.at("to", f"must be less than {MAX_DAYS} days after from")
    return Span(first, last, by, clinic_zone(), doctor_id)
