"""Free slots: from wall-clock working hours in a clinic's time zone to instants in UTC.

Working hours are what the clock on the wall shows; everything after that is arithmetic in UTC. One definition
carries the days on which clocks change: a wall time stands for the first instant at which the clocks show it
or something later. So hours that begin or end at a skipped time do so at the change itself, a time that comes
twice means its first coming, and work that began before runs on through the repeated hour.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Final
from zoneinfo import ZoneInfo

from app.errors import ValidationFailed
from app.services.scheduling.claims import Interval, check_duration, check_year, merged, to_utc

MAX_DAYS: Final = 31
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class WeeklyRule:
    """Working hours of one weekday (Monday is 0) in the clinic's wall-clock time.

    `end` 00:00 is the midnight that ends the day. `valid_from` and `valid_until` are local dates, both
    included; None leaves that side open. `start` is a multiple of 5 minutes: slots must be, to be claimed.
    Raises `ValidationFailed` for hours that are empty or cross midnight (write those as two rules).
    """

    weekday: int
    start: time
    end: time
    valid_from: date | None = None
    valid_until: date | None = None

    def __post_init__(self) -> None:
        if self.weekday not in range(7):
            raise ValidationFailed.at("input.weekday", "must be 0 (Monday) to 6 (Sunday)")
        if self.start.tzinfo or self.end.tzinfo:
            raise ValidationFailed.at("input.start", "Working hours are wall-clock times without a zone.")
        if self.start.minute % 5 or self.start.second or self.start.microsecond:
            raise ValidationFailed.at("input.start", "must be a multiple of 5 minutes")
        if self.end != time(0) and self.end <= self.start:
            raise ValidationFailed.at("input.end", "must be after the start, on the same day")
        if self.valid_from and self.valid_until and self.valid_until < self.valid_from:
            raise ValidationFailed.at("input.validUntil", "must not be before validFrom")

    def applies_on(self, day: date) -> bool:
        """Whether these hours are worked on this local date."""
        begun = self.valid_from is None or self.valid_from <= day
        ended = self.valid_until is not None and self.valid_until < day
        return self.weekday == day.weekday() and begun and not ended

    def walls(self, day: date) -> tuple[datetime, datetime]:
        """Naive local start and end on this date."""
        last = day + _DAY if self.end == time(0) else day
        return datetime.combine(day, self.start), datetime.combine(last, self.end)

    def worked(self, day: date, zone: ZoneInfo) -> Interval:
        """What is worked on this date, in UTC. Empty when the zone skips all of it."""
        start, end = self.walls(day)
        return first_instant(start, zone), first_instant(end, zone)


@dataclass(frozen=True, slots=True)
class Absence:
    """Time off: two instants (aware datetimes), the end not included."""

    start: datetime
    end: datetime


@lru_cache(maxsize=4_096)  # the same hours of the same days, booking after booking
def first_instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first instant (UTC) at which the zone's clocks show `wall` (naive) or something later.

    Of a time that comes twice this is the first; for a time that is skipped it is the moment of the change.
    It never runs backwards: a later wall time gives the same or a later instant.
    """
    instant = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if _wall(instant, zone) == wall:
        return instant
    return _change(wall.replace(tzinfo=zone, fold=1).astimezone(UTC), instant, wall, zone)


def day_bounds(day: date, zone: ZoneInfo) -> Interval:
    """The first instant of a local date and that of the next, in UTC: 24 hours, or 23 or 25 and the like when
    clocks change, or none at all for a date that the zone skipped. Consecutive days touch.

    Raises `ValidationFailed` at `day` for a year outside of 1900 to 2199.
    """
    check_year(day, "day")
    midnight = datetime.combine(day, time(0))
    return first_instant(midnight, zone), first_instant(midnight + _DAY, zone)


