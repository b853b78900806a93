"""The days on which the clinic is closed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from app.errors import InvalidState, ValidationFailed
from app.services.changes import Row, build, row_of
from app.services.scheduling.claims import check_year
from app.services.scheduling.diary import clinic_zone
from app.services.scheduling.opening import MOST_CLOSURES
from models import Closure
from models.values import now

MAX_DAYS = 366


async def add(values: Mapping[str, Any]) -> Row:
    """Adds a closure: `name, first_day`, and maybe `last_day` (dates). What is booked already stays booked.

    Raises VALIDATION_FAILED at `input.…`, INVALID_STATE when as many are to come as may be.
    """
    first, last = values["first_day"], values.get("last_day") or values["first_day"]
    _check_days(first, last, "input.firstDay", "input.lastDay", MAX_DAYS)
    closure: Closure = build(Closure, {**values, "last_day": last})
    today = now().astimezone(clinic_zone()).date().isoformat()
    if await Closure.guarded().count_documents({"last_day": {"$gte": today}}, limit=MOST_CLOSURES) >= MOST_CLOSURES:
        raise InvalidState(f"There are {MOST_CLOSURES} closures to come already.")
    await closure.insert()
    return row_of(closure)


def between(first: date, last: date) -> Row:
    """The filter for closures that overlap these days, both included. Raises VALIDATION_FAILED at `from` or `to`."""
    _check_days(first, last, "from", "to", 2 * MAX_DAYS)
    return {"last_day": {"$gte": first.isoformat()}, "first_day": {"$lte": last.isoformat()}}


def _check_days(first: date, last: date, first_path: str, last_path: str, most: int) -> None:
    check_year(first, first_path)
    check_year(last, last_path)
    if not 0 <= (last - first).days < most:
        raise ValidationFailed.at(last_path, f"must be the first day or later, at most {most} days in all")
