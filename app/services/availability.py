"""Working hours and absences of doctors, and the free slots that follow from them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any

from bson import ObjectId

from app.errors import NotFound, ValidationFailed
from app.services.changes import Row, another_version, build, checked, row_of
from app.services.scheduling.claims import check_year, doctor_prefix, room_prefix
from app.services.scheduling.diary import MAX_TIME_OFF, open_diary, overlapping
from app.services.scheduling.parties import check_parties, person_of, read_parties
from app.services.scheduling.plan import length
from app.services.scheduling.slots import MAX_DAYS
from models import AvailabilityRule, TimeOff

MAX_RULES = 200
"""Per doctor, those of past and coming periods included."""


async def free_times(
    doctor_id: ObjectId,
    first: date,
    last: date,
    *,
    service_id: ObjectId | None = None,
    room_id: ObjectId | None = None,
    minutes: int | None = None,
) -> list[Row]:
    """What can be booked with a doctor on the clinic's days from `first` to `last`: rows of `starts_at, ends_at`.

    Leaves out what is taken at any clinic, without saying where. Raises VALIDATION_FAILED or NOT_FOUND at the
    arguments' names.
    """
    _check_days(first, last)
    ids = {"doctor_id": doctor_id, "service_id": service_id, "room_id": room_id}
    rows, diary = await asyncio.gather(read_parties(ids), open_diary(doctor_id))
    parties = check_parties(rows, at="")
    duration = length(parties, minutes, diary, path="durationMinutes")
    first, last = max(first, diary.today), min(last, diary.last_day)
    if first > last or not diary.rules:
        return []
    prefixes = [doctor_prefix(person_of(parties["doctor_id"]))]
    prefixes += [room_prefix(str(room_id))] if room_id else []
    starts = await diary.free(first, last, duration, prefixes=prefixes, not_before=diary.now)
    return [{"starts_at": start, "ends_at": start + duration} for start in starts]


def _check_days(first: date, last: date) -> None:
    check_year(first, "from")
    check_year(last, "to")
    if last < first:
        raise ValidationFailed.at("to", "must not be before from")
    if (last - first).days >= MAX_DAYS:
        raise ValidationFailed.at("to", f"must be less than {MAX_DAYS} days after from")


async def add_rule(values: Mapping[str, Any]) -> Row:
    """Adds weekly working hours: `doctor_id, weekday, starts, ends`, and maybe `valid_from, valid_until` (dates)."""
    _check_hours(values)
    days = {name: values[name].isoformat() for name in ("valid_from", "valid_until") if values.get(name)}
    rule: AvailabilityRule = build(AvailabilityRule, {**values, **days})
    parties, others = await asyncio.gather(
        read_parties({"doctor_id": rule.doctor_id}),
        AvailabilityRule.rows({"doctor_id": rule.doctor_id}, limit=MAX_RULES),
    )
    check_parties(parties)
    if len(others) >= MAX_RULES:
        raise ValidationFailed.at("input.doctorId", f"has {MAX_RULES} rules already; delete some that are past")
    if any(_overlap(row_of(rule), other) for other in others):
        raise ValidationFailed.at("input.starts", "Overlaps working hours that are there already.")
    await rule.insert()
    return row_of(rule)


def _check_hours(values: Mapping[str, Any]) -> None:
    """Names the one field that is to blame, where the document's own rules could only name both."""
    hours = checked(AvailabilityRule, {name: values[name] for name in ("starts", "ends")})
    if hours["ends"] <= hours["starts"]:
        raise ValidationFailed.at("input.ends", "must be after the start, on the same day")
    first, last = values.get("valid_from"), values.get("valid_until")
    for day, path in ((first, "input.validFrom"), (last, "input.validUntil")):
        if day is not None:
            check_year(day, path)
    if first and last and last < first:
        raise ValidationFailed.at("input.validUntil", "must not be before validFrom")


def _overlap(one: Row, other: Row) -> bool:
    """Whether two rules name the same hour of the same day. ISO days and `HH:MM` sort as time runs."""
    same_hours = one["starts"] < other["ends"] and other["starts"] < one["ends"]
    return one["weekday"] == other["weekday"] and same_hours and _both_valid(one, other)


def _both_valid(one: Row, other: Row) -> bool:
    begins = max(one.get("valid_from") or "", other.get("valid_from") or "")
    ends = min(one.get("valid_until") or "9999", other.get("valid_until") or "9999")
    return begins <= ends


async def add_time_off(values: Mapping[str, Any]) -> Row:
    """Adds an absence: `doctor_id, starts_at, ends_at`, and maybe `reason`. What is booked already stays booked."""
    start, end = values["starts_at"], values["ends_at"]
    _check_span(start, end, "input.startsAt", "input.endsAt", MAX_TIME_OFF)
    absence: TimeOff = build(TimeOff, values)
    check_parties(await read_parties({"doctor_id": absence.doctor_id}))
    await absence.insert()
    return row_of(absence)


def time_off_between(doctor_id: ObjectId, start: datetime, end: datetime) -> Row:
    """The filter of a list of absences. Raises VALIDATION_FAILED at `to` for a span of 0 or over 366 days."""
    _check_span(start, end, "from", "to", MAX_TIME_OFF)
    return overlapping(doctor_id, start, end)


def _check_span(start: datetime, end: datetime, start_path: str, end_path: str, most: timedelta) -> None:
    check_year(start, start_path)
    check_year(end, end_path)
    if not timedelta(0) < end - start <= most:
        raise ValidationFailed.at(end_path, f"must be after the start, by at most {most.days} days")


async def delete(model: Any, id: ObjectId, version: int) -> Row:
    """Deletes a rule or an absence of that version; answers with the row that went.

    Raises NOT_FOUND at `input.id`, CONFLICT at `input.version`.
    """
    gone: Row | None = await model.guarded().find_one_and_delete({"_id": id, "version": version})
    if gone is not None:
        return gone
    if not await model.rows({"_id": id}, projection={"_id": 1}, limit=1):
        raise NotFound.at("input.id")
    raise another_version()
