"""Coming into a queue, and going from one to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import in_transaction
from app.errors import Conflict, NotFound, ValidationFailed
from app.services.appointment_steps import refuse
from app.services.changes import Row, build, change_row, checked, row_of
from app.services.counters import next_number
from app.services.queue.places import NAMES, chosen_queue
from app.services.scheduling.diary import clinic_zone
from app.services.scheduling.parties import check_parties, patient_here
from app.services.states import advance, refused, step_to
from models import Appointment, Patient, QueueEntry
from models.appointment import AppointmentStatus
from models.queue import ACTIVE_VALUES, QueuePriority, QueueStatus
from models.values import now

_KEPT = ("patient_id", "appointment_id", "day", "ticket", "priority", "priority_reason")
"""What goes along when a patient is sent on."""
THERE = "The patient is in this queue already."
ARRIVED = (AppointmentStatus.BOOKED, AppointmentStatus.CHECKED_IN)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Raises CONFLICT when the unique index says that the patient is in that queue already."""
    try:
        yield
    except DuplicateKeyError as error:
        if "queue_key" not in (error.details or {}).get("keyPattern", {}):
            raise
        raise Conflict(THERE) from None


def today() -> str:
    """The clinic's own day, as it is stored."""
    return now().astimezone(clinic_zone()).date().isoformat()


async def prepared(values: Mapping[str, Any], *, at: str = "input") -> QueueEntry:
    """A new entry with the next ticket of the day, not yet stored.

    `values`: `patient_id`, and maybe `queue` (see `chosen_queue`; else the appointment's doctor's), `appointment`
    (a row), `priority, priority_reason`. Raises NOT_FOUND or VALIDATION_FAILED below `at`.
    """
    appointment: Row = values.get("appointment") or {}
    priority = _priority(values, at)
    queue = values.get("queue") or ({"doctor_id": appointment["doctor_id"]} if appointment else None)
    place = await chosen_queue(queue, at=f"{at}.queue")
    await _refuse_there(values["patient_id"], place["queue_key"])
    day = today()
    entry: QueueEntry = build(
        QueueEntry,
        {
            "patient_id": values["patient_id"],
            "appointment_id": appointment.get("_id"),
            **place,
            **priority,
            "day": day,
            "ticket": await next_number(f"ticket:{day}"),
            "waiting_since": now(),
            "history": [step_to(QueueStatus.WAITING)],
        },
    )
    return entry


async def _refuse_there(patient_id: ObjectId, key: str) -> None:
    """Spares a ticket: the index would refuse the entry, but only after its number was taken."""
    there = {"patient_id": patient_id, "queue_key": key, "status": {"$in": ACTIVE_VALUES}}
    if await QueueEntry.rows(there, projection=["_id"], limit=1):
        raise Conflict(THERE)


def _priority(values: Mapping[str, Any], at: str = "input") -> Row:
    """The checked priority. Raises VALIDATION_FAILED at `priorityReason` when one is given without the other."""
    given = {"priority": values.get("priority") or QueuePriority.NORMAL, "priority_reason": None}
    given |= {name: values[name] for name in given if values.get(name) is not None}
    found = checked(QueueEntry, given, at=at)
    raised = found["priority"] != QueuePriority.NORMAL
    if raised and not found["priority_reason"]:
        raise ValidationFailed.at(f"{at}.priorityReason", "must say why the patient goes before others")
    if not raised and found["priority_reason"]:
        raise ValidationFailed.at(f"{at}.priorityReason", "is for those who go before others")
    return found


async def stored_entry(entry: QueueEntry, session: AsyncClientSession | None = None) -> Row:
    """Stores a prepared entry; answers with its row. Raises CONFLICT when the patient is in that queue already."""
    with one_at_a_time():
        await entry.insert(session=session)
    return row_of(entry)


async def walk_in(values: Mapping[str, Any]) -> Row:
    """Puts a patient who came without an appointment into a queue; answers with the entry's row. See `prepared`."""
    await _require_patient(values["patient_id"])
    return await stored_entry(await prepared(values))


async def _require_patient(patient_id: ObjectId) -> None:
    """Raises NOT_FOUND at `input.patientId` for one whom this clinic has not, VALIDATION_FAILED for an archived one."""
    active = {"$and": [{"_id": patient_id}, Patient.active_here()]}
    rows = await Patient.rows(active, projection={"_id": 1}, limit=1)
    check_parties({"patient_id": await patient_here(patient_id, rows[0] if rows else None)})


async def arrived(patient_id: ObjectId, appointment_id: ObjectId) -> Row:
    """The row of the appointment for which a patient has come.

    Raises NOT_FOUND at `input.patientId` or `input.appointmentId`, VALIDATION_FAILED when it is another patient's,
    INVALID_STATE when it is none that anybody may come for.
    """
    await _require_patient(patient_id)
    rows: list[Row] = await Appointment.rows({"_id": appointment_id}, limit=1)
    if not rows:
        raise NotFound.at("input.appointmentId")
    if rows[0]["patient_id"] != patient_id:
        raise ValidationFailed.at("input.appointmentId", "is another patient's")
    refuse(rows[0], ARRIVED, None)
    return rows[0]


async def transfer(entry_id: ObjectId, version: int | None, values: Mapping[str, Any]) -> Row:
    """Sends a patient on to another queue (`queue`, and maybe `reason`); answers with the row of the new entry.

    Whoever was not served yet keeps their place by the time since which they have waited; whoever was begins anew.
    Raises NOT_FOUND, VALIDATION_FAILED, INVALID_STATE, or CONFLICT when they are in that queue already.
    """
    place = await chosen_queue(values.get("queue"))

    async def work(session: AsyncClientSession) -> Row:
        rows = await QueueEntry.rows({"_id": entry_id}, limit=1, session=session)
        if rows and rows[0]["queue_key"] == place["queue_key"]:
            raise ValidationFailed.at("input.queue", "is the queue in which the patient is")
        row = await advance(
            QueueEntry, entry_id, version, QueueStatus.TRANSFERRED, reason=values.get("reason"), session=session
        )
        since = now() if rows[0]["status"] == QueueStatus.IN_SERVICE else row["waiting_since"]
        return await stored_entry(_continued(row, place, since), session)

    return await in_transaction(work)


def _continued(row: Row, place: Row, since: datetime) -> QueueEntry:
    kept = {name: row.get(name) for name in _KEPT}
    where = {**dict.fromkeys(NAMES), **place}
    entry: QueueEntry = build(
        QueueEntry,
        {
            **kept,
            **where,
            "transferred_from_id": row["_id"],
            "waiting_since": since,
            "history": [step_to(QueueStatus.WAITING)],
        },
    )
    return entry


async def prioritise(entry_id: ObjectId, version: int, values: Mapping[str, Any]) -> Row:
    """Lets a waiting patient go before others, or no longer; answers with the new row.

    Raises NOT_FOUND, VALIDATION_FAILED, CONFLICT for an older version, INVALID_STATE for one who waits no more.
    """
    rows = await QueueEntry.rows({"_id": entry_id}, projection=["status", "version"], limit=1)
    if not rows:
        raise NotFound.at("input.id")
    status = QueueStatus(rows[0]["status"])
    if status is not QueueStatus.WAITING:
        raise refused(QueueEntry, status)
    waiting = {"status": QueueStatus.WAITING.value}
    return await change_row(QueueEntry, entry_id, version, _priority(values), state=waiting)
