"""What a visit does to the appointment and the place in the queue that led to it, in its own transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import InvalidState, NotFound
from app.services import arrivals
from app.services.appointment_steps import change, compare_and_set, step
from app.services.changes import Row
from app.services.states import advance, refused
from models import Appointment, QueueEntry
from models.appointment import AppointmentStatus
from models.queue import ACTIVE_VALUES, QueueStatus
from models.values import now

_A = AppointmentStatus
_Q = QueueStatus
_TO_COME = (_A.BOOKED, _A.CHECKED_IN)


async def sources_of(values: Mapping[str, Any]) -> Row:
    """What led to a visit: `appointment_id, queue_entry_id, doctor_id, service_id`, as far as it is known.

    An entry of the queue brings its appointment along. Raises NOT_FOUND at `input.…` for what is not this patient's,
    INVALID_STATE for an appointment that is over, or for somebody who waits no longer.
    """
    entry = await _own(QueueEntry, values, "queue_entry_id", ["status", "doctor_id", "service_id", "appointment_id"])
    if entry and entry["status"] not in ACTIVE_VALUES:
        raise refused(QueueEntry, _Q(entry["status"]))
    named = values.get("appointment_id") or entry.get("appointment_id")
    about = {"patient_id": values["patient_id"], "appointment_id": named}
    appointment = await _own(Appointment, about, "appointment_id", ["status", "doctor_id", "service_id"])
    if appointment and _A(appointment["status"]) not in _TO_COME:
        raise InvalidState(f"The appointment is {_A(appointment['status']).name}. A visit begins with one to come.")
    found = {name: appointment.get(name) or entry.get(name) for name in ("doctor_id", "service_id")}
    return {**found, "appointment_id": named, "queue_entry_id": values.get("queue_entry_id")}


async def _own(model: Any, values: Mapping[str, Any], name: str, columns: list[str]) -> Row:
    """The row that `name` points to, which must be the patient's; an empty one when it points to nothing."""
    if values.get(name) is None:
        return {}
    mine = {"_id": values[name], "patient_id": values["patient_id"]}
    rows: list[Row] = await model.rows(mine, projection=columns, limit=1)
    if not rows:
        raise NotFound.at("input.queueEntryId" if model is QueueEntry else "input.appointmentId")
    return rows[0]


async def begins(visit: Row, session: AsyncClientSession) -> None:
    """The patient is here and being seen."""
    if visit.get("appointment_id") is not None:
        await _here(visit["appointment_id"], session)
    if visit.get("queue_entry_id") is not None:
        await _served(visit["queue_entry_id"], session)


async def _here(appointment_id: ObjectId, session: AsyncClientSession) -> None:
    rows = await Appointment.rows({"_id": appointment_id}, limit=1, session=session)
    if rows and rows[0]["status"] == _A.BOOKED:
        taken = step("checked_in", _A.CHECKED_IN, rows[0]["starts_at"], None)
        update = change({"status": _A.CHECKED_IN.value}, taken)
        await compare_and_set(rows[0], None, {_A.BOOKED}, update, session=session)


async def _served(entry_id: ObjectId, session: AsyncClientSession) -> None:
    moment = now()
    status = await _place(entry_id, session)
    if status is _Q.WAITING:
        await advance(QueueEntry, entry_id, None, _Q.CALLED, values={"called_at": moment}, session=session)
    if status in (_Q.WAITING, _Q.CALLED):
        await advance(QueueEntry, entry_id, None, _Q.IN_SERVICE, values={"started_at": moment}, session=session)


async def _place(entry_id: ObjectId, session: AsyncClientSession) -> QueueStatus | None:
    rows = await QueueEntry.rows({"_id": entry_id}, projection=["status"], limit=1, session=session)
    return _Q(rows[0]["status"]) if rows else None


async def ends(visit: Row, session: AsyncClientSession) -> None:
    """The patient goes: the appointment took place, and nobody waits for it any more."""
    if (appointment_id := visit.get("appointment_id")) is not None:
        here = {"_id": appointment_id, "status": _A.CHECKED_IN.value}
        if await Appointment.rows(here, projection={"_id": 1}, limit=1, session=session):
            await arrivals.fulfil(appointment_id, None, session=session)
    entry_id = visit.get("queue_entry_id")
    if entry_id is not None and await _place(entry_id, session) is _Q.IN_SERVICE:
        await advance(QueueEntry, entry_id, None, _Q.DONE, values={"finished_at": now()}, session=session)
