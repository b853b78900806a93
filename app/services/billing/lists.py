"""Filters of the lists about money: by state, patient, the clinic's own days, and what is overdue."""

from __future__ import annotations

from datetime import date
from typing import Any

from app.errors import ValidationFailed
from app.services.billing.coverage import today
from app.services.changes import storable
from app.services.scheduling.claims import check_year
from app.services.scheduling.diary import clinic_zone
from app.services.scheduling.slots import day_bounds
from models.invoice import OWED


def within(column: str, first: date | None, last: date | None) -> dict[str, Any]:
    """The filter of what happened from the clinic's day `first` to `last`, both included.

    Raises VALIDATION_FAILED at `filter.from` or `filter.to`.
    """
    bounds: dict[str, Any] = {}
    for day, path in ((first, "filter.from"), (last, "filter.to")):
        if day is not None:
            check_year(day, path)
    if first is not None and last is not None and last < first:
        raise ValidationFailed.at("filter.to", "must not be before from")
    if first is not None:
        bounds["$gte"] = day_bounds(first, clinic_zone())[0]
    if last is not None:
        bounds["$lt"] = day_bounds(last, clinic_zone())[1]
    return {column: bounds} if bounds else {}


def equal(**columns: Any) -> dict[str, Any]:
    """The filter of columns that equal a value; those without one are left out."""
    return {column: storable(value) for column, value in columns.items() if value is not None}


def overdue() -> dict[str, Any]:
    """The filter of invoices of which something is open after the day on which it was due."""
    return {"status": {"$in": [state.value for state in OWED]}, "due_on": {"$lt": today()}}
