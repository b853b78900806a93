"""A doctor's diary at the clinic in scope: when they work, when they are away, what is taken."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from bson import ObjectId

from app.errors import ValidationFailed
from app.services.changes import Row
from app.services.scheduling.claims import Interval, bucket_of, busy_from_claims
from app.services.scheduling.opening import MOST_CLOSURES, closed_between, closures_of, not_over, opening_rules
from app.services.scheduling.slots import Absence, WeeklyRule, day_bounds, free_slots, slot_fits
from app.services.settings import clinic_settings
from app.tenancy.crossing import busy_claims
from app.tenancy.scope import current_scope
from models import AvailabilityRule, Closure, TimeOff
from models.appointment import Obstacle
from models.values import now

MAX_TIME_OFF = timedelta(days=366)
"""The longest single absence; it bounds how far back a look for absences must go."""


_WHY: Mapping[Obstacle, str] = {
    Obstacle.PAST: "must not be in the past",
    Obstacle.TOO_FAR: "must be at most {days} days ahead",
    Obstacle.NO_HOURS: "The doctor has no working hours here, so cannot be booked.",
    Obstacle.OUTSIDE_HOURS: "is outside of the doctor's working hours",
    Obstacle.CLOSED: "The clinic is closed then.",
    Obstacle.AWAY: "The doctor is away then.",
}


@dataclass(frozen=True, slots=True)
class Diary:
    """A doctor's working hours and the clinic's rules of booking, as they were at the instant `now`."""

    doctor_id: ObjectId
    zone: ZoneInfo
    rules: Sequence[WeeklyRule]
    step: timedelta
    horizon_days: int
    now: datetime
    opening: Sequence[WeeklyRule] = ()
    """The clinic's own hours; none when it is open whenever a doctor works."""
    closures: Sequence[Absence] = ()

    @property
    def today(self) -> date:
        """The clinic's own day."""
        return self.now.astimezone(self.zone).date()

    @property
    def last_day(self) -> date:
        """The last of the clinic's days that may be booked."""
        return self.today + timedelta(days=self.horizon_days)

    def obstacle(self, start: datetime, end: datetime, absences: Sequence[Absence]) -> Obstacle | None:
        """What keeps the clinic's rules from letting [start, end) be booked, if anything does.

        Whether it is still free is another question, which the claims answer.
        """
        if start < self.now:
            return Obstacle.PAST
        if start.astimezone(self.zone).date() > self.last_day:
            return Obstacle.TOO_FAR
        if not self.rules:
            return Obstacle.NO_HOURS
        if not slot_fits(rules=self.rules, zone=self.zone, start=start, end=end):
            return Obstacle.OUTSIDE_HOURS
        limited = self.opening or self.closures
        if limited and not slot_fits(
            rules=self.opening or self.rules, absences=self.closures, zone=self.zone, start=start, end=end
        ):
            return Obstacle.CLOSED
        if absences and not slot_fits(rules=self.rules, absences=absences, zone=self.zone, start=start, end=end):
            return Obstacle.AWAY
        return None

    def refuse_unbookable(self, start: datetime, end: datetime, absences: Sequence[Absence]) -> None:
        """Raises VALIDATION_FAILED at `input.startsAt` for an `obstacle`."""
        found = self.obstacle(start, end, absences)
        if found is not None:
            raise ValidationFailed.at("input.startsAt", _WHY[found].format(days=self.horizon_days))

    def closed(self, first: date, last: date) -> list[Absence]:
        """When the clinic is closed on these days, both included."""
        return closed_between(self.opening, self.closures, first, last, self.zone)

    async def free(
        self,
        first: date,
        last: date,
        duration: timedelta,
        *,
        prefixes: Sequence[str],
        not_before: datetime,
        own: frozenset[str] = frozenset(),
    ) -> list[datetime]:
        """The starts (UTC) on these days, both included, at which nothing under the claim `prefixes` is taken.

        `own` are claims that do not count, because whoever asks would give them up. At most 31 days.
        """
        opens, closes = day_bounds(first, self.zone)[0], day_bounds(last, self.zone)[1]
        away, taken = await asyncio.gather(
            absences_of(self.doctor_id, opens, closes),
            asyncio.gather(*(busy_times(prefix, opens, closes, own) for prefix in prefixes)),
        )
        return free_slots(
            rules=self.rules,
            absences=[*away, *self.closed(first, last)],
            busy=[interval for intervals in taken for interval in intervals],
            zone=self.zone,
            first_day=first,
            last_day=last,
            duration=duration,
            step=self.step,
            not_before=max(not_before, self.now),
        )


async def open_diary(doctor_id: ObjectId) -> Diary:
    """The doctor's diary here. A doctor whom this clinic does not have has one without working hours."""
    zone, moment = clinic_zone(), now()
    settings, rules, closures = await asyncio.gather(
        clinic_settings(),
        AvailabilityRule.rows({"doctor_id": doctor_id}),
        Closure.rows(not_over(), projection=["first_day", "last_day"], limit=MOST_CLOSURES),
    )
    return Diary(
        doctor_id=doctor_id,
        zone=zone,
        rules=[weekly(rule) for rule in rules],
        step=timedelta(minutes=settings.slot_minutes),
        horizon_days=settings.booking_horizon_days,
        now=moment,
        opening=opening_rules([one.model_dump() for one in settings.opening_hours]),
        closures=closures_of(closures, zone),
    )


def clinic_zone() -> ZoneInfo:
    """The time zone of the clinic in scope."""
    tenant = current_scope().tenant
    return ZoneInfo(tenant.timezone if tenant is not None else "UTC")


async def absences_of(doctor_id: ObjectId, start: datetime, end: datetime) -> list[Absence]:
    """The doctor's absences that overlap [start, end)."""
    rows = await TimeOff.rows(overlapping(doctor_id, start, end), projection={"starts_at": 1, "ends_at": 1})
    return [Absence(row["starts_at"], row["ends_at"]) for row in rows]


def overlapping(doctor_id: ObjectId | Mapping[str, Any], start: datetime, end: datetime) -> Row:
    """The filter for absences of a doctor, or of those whom a condition names, that overlap [start, end).

    The lower bound keeps the index range short.
    """
    return {
        "doctor_id": doctor_id,
        "starts_at": {"$gt": start - MAX_TIME_OFF, "$lt": end},
        "ends_at": {"$gt": start},
    }


def weekly(rule: Row) -> WeeklyRule:
    """A stored rule in the terms of the slots."""
    return WeeklyRule(
        weekday=rule["weekday"],
        start=_wall(rule["starts"]),
        end=_wall(rule["ends"]),
        valid_from=_day(rule.get("valid_from")),
        valid_until=_day(rule.get("valid_until")),
    )


def _wall(text: str) -> time:
    """`24:00`, which ends a day, is 00:00 to the slots."""
    return time.fromisoformat(text) if text != "24:00" else time(0)


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


async def busy_times(prefix: str, start: datetime, end: datetime, own: frozenset[str]) -> list[Interval]:
    """The time within [start, end) that is claimed under a prefix, at whatever clinic, but for the claims `own`."""
    claims = await busy_claims(f"{prefix}:", bucket_of(start), bucket_of(end))
    return busy_from_claims(claims - own, prefix)
