"""What becomes of an appointment on its day: the patient comes, is seen, or does not come."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import InvalidState
from app.services.appointment_steps import change, compare_and_set, refuse, step, stored
from app.services.changes import Row, checked
from app.services.queue import entries
from app.services.scheduling.claims import bucket_of
from app.services.scheduling.diary import clinic_zone
from app.services.scheduling.slots import day_bounds
from app.services.states import advance
from models import QueueEntry
from models.appointment import TRANSITIONS, AppointmentStatus, HistoryEntry
from models.queue import ACTIVE_VALUES, QueueStatus
from models.values import now

_S = AppointmentStatus
EARLY = timedelta(hours=12)
"""So long before its time somebody may be there for an appointment of the next day."""
_MAY_ERR = frozenset(state for state, after in TRANSITIONS.items() if _S.ENTERED_IN_ERROR in after)


async def check_in(appointment_id: ObjectId, version: int | None, queue: Mapping[str, Any] | None) -> Row:
    """The patient is here; with `queue` (`queue`, `priority`, `priority_reason`) they also wait there. The new row.

    Both or neither. Raises INVALID_STATE unless it is booked and its day has come, CONFLICT for an older version or if
    the patient is in that queue already, NOT_FOUND or VALIDATION_FAILED at `input.…`.
    """
    row = await stored(appointment_id)
    refuse(row, {_S.BOOKED}, version)
    _require_its_day(row)
    if queue is None:
        return await _came(row, version, None)
    asked = {**queue, "patient_id": row["patient_id"], "appointment": row}
    entry = await entries.prepared(asked, at="input.waiting")

    async def work(session: AsyncClientSession) -> Row:
        came = await _came(row, version, session)
        await entries.stored_entry(entry, session)
        return came

    return await in_transaction(work)


async def enqueue(values: Mapping[str, Any]) -> Row:
    """Puts a patient into a queue; answers with the entry's row. With `appointment_id` they are checked in for it.

    `values`: `patient_id`, and maybe `appointment_id`, `queue`, `priority`, `priority_reason`; see `entries.prepared`.
    Raises what `check_in` raises.
    """
    if values.get("appointment_id") is None:
        return await entries.walk_in(values)
    row = await entries.arrived(values["patient_id"], values["appointment_id"])
    if row["status"] == _S.BOOKED:
        _require_its_day(row)
    entry = await entries.prepared({**values, "appointment": row})

    async def work(session: AsyncClientSession) -> Row:
        if row["status"] == _S.BOOKED:
            await _came(row, None, session)
        return await entries.stored_entry(entry, session)

    return await in_transaction(work)


def _require_its_day(row: Row) -> None:
    """Raises INVALID_STATE for an appointment of a later day: another one of the patient's is meant, or another
    patient. What is soon is let in before midnight too."""
    zone = clinic_zone()
    ends = day_bounds(now().astimezone(zone).date(), zone)[1]
    if row["starts_at"] >= ends and row["starts_at"] > now() + EARLY:
        day = row["starts_at"].astimezone(zone).date()
        raise InvalidState(
            f"The appointment is on {day}: whoever comes before its day is moved, by rescheduleAppointment."
        )


async def _came(row: Row, version: int | None, session: AsyncClientSession | None) -> Row:
    taken = change({"status": _S.CHECKED_IN.value}, step("checked_in", _S.CHECKED_IN, row["starts_at"], None))
    return await compare_and_set(row, version, {_S.BOOKED}, taken, session=session)


async def undo_check_in(appointment_id: ObjectId, version: int | None, reason: str | None) -> Row:
    """Somebody was checked in by mistake: it is booked again, and nobody waits for it. Answers with the new row.

    Raises INVALID_STATE when the patient is being served already.
    """
    reason = checked(HistoryEntry, {"reason": reason})["reason"]

    async def work(session: AsyncClientSession) -> Row:
        row = await stored(appointment_id, session=session)
        refuse(row, {_S.CHECKED_IN}, version)
        waiting = {"appointment_id": appointment_id, "status": {"$in": ACTIVE_VALUES}}
        for one in await QueueEntry.rows(waiting, projection=["status"], limit=20, session=session):
            if one["status"] == QueueStatus.IN_SERVICE:
                raise InvalidState("The patient is being served: finish that first.")
            await advance(QueueEntry, one["_id"], None, QueueStatus.LEFT, reason=reason, session=session)
        taken = change({"status": _S.BOOKED.value}, step("check_in_undone", _S.BOOKED, row["starts_at"], reason))
        return await compare_and_set(row, version, {_S.CHECKED_IN}, taken, session=session)

    return await in_transaction(work)


async def fulfil(appointment_id: ObjectId, version: int | None, *, session: AsyncClientSession | None = None) -> Row:
    """It took place; what is left of its time is free again. Answers with the new row."""
    row = await stored(appointment_id, session=session)
    refuse(row, {_S.CHECKED_IN}, version)
    moment = now()
    taken = change({"status": _S.FULFILLED.value}, step("fulfilled", _S.FULFILLED, row["starts_at"], None))
    update = _claiming(taken, past_claims(row.get("claims") or (), moment))
    return await compare_and_set(row, version, {_S.CHECKED_IN}, update, session=session)


def past_claims(claims: Any, moment: datetime) -> list[str]:
    """Those of the claims whose 5 minutes have begun by then."""
    last = bucket_of(moment)
    return [claim for claim in claims if claim.rpartition(":")[2] <= last]


def _claiming(update: Row, claims: list[str]) -> Row:
    if claims:
        return {**update, "$set": {**update["$set"], "claims": claims}}
    return {**update, "$unset": {"claims": ""}}


async def mark_no_show(appointment_id: ObjectId, version: int | None) -> Row:
    """The patient did not come; its time is free again. Answers with the new row.

    Raises INVALID_STATE before it was to start.
    """
    row = await stored(appointment_id)
    refuse(row, {_S.BOOKED}, version)
    if row["starts_at"] > now():
        raise InvalidState("It has not begun yet: cancel it when the patient cannot come.")
    taken = change({"status": _S.NO_SHOW.value}, step("no_show", _S.NO_SHOW, row["starts_at"], None))
    return await compare_and_set(row, version, {_S.BOOKED}, _claiming(taken, []))


async def enter_in_error(appointment_id: ObjectId, version: int | None, reason: str) -> Row:
    """It should never have been entered; its time is free again. Answers with the new row."""
    reason = checked(HistoryEntry, {"reason": reason})["reason"]
    row = await stored(appointment_id)
    refuse(row, _MAY_ERR, version)
    taken = change(
        {"status": _S.ENTERED_IN_ERROR.value}, step("entered_in_error", _S.ENTERED_IN_ERROR, row["starts_at"], reason)
    )
    return await compare_and_set(row, version, _MAY_ERR, _claiming(taken, []))
