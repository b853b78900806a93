"""The days and instants of a recurring rule. Nothing here touches the database.

A rule is kept on the clinic's wall: nine o'clock stays nine o'clock when the clocks change, and each date becomes an
instant by itself. A date on which that time does not exist is left out and not counted; a time that comes twice counts
once, when it first comes.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from itertools import count
from zoneinfo import ZoneInfo

from app.errors import ValidationFailed
from app.services.scheduling.claims import YEARS
from app.services.scheduling.slots import first_instant
from models.appointment_series import MOST_DATES, Frequency, Recurrence

Occurrence = tuple[date, datetime]
"""A day of the clinic's calendar, and the instant (UTC) at which its clocks show the time of the series."""
_WEEK = 7


def occurrences(rule: Recurrence, first: date, wall: time, zone: ZoneInfo, *, at: str) -> list[Occurrence]:
    """The dates of a rule from `first` on, in order.

    Raises VALIDATION_FAILED below `at` for a rule without an end, with more dates than a series may have, or none.
    """
    if rule.count is None and rule.until is None:
        raise ValidationFailed.at(f"{at}.count", "must be given, or until: a series has an end")
    found: list[Occurrence] = []
    most = rule.count or MOST_DATES
    until = date.fromisoformat(rule.until) if rule.until else date.max
    for day in _days(rule, first):
        if day > until or len(found) == rule.count:
            break
        if len(found) == most:
            raise ValidationFailed.at(f"{at}.until", f"must be near enough for {MOST_DATES} dates at most")
        shown = datetime.combine(day, wall)
        instant = first_instant(shown, zone)
        if instant.astimezone(zone).replace(tzinfo=None) == shown:
            found.append((day, instant))
    if not found:
        raise ValidationFailed.at(f"{at}.until", "must not be before the first date")
    return found


def _days(rule: Recurrence, first: date) -> Iterator[date]:
    """The rule's days, `first` or later, up to the last year that can be planned in."""
    step = {Frequency.DAILY: _daily, Frequency.WEEKLY: _weekly, Frequency.MONTHLY: _monthly}[rule.frequency]
    for day in step(rule, first):
        if day.year >= YEARS.stop:
            return
        if day >= first:
            yield day


def _daily(rule: Recurrence, first: date) -> Iterator[date]:
    return (first + timedelta(days=rule.interval * turn) for turn in count())


def _weekly(rule: Recurrence, first: date) -> Iterator[date]:
    monday = first - timedelta(days=first.weekday())
    weekdays = sorted(set(rule.weekdays)) or [first.weekday()]
    for turn in count():
        week = monday + timedelta(days=_WEEK * rule.interval * turn)
        yield from (week + timedelta(days=weekday) for weekday in weekdays)


def _monthly(rule: Recurrence, first: date) -> Iterator[date]:
    for turn in count():
        year, month = divmod(first.year * 12 + first.month - 1 + rule.interval * turn, 12)
        yield _in_month(year, month + 1, first)


def _in_month(year: int, month: int, like: date) -> date:
    """The day of that month which is like `like`: the second Tuesday, say. A fifth one stands for the last."""
    begins, length = monthrange(year, month)
    day = 1 + (like.weekday() - begins) % _WEEK + _WEEK * ((like.day - 1) // _WEEK)
    return date(year, month, day if day <= length else day - _WEEK)


def shifted(rule: Recurrence, before: date, after: date, dates: int) -> Recurrence:
    """The rule for `dates` dates once the one on `before` is moved to `after`: the weekdays move along."""
    move = after.weekday() - before.weekday()
    weekdays = sorted({(weekday + move) % _WEEK for weekday in rule.weekdays})
    return Recurrence(frequency=rule.frequency, interval=rule.interval, weekdays=weekdays, count=dates)
