"""Claims: the strings by which an appointment occupies time, one per resource and 5-minute UTC bucket.

A unique index over them lets exactly one of several racing bookings win, so they are the whole of the rule
against double booking. Nothing here touches the database.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal

from app.errors import ValidationFailed

BUCKET: Final = timedelta(minutes=5)
MAX_DURATION: Final = timedelta(hours=12)
YEARS: Final = range(1900, 2200)
"""The years that can be planned in: four digits, and far enough from where date arithmetic overflows."""

Lane = Literal["regular", "overbook"]
Interval = tuple[datetime, datetime]
"""Start and end, aware, the end not included."""

_BUCKET_FORMAT: Final = "%Y%m%dT%H%M"


def to_utc(moment: datetime) -> datetime:
    """The same instant in UTC. Raises `ValueError` for a naive datetime, whose instant nobody can know.

    Convert before comparing or subtracting: Python compares two datetimes of one zone by their wall clocks,
    which is wrong across a change of the clocks.
    """
    if moment.utcoffset() is None:
        raise ValueError("a datetime without time zone names no instant")
    return moment.astimezone(UTC)


def check_year(day: date, path: str) -> None:
    """Raises `ValidationFailed` at `path` when the date or datetime is outside of `YEARS`."""
    if day.year not in YEARS:
        raise ValidationFailed.at(path, f"must be in the years {YEARS.start} to {YEARS.stop - 1}")


def check_duration(duration: timedelta, path: str) -> None:
    """Raises `ValidationFailed` at `path` unless it is 5 minutes to 12 hours, in steps of 5 minutes."""
    if not timedelta(0) < duration <= MAX_DURATION:
        raise ValidationFailed.at(path, "must be longer than 0 and at most 12 hours")
    if duration % BUCKET:
        raise ValidationFailed.at(path, "must be a multiple of 5 minutes")


def buckets(start: datetime, end: datetime, *, path: str = "input.start") -> list[str]:
    """The 5-minute UTC buckets that cover [start, end), ascending, as sortable `YYYYMMDDTHHMM`.

    Takes aware datetimes of any zone. Raises `ValidationFailed` at `path` when the start is off the 5-minute
    grid, the length is not 5 minutes to 12 hours in steps of 5 minutes, or a year is out of range.
    """
    check_year(start, path)
    check_year(end, path)
    first = to_utc(start)
    duration = to_utc(end) - first
    check_duration(duration, path)
    if first.minute % 5 or first.second or first.microsecond:
        raise ValidationFailed.at(path, "must start on a multiple of 5 minutes")
    return [bucket_of(first + index * BUCKET) for index in range(duration // BUCKET)]


def bucket_of(moment: datetime) -> str:
    """An aware datetime as buckets are written: `YYYYMMDDTHHMM` in UTC, which sorts as time runs."""
    return to_utc(moment).strftime(_BUCKET_FORMAT)


def doctor_prefix(doctor: str, lane: Lane = "regular") -> str:
    """What a doctor's claims begin with. `doctor` is the person's id, the same at every clinic."""
    return f"{'doctor' if lane == 'regular' else 'overbook'}:{_part(doctor)}"


def room_prefix(room: str) -> str:
    """What a room's claims begin with."""
    return f"room:{_part(room)}"


def patient_prefix(tenant: str, patient: str) -> str:
    """What a patient's claims at one clinic begin with.

    Per clinic, so that no clinic learns from a refusal when a shared patient is elsewhere.
    """
    return f"patient:{_part(tenant)}:{_part(patient)}"


def claims_for(
    *,
    doctor: str,
    room: str | None,
    patient: str,
    tenant: str,
    start: datetime,
    end: datetime,
    lane: Lane = "regular",
    path: str = "input.start",
) -> list[str]:
    """Everything that an appointment over [start, end) occupies: `<prefix>:<bucket>`, without repeats.

    The regular lane claims the doctor, the room if any, and the patient at this clinic. The overbook lane
    claims the doctor's second lane alone: the overlap is deliberate, and the room and the patient are as a
    rule part of it (a patient squeezed in between is seen in the doctor's own room, a longer appointment is
    laid over the patient's shorter one), so claiming them would refuse what was just permitted. Having a lane
    of its own still bounds it: never more than one overbooked appointment beside a regular one.

    Ids are strings without a colon. Raises `ValidationFailed` at `path` as `buckets` does.
    """
    prefixes = [doctor_prefix(doctor, lane)]
    if lane == "regular":
        prefixes += [room_prefix(room)] if room is not None else []
        prefixes += [patient_prefix(tenant, patient)]
    times = buckets(start, end, path=path)
    return [f"{prefix}:{time}" for prefix in prefixes for time in times]


def busy_from_claims(claims: Iterable[str], prefix: str) -> list[Interval]:
    """The time that the claims under `prefix` (`doctor_prefix(…)` and so on) occupy: merged UTC intervals."""
    head = f"{prefix}:"
    starts = (_bucket_start(claim.removeprefix(head)) for claim in claims if claim.startswith(head))
    return merged((start, start + BUCKET) for start in starts)


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """The same time as sorted, disjoint UTC intervals: what overlaps or touches is joined, empty ones go."""
    joined: list[Interval] = []
    for start, end in sorted((to_utc(start), to_utc(end)) for start, end in intervals):
        if start >= end:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _bucket_start(bucket: str) -> datetime:
    return datetime.strptime(bucket, _BUCKET_FORMAT).replace(tzinfo=UTC)


def _part(identifier: str) -> str:
    """An id that can be told apart again inside of a claim."""
    if not identifier or ":" in identifier:
        raise ValueError("an id in a claim is neither empty nor holds a colon")
    return identifier
