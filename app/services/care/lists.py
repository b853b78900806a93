"""What lists of clinical documents have in common: columns that equal a value, and a span of time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from app.errors import ValidationFailed
from app.services.changes import storable
from app.services.scheduling.claims import check_year
from app.services.scheduling.diary import clinic_zone
from app.services.scheduling.slots import day_bounds


def listed(
    column: str,
    *,
    day: date | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    equal: Mapping[str, Any],
) -> dict[str, Any]:
    """The filter of a list: columns that equal what is given in `equal`, and `column` on a day or in [start, end).

    Raises VALIDATION_FAILED at `filter.…`.
    """
    where = {name: storable(value) for name, value in equal.items() if value is not None}
    within = _on(day, start, end) if day is not None else _between(start, end)
    return {**where, column: within} if within else where


def _on(day: date, start: datetime | None, end: datetime | None) -> dict[str, datetime]:
    if start or end:
        raise ValidationFailed.at("filter.day", "Give either the day, or from and to.")
    check_year(day, "filter.day")
    begins, ends = day_bounds(day, clinic_zone())
    return {"$gte": begins, "$lt": ends}


def _between(start: datetime | None, end: datetime | None) -> dict[str, datetime]:
    for moment, path in ((start, "filter.from"), (end, "filter.to")):
        if moment is not None:
            check_year(moment, path)
    if start and end and end <= start:
        raise ValidationFailed.at("filter.to", "must be after from")
    bounds = {"$gte": start, "$lt": end}
    return {operator: moment for operator, moment in bounds.items() if moment is not None}
