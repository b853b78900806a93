"""Visits: started, written, signed once, and only added to after that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import in_transaction
from app.errors import Conflict, FieldError
from app.services.care.attendance import begins, ends, sources_of
from app.services.care.people import actor_id, doctor_or_actor, refuse_future
from app.services.changes import Row, build, checked, row_of, storable
from app.services.references import check_references
from app.services.states import advance, change_while
from models import Visit
from models.values import now
from models.visit import MOST_ADDENDA, Addendum, VisitStatus


async def start(values: Mapping[str, Any]) -> Row:
    """Opens a visit of a patient, for an appointment or from the queue if one is named; answers with its row.

    `values`: `patient_id`, and maybe `appointment_id, queue_entry_id, doctor_id, service_id, encounter_class, reason,
    started_at`. Doctor and service are those of what led to it unless named; without any, whoever acts sees the
    patient, who is then checked in and served. Raises NOT_FOUND or VALIDATION_FAILED at `input.…`, INVALID_STATE for
    what is over, CONFLICT at `input.…` for what has its visit already.
    """
    refuse_future(values.get("started_at"), at="input.startedAt")
    await check_references(Visit, values, at="input")
    known = {name: value for name, value in (await sources_of(values)).items() if value is not None}
    doctor = values.get("doctor_id", known.get("doctor_id"))
    visit: Visit = build(Visit, {**known, **values, "id": ObjectId(), "doctor_id": await doctor_or_actor(doctor)})
    row = row_of(visit)

    async def work(session: AsyncClientSession) -> None:
        await visit.insert(session=session)
        await begins(row, session)

    try:
        await in_transaction(work)
    except DuplicateKeyError as error:
        raise _has_its_visit(error) from None
    return row


def _has_its_visit(error: DuplicateKeyError) -> Exception:
    for column, path in (("appointment_id", "input.appointmentId"), ("queue_entry_id", "input.queueEntryId")):
        if column in (error.details or {}).get("keyPattern", {}):
            return Conflict("The visit has begun already.", [FieldError(path, "has its visit already")])
    return error


async def change(visit_id: ObjectId, version: int, changes: Mapping[str, Any]) -> Row:
    """Writes into an OPEN visit, all or none; answers with its new row. Raises INVALID_STATE once it is signed."""
    values = checked(Visit, changes)
    await check_references(Visit, values, at="input")
    if "doctor_id" in values:
        await doctor_or_actor(values["doctor_id"])
    return await change_while(Visit, {VisitStatus.OPEN}, visit_id, version, values)


async def finish(visit_id: ObjectId, version: int) -> Row:
    """The patient goes; the note may still be written until it is signed. Answers with the new row."""

    async def work(session: AsyncClientSession) -> Row:
        values = {"ended_at": now()}
        row = await change_while(Visit, {VisitStatus.OPEN}, visit_id, version, values, session=session)
        await ends(row, session)
        return row

    return await in_transaction(work)


async def sign(visit_id: ObjectId, version: int) -> Row:
    """Whoever acts answers for the note as it stands in that version: from now on it never changes. The new row.

    A visit that nobody has ended ends with it.
    """
    moment = now()
    rows = await Visit.rows({"_id": visit_id}, projection=["ended_at"], limit=1)
    ended = (rows[0].get("ended_at") if rows else None) or moment
    values = {"signed_at": moment, "signed_by": actor_id(), "ended_at": ended}

    async def work(session: AsyncClientSession) -> Row:
        row = await advance(Visit, visit_id, version, VisitStatus.SIGNED, values=values, session=session)
        await ends(row, session)
        return row

    return await in_transaction(work)


async def add_addendum(visit_id: ObjectId, version: int, text: str) -> Row:
    """Adds to a signed visit; answers with its new row. What was signed stays as it was."""
    added = Addendum(by=actor_id(), text=checked(Addendum, {"text": text})["text"])
    return await advance(
        Visit,
        visit_id,
        version,
        VisitStatus.AMENDED,
        push={"addenda": storable(added)},
        state={f"addenda.{MOST_ADDENDA - 1}": {"$exists": False}},
        at="input.visitId",
    )


async def enter_in_error(visit_id: ObjectId, version: int, reason: str) -> Row:
    """It should never have been written: it stays, marked, and is shown to nobody else. Answers with the new row."""
    return await advance(Visit, visit_id, version, VisitStatus.ENTERED_IN_ERROR, reason=reason)