def free_slots(
    *,
    rules: Iterable[WeeklyRule],
    absences: Iterable[Absence],
    busy: Iterable[Interval],
    zone: ZoneInfo,
    first_day: date,
    last_day: date,
    duration: timedelta,
    step: timedelta,
    not_before: datetime,
) -> list[datetime]:
    """The starts (UTC, sorted, unique) at which `duration` is free on the local dates given, both included.

    Each rule offers its start and every `step` of wall-clock time after it. A slot must fit whole, in elapsed
    time, into the hours of that one rule, overlap neither `absences` nor `busy`, and not start before
    `not_before`. `duration` and `step` are multiples of 5 minutes up to 12 hours.

    Raises `ValidationFailed` at `duration`, `step`, `firstDay` or `lastDay` (at most 31 days).
    """
    check_duration(duration, "duration")
    check_duration(step, "step")
    taken = merged([*busy, *((absence.start, absence.end) for absence in absences)])
    earliest = to_utc(not_before)
    days = _days(first_day, last_day)
    candidates = {
        start
        for rule in rules
        for day in days
        if rule.applies_on(day)
        for start in _starts(rule, day, zone, duration, step)
    }
    return sorted(start for start in candidates if start >= earliest and not _overlaps(taken, start, start + duration))


def slot_fits(
    *,
    rules: Iterable[WeeklyRule],
    absences: Iterable[Absence] = (),
    zone: ZoneInfo,
    start: datetime,
    end: datetime,
) -> bool:
    """Whether [start, end) (aware) lies whole in working hours and in no absence.

    Unlike a slot it may start at any time, and may run from one rule into another that touches it. Claims
    decide whether the time is still free. Raises `ValidationFailed` at `start` or `end` for a year out of
    range, at `end` for a length of 0 or less or over 12 hours, or one that is no multiple of 5 minutes.
    """
    check_year(start, "start")
    check_year(end, "end")
    begins, ends = to_utc(start), to_utc(end)
    check_duration(ends - begins, "end")
    # A day more on either side: clocks that go back over midnight return to a date after the next one began,
    # and a zone that skips a date goes on with the one after it.
    local = begins.astimezone(zone).date()
    days = [local + offset * _DAY for offset in range(-1, 3)]
    hours = merged(rule.worked(day, zone) for rule in rules for day in days if rule.applies_on(day))
    away = merged((absence.start, absence.end) for absence in absences)
    inside = any(opens <= begins and ends <= closes for opens, closes in hours)
    return inside and not _overlaps(away, begins, ends)


def _days(first_day: date, last_day: date) -> list[date]:
    check_year(first_day, "firstDay")
    check_year(last_day, "lastDay")
    count = (last_day - first_day).days + 1
    if not 1 <= count <= MAX_DAYS:
        raise ValidationFailed.at("lastDay", f"must be the first day or later, at most {MAX_DAYS} days in all")
    return [first_day + offset * _DAY for offset in range(count)]


def _starts(rule: WeeklyRule, day: date, zone: ZoneInfo, duration: timedelta, step: timedelta) -> Iterator[datetime]:
    """The rule's slots on this date that exist and fit, whether free or not."""
    wall, _ = rule.walls(day)
    _, closes = rule.worked(day, zone)
    while (start := first_instant(wall, zone)) + duration <= closes:
        if _wall(start, zone) == wall:
            yield start
        wall += step


def _overlaps(taken: Sequence[Interval], start: datetime, end: datetime) -> bool:
    """Whether [start, end) meets one of the sorted, disjoint intervals."""
    before_end = bisect_left(taken, end, key=itemgetter(0))
    return before_end > 0 and taken[before_end - 1][1] > start


def _change(before: datetime, after: datetime, wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant in (before, after] at which the clocks jump over `wall`."""
    while after - before > timedelta.resolution:
        middle = before + (after - before) // 2
        if _wall(middle, zone) < wall:
            before = middle
        else:
            after = middle
    return after


def _wall(instant: datetime, zone: ZoneInfo) -> datetime:
    """What the zone's clocks show at that instant, naive."""
    return instant.astimezone(zone).replace(tzinfo=None)
