"""Booked time when a doctor's profile gets a person behind it: from then on it is claimed by the person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, get_args

from beanie import PydanticObjectId
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import after_commit
from app.errors import InvalidState
from app.services.changes import Row
from app.services.scheduling.claims import Lane, busy_from_claims, doctor_prefix
from app.services.scheduling.diary import clinic_zone
from app.services.scheduling.parties import person_of
from app.shared_commands import SharedCommands
from app.tenancy.crossing import busy_claims
from app.tenancy.scope import Place, current_scope, open_scope
from models import Appointment, Staff
from models.values import now

TOLD = 5
"""So many of the times in the way are told."""
_LANES: tuple[Lane, ...] = get_args(Lane)


async def link_claims(doctor_id: ObjectId, user_id: ObjectId, session: AsyncClientSession) -> None:
    """Lets what is booked with the profile from now on be claimed by the person, in the session's transaction.

    Raises INVALID_STATE, with the times, when the person is booked elsewhere at one of them; the transaction must
    then end. A booking that was planned under the old key and committed meanwhile follows after the commit.
    """
    before, after = str(doctor_id), str(user_id)
    rows = await _claimed(doctor_id, session)
    try:
        await _refuse_busy(rows, before, after)
        await _rekey(rows, before, after, session)
    except DuplicateKeyError:
        raise _booked_twice(()) from None
    later = partial(_follow, doctor_id, before, after)
    after_commit(session, ("claims", doctor_id), _in_same_scope(later))


async def keep_up(appointment_id: ObjectId, doctor_id: ObjectId, person: str) -> bool:
    """Whether a booking just made under `person` may stay. Its doctor may have got a person behind their profile in
    between; then it is claimed anew, or taken back when that person's time is taken."""
    return await keep_up_all([appointment_id], doctor_id, person)


async def keep_up_all(appointments: list[PydanticObjectId] | list[ObjectId], doctor_id: ObjectId, person: str) -> bool:
    """As `keep_up`, for several bookings of which all stay or none."""
    try:
        await moved_under(doctor_id, person)
    except DuplicateKeyError:
        await Appointment.guarded().delete_many({"_id": {"$in": list(appointments)}})
        return False
    return True


async def moved_under(doctor_id: ObjectId, person: str) -> None:
    """Claims anew what was claimed under `person` when the doctor got a person behind their profile in between."""
    if person != str(doctor_id):
        return
    place = Place.here()
    row = await _doctors.get(doctor_id, place=place, at=place.name)
    present = person_of(row) if row is not None else person
    if present != person:
        await _rekey(await _claimed(doctor_id, None), person, present, None)


async def _read_doctors(place: Place, ids: Sequence[ObjectId]) -> Mapping[ObjectId, Row]:
    with open_scope(place.scope("bookings")):
        rows = await Staff.rows({"_id": {"$in": list(ids)}}, projection={"user_id": 1})
    return {row["_id"]: row for row in rows}


_doctors: SharedCommands[ObjectId, Row] = SharedCommands(_read_doctors)
"""As bookings that end at the same time look after one another's doctors: each by a read that began after its own."""


def _in_same_scope(work: Any) -> Any:
    scope = current_scope()

    async def run() -> None:
        with open_scope(scope):
            await work()

    return run


async def _follow(doctor_id: ObjectId, before: str, after: str) -> None:
    await _rekey(await _claimed(doctor_id, None), before, after, None)


async def _claimed(doctor_id: ObjectId, session: AsyncClientSession | None) -> list[Row]:
    """The doctor's appointments here that are not over and occupy time."""
    return await Appointment.rows(
        {"doctor_id": doctor_id, "ends_at": {"$gt": now()}, "claims": {"$gt": ""}},
        projection={"claims": 1, "version": 1},
        session=session,
    )


async def _rekey(rows: Iterable[Row], before: str, after: str, session: AsyncClientSession | None) -> None:
    for row in rows:
        claims = _renamed(row["claims"], before, after)
        if claims != row["claims"]:
            await Appointment.guarded().update_one(
                {"_id": row["_id"], "version": row["version"]},
                {"$set": {"claims": claims, "updated_at": now()}, "$inc": {"version": 1}},
                session=session,
            )


def _renamed(claims: Iterable[str], before: str, after: str) -> list[str]:
    heads: Mapping[str, str] = {f"{doctor_prefix(before, lane)}:": f"{doctor_prefix(after, lane)}:" for lane in _LANES}
    return [_with_head(claim, heads) for claim in claims]


def _with_head(claim: str, heads: Mapping[str, str]) -> str:
    for old, new in heads.items():
        if claim.startswith(old):
            return new + claim.removeprefix(old)
    return claim


async def _refuse_busy(rows: Iterable[Row], before: str, after: str) -> None:
    """Raises INVALID_STATE for time that the person has given away already. The unique index is what holds."""
    wanted = {claim for row in rows for claim in _renamed(row["claims"], before, after)} - {
        claim for row in rows for claim in row["claims"]
    }
    for lane in _LANES:
        prefix = f"{doctor_prefix(after, lane)}:"
        times = sorted(claim.removeprefix(prefix) for claim in wanted if claim.startswith(prefix))
        if times:
            taken = wanted & await busy_claims(prefix, times[0], f"{times[-1]}~")
            if taken:
                raise _booked_twice(bucket_starts(taken, doctor_prefix(after, lane)))


def bucket_starts(claims: Iterable[str], prefix: str) -> tuple[str, ...]:
    """The times that claims cover, as the clinic writes them: `2026-01-31 09:00`."""
    zone = clinic_zone()
    spans = busy_from_claims(claims, prefix)
    return tuple(start.astimezone(zone).strftime("%Y-%m-%d %H:%M") for start, _ in spans)


def _booked_twice(times: tuple[str, ...]) -> InvalidState:
    told = ", ".join(times[:TOLD]) + (", …" if len(times) > TOLD else "")
    where = f" ({told})" if told else ""
    return InvalidState(
        f"The profile has appointments at times when this person is booked elsewhere{where}. Move or cancel them first."
    )
