"""When the clinic itself is open, in the terms of the slots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, time, timedelta
from zoneinfo import ZoneInfo

from app.services.changes import Row
from app.services.scheduling.claims import merged
from app.services.scheduling.slots import Absence, WeeklyRule, day_bounds
from models.values import now

MOST_CLOSURES = 400
"""So many to come a clinic may have."""


def opening_rules(hours: Iterable[Row]) -> list[WeeklyRule]:
    """Opening hours, as the clinic's settings store them, as rules of its week."""
    return [WeeklyRule(one["weekday"], _wall(one["opens"]), _wall(one["closes"])) for one in hours]


def _wall(text: str) -> time:
    return time.fromisoformat(text) if text != "24:00" else time(0)


def not_over() -> Row:
    """The filter for closures that are not over, whatever the clinic's day is."""
    return {"last_day": {"$gte": (now() - timedelta(days=1)).date().isoformat()}}


def closures_of(rows: Iterable[Row], zone: ZoneInfo) -> list[Absence]:
    """Stored closures as spans of time."""
    spans = [(date.fromisoformat(row["first_day"]), date.fromisoformat(row["last_day"])) for row in rows]
    return [Absence(day_bounds(first, zone)[0], day_bounds(last, zone)[1]) for first, last in spans]


def closed_between(
    rules: Sequence[WeeklyRule], closures: Iterable[Absence], first: date, last: date, zone: ZoneInfo
) -> list[Absence]:
    """What of the local days from `first` to `last` is outside of the opening hours, and all closures."""
    if not rules:
        return list(closures)
    days = [first + timedelta(days=offset) for offset in range(-1, (last - first).days + 2)]
    hours = merged(rule.worked(day, zone) for rule in rules for day in days if rule.applies_on(day))
    edge, end = day_bounds(first, zone)[0], day_bounds(last, zone)[1]
    closed = list(closures)
    for opens, closes in hours:
        if edge < min(opens, end):
            closed.append(Absence(edge, min(opens, end)))
        edge = max(edge, closes)
    return [*closed, Absence(edge, end)] if edge < end else closed
