"""Lists of appointments: a day or a span of the clinic's calendar, or all of one patient."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from bson import ObjectId

from app.errors import FieldError, ValidationFailed
from app.services.scheduling.claims import check_year
from app.services.scheduling.diary import clinic_zone
from app.services.scheduling.slots import day_bounds
from models.appointment import AppointmentStatus

MAX_SPAN = timedelta(days=93)
CLOCK_CHANGE = timedelta(hours=1)
"""By so much so many days may be longer."""


def listed(
    *,
    day: date | None,
    start: datetime | None,
    end: datetime | None,
    patient_id: ObjectId | None = None,
    doctor_id: ObjectId | None = None,
    room_id: ObjectId | None = None,
    status: AppointmentStatus | None = None,
) -> dict[str, Any]:
    """The filter of a list: what starts in [start, end) or on the clinic's own `day`, at most 93 days.

    One patient's appointments may be asked for without bounds. Raises VALIDATION_FAILED at `filter.…`.
    """
    equal = {
        "patient_id": patient_id,
        "doctor_id": doctor_id,
        "room_id": room_id,
        "status": status.value if status else None,
    }
    where: dict[str, Any] = {name: value for name, value in equal.items() if value is not None}
    within = _on(day, start, end) if day else _between(start, end, bounded=patient_id is None)
    return {**where, "starts_at": within} if within else where


def _on(day: date, start: datetime | None, end: datetime | None) -> dict[str, datetime]:
    if start or end:
        raise ValidationFailed.at("filter.day", "Give either the day, or from and to.")
    check_year(day, "filter.day")
    begins, ends = day_bounds(day, clinic_zone())
    return {"$gte": begins, "$lt": ends}


def _between(start: datetime | None, end: datetime | None, *, bounded: bool) -> dict[str, datetime]:
    for moment, path in ((start, "filter.from"), (end, "filter.to")):
        if moment is not None:
            check_year(moment, path)
    if start and end and end <= start:
        raise ValidationFailed.at("filter.to", "must be after from")
    if bounded:
        _refuse_unbounded(start, end)
    bounds = {"$gte": start, "$lt": end}
    return {operator: moment for operator, moment in bounds.items() if moment is not None}


def _refuse_unbounded(start: datetime | None, end: datetime | None) -> None:
    missing = [path for moment, path in ((start, "filter.from"), (end, "filter.to")) if moment is None]
    if missing:
        why = "Say which day, or from and to, or which patient."
        raise ValidationFailed(fields=[FieldError(path, why) for path in missing])
    if start and end and end - start > MAX_SPAN + CLOCK_CHANGE:
        raise ValidationFailed.at("filter.to", f"must be at most {MAX_SPAN.days} days after from")
