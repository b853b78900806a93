"""Planning an appointment: whether the clinic's rules allow its time, what would claim it, what is free instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from app.services.scheduling.claims import (
    Lane,
    check_duration,
    check_year,
    claims_for,
    doctor_prefix,
    patient_prefix,
    room_prefix,
)
from app.services.scheduling.diary import Diary
from app.services.scheduling.facts import Asked, facts
from app.services.scheduling.parties import Parties, check_parties, person_of
from app.services.scheduling.slots import MAX_DAYS
from app.tenancy.scope import current_scope

ALTERNATIVES = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """Time that may be booked if it is still free. `own` are claims that would be given up for it."""

    diary: Diary
    person: str
    patient_id: ObjectId
    room_id: ObjectId | None
    lane: Lane
    start: datetime
    end: datetime
    own: frozenset[str] = frozenset()

    @property
    def prefixes(self) -> list[str]:
        """What the claims of this plan begin with."""
        found = [doctor_prefix(self.person, self.lane)]
        if self.lane == "regular":
            found += [room_prefix(str(self.room_id))] if self.room_id else []
            found += [patient_prefix(str(current_scope().tenant_id), str(self.patient_id))]
        return found

    @property
    def claims(self) -> list[str]:
        """What the time is claimed by. Raises VALIDATION_FAILED at `input.startsAt` off the 5-minute grid."""
        return claims_for(
            doctor=self.person,
            room=str(self.room_id) if self.room_id else None,
            patient=str(self.patient_id),
            tenant=str(current_scope().tenant_id),
            start=self.start,
            end=self.end,
            lane=self.lane,
            path="input.startsAt",
        )


async def planned(
    ids: Mapping[str, Any],
    chosen: Mapping[str, Any],
    start: datetime,
    minutes: int | None,
    lane: Lane,
    own: frozenset[str] = frozenset(),
) -> Plan:
    """The plan of an appointment that brings `ids` together, once the clinic's rules are seen to allow it.

    `chosen` are the ids to look up: those that the client named, and the doctor's. Raises NOT_FOUND or
    VALIDATION_FAILED at `input.…`.
    """
    check_year(start, "input.startsAt")
    known = await facts(Asked(start=start, **chosen))
    found = check_parties({name: known.parties[name] for name, one in chosen.items() if one is not None})
    end = start + length(found, minutes, known.diary)
    known.diary.refuse_unbookable(start, end, known.absences)
    person = person_of(found["doctor_id"])
    return Plan(known.diary, person, ids["patient_id"], ids.get("room_id"), lane, start, end, own)


def length(parties: Parties, minutes: int | None, diary: Diary, *, path: str = "input.durationMinutes") -> timedelta:
    """How long an appointment takes: as its service says, else `minutes`, else the clinic's usual slot."""
    service = parties.get("service_id")
    if service is not None:
        return timedelta(minutes=service["duration_minutes"])
    if minutes is None:
        return diary.step
    duration = timedelta(minutes=minutes)
    check_duration(duration, path)
    return duration


async def alternatives(plan: Plan) -> list[datetime]:
    """The next starts that are free for the same doctor, room and patient, up to the clinic's horizon.

    Looks at a few days first, as the next free time is near as a rule.
    """
    diary = plan.diary
    first, span = plan.start.astimezone(diary.zone).date(), 2
    found: list[datetime] = []
    while first <= diary.last_day and len(found) < ALTERNATIVES:
        last = min(first + timedelta(days=span - 1), diary.last_day)
        found += await diary.free(
            first, last, plan.end - plan.start, prefixes=plan.prefixes, not_before=plan.start, own=plan.own
        )
        first, span = last + timedelta(days=1), min(2 * span, MAX_DAYS)
    return found[:ALTERNATIVES]
