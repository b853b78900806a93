"""Planning a series: each date by the clinic's rules and by what is taken, with what is free instead."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from bson import ObjectId

from app.services.scheduling.claims import (
    MAX_DURATION,
    Interval,
    buckets,
    check_year,
    claims_for,
    doctor_prefix,
    merged,
    patient_prefix,
    room_prefix,
)
from app.services.scheduling.diary import Diary, absences_of, busy_times
from app.services.scheduling.facts import Asked, facts
from app.services.scheduling.parties import check_parties, person_of
from app.services.scheduling.plan import length
from app.services.scheduling.slots import Absence, free_slots
from app.services.series.recurrence import occurrences
from app.tenancy.scope import current_scope
from models.appointment import Obstacle
from models.appointment_series import Recurrence

ALTERNATIVES = 3
ALTERNATIVE_DAYS = 7
MOST_OFFERED = 30
"""For so many obstructed dates others are looked for."""


@dataclass(frozen=True, slots=True)
class PlannedDate:
    """One date of a series: `day` is the rule's, `alternatives` the next free starts when something is in its way."""

    day: date
    start: datetime
    end: datetime
    obstacle: Obstacle | None = None
    alternatives: Sequence[datetime] = ()


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """A series that may be booked on those of its dates that nothing obstructs."""

    ids: Mapping[str, ObjectId | None]
    diary: Diary
    person: str
    rule: Recurrence
    length: timedelta
    dates: Sequence[PlannedDate]
    absences: Sequence[Absence]
    busy: Sequence[Interval]

    @property
    def free(self) -> list[PlannedDate]:
        return [one for one in self.dates if one.obstacle is None]

    @property
    def obstructed(self) -> list[PlannedDate]:
        return [one for one in self.dates if one.obstacle is not None]

    def claims(self, one: PlannedDate) -> list[str]:
        """What an appointment on that date claims."""
        room = self.ids.get("room_id")
        return claims_for(
            doctor=self.person,
            room=str(room) if room else None,
            patient=str(self.ids["patient_id"]),
            tenant=str(current_scope().tenant_id),
            start=one.start,
            end=one.end,
            path="input.startsAt",
        )

    def offering(self) -> SeriesPlan:
        """The same plan, with what is free instead of the obstructed dates: on that day or in the week after it."""
        series = [(one.start, one.end) for one in self.free]
        taken = merged([*self.busy, *series])
        left = MOST_OFFERED
        offered: list[PlannedDate] = []
        for one in self.dates:
            looked = one.obstacle is not None and left > 0
            left -= looked
            offered.append(replace(one, alternatives=self._instead(one, taken)) if looked else one)
        return replace(self, dates=offered)

    def _instead(self, one: PlannedDate, taken: Sequence[Interval]) -> list[datetime]:
        diary = self.diary
        first = max(one.start.astimezone(diary.zone).date(), diary.today)
        last = min(first + timedelta(days=ALTERNATIVE_DAYS), diary.last_day)
        if first > last:
            return []
        found = free_slots(
            rules=diary.rules,
            absences=[*self.absences, *diary.closed(first, last)],
            busy=taken,
            zone=diary.zone,
            first_day=first,
            last_day=last,
            duration=self.length,
            step=diary.step,
            not_before=max(one.start, diary.now),
        )
        return found[:ALTERNATIVES]


async def planned(
    ids: Mapping[str, Any],
    chosen: Mapping[str, Any],
    rule: Recurrence,
    start: datetime,
    minutes: int | None,
    own: frozenset[str] = frozenset(),
) -> SeriesPlan:
    """The plan of a series by `rule` whose first date is on or after the day of `start`, at its time on the wall.

    `ids`, `chosen` and `own` are as in `scheduling.plan.planned`. Raises NOT_FOUND or VALIDATION_FAILED at `input.…`.
    """
    check_year(start, "input.startsAt")
    known = await facts(Asked(start=start, **chosen))
    diary = known.diary
    found = check_parties({name: known.parties[name] for name, one in chosen.items() if one is not None})
    duration = length(found, minutes, diary)
    buckets(start, start + duration, path="input.startsAt")  # off the grid is refused before anything is looked for
    local = start.astimezone(diary.zone)
    days = occurrences(rule, local.date(), local.time(), diary.zone, at="input.rule")
    opens, closes = days[0][1], days[-1][1] + MAX_DURATION + timedelta(days=ALTERNATIVE_DAYS)
    person = person_of(found["doctor_id"])
    absences, busy = await asyncio.gather(
        absences_of(diary.doctor_id, opens, closes),
        asyncio.gather(*(busy_times(prefix, opens, closes, own) for prefix in _prefixes(person, ids))),
    )
    taken = merged(interval for intervals in busy for interval in intervals)
    dates = [PlannedDate(day, begins, begins + duration) for day, begins in days]
    judged = [replace(one, obstacle=_obstacle(one, diary, absences, taken)) for one in dates]
    return SeriesPlan(ids, diary, person, rule, duration, judged, absences, taken)


def _prefixes(person: str, ids: Mapping[str, Any]) -> list[str]:
    room = ids.get("room_id")
    found = [doctor_prefix(person), patient_prefix(str(current_scope().tenant_id), str(ids["patient_id"]))]
    return [*found, room_prefix(str(room))] if room else found


def _obstacle(
    one: PlannedDate, diary: Diary, absences: Sequence[Absence], taken: Sequence[Interval]
) -> Obstacle | None:
    found = diary.obstacle(one.start, one.end, absences)
    if found is None and any(begins < one.end and one.start < ends for begins, ends in taken):
        return Obstacle.TAKEN
    return found
