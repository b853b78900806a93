"""Unmerging: exactly what was moved goes back, and what has grown on it since; all else stays with the survivor."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import in_transaction
from app.errors import Conflict, FieldError, InvalidState, NotFound
from app.services.audit import record
from app.services.changes import Row, change_row, checked
from app.services.merging import snapshot
from app.services.merging.files import File
from app.services.merging.moving import SECONDS, grown, movable, move_some, moved_by
from app.services.merging.redirects import LIVE
from app.services.portal.accounts import end_access
from app.tenancy.scope import current_scope
from models import Appointment, Patient, PatientMerge, PatientRecord
from models.values import now


async def unmerge(merge_id: ObjectId, version: int, reason: str) -> Row:
    """Undoes a merge; answers with its new row. Merges into one patient are undone the latest first.

    Raises NOT_FOUND at `input.id`, CONFLICT at `input.version`, VALIDATION_FAILED at `input.reason`, and INVALID_STATE
    for one that was undone, or that another one has built upon.
    """
    try:
        return await in_transaction(partial(_unmerge, merge_id, version, reason), seconds=SECONDS)
    except DuplicateKeyError:
        raise InvalidState("Something of the duplicate's has been given to another patient since.") from None


async def _unmerge(merge_id: ObjectId, version: int, reason: str, session: AsyncClientSession) -> Row:
    rows: list[Row] = await PatientMerge.rows({"_id": merge_id}, limit=1, session=session)
    if not rows:
        raise NotFound.at("input.id")
    row, why = rows[0], checked(PatientMerge, {"reason": reason})["reason"]
    await _refuse(row, version, session)
    patient_id, former_id = row["patient_id"], ObjectId(row["former_id"])
    survivor = await _survivor(patient_id, session)
    undone = {"undone_at": now(), "undone_by": current_scope().signed_in.user_id, "undo_reason": why}
    emptied: Row = {"patient": {}, "kept": {}, "before": {}, "after": {}, "moved": {}, "dropped": []}
    changed = await change_row(PatientMerge, merge_id, version, {**undone, **emptied}, session=session)
    await end_access(patient_id, session)
    await snapshot.put_back(row, session)
    await _move_back(row, patient_id, former_id, session)
    await snapshot.write(survivor, snapshot.restored(row, survivor), session)
    subject = PatientMerge.model_validate(changed)
    await record("patient.unmerge", subject=subject, patients=[patient_id, former_id], session=session)
    return changed


async def _refuse(row: Row, version: int, session: AsyncClientSession) -> None:
    """Raises INVALID_STATE for a merge that cannot be undone now, CONFLICT at `input.version` for an older version."""
    if row["undone_at"] is not None:
        raise InvalidState("The merge was undone already.")
    if "_id" not in row["patient"]:
        raise InvalidState("Nothing was kept of the duplicate that could be put back.")
    newer = await PatientMerge.rows(
        {"patient_id": row["patient_id"], "merged_at": {"$gt": row["merged_at"]}, **LIVE},
        projection=["former_code"],
        sort=[("merged_at", -1)],
        limit=1,
        session=session,
    )
    if newer:
        raise InvalidState(f"The file {newer[0]['former_code']} was merged later, on top of this: undo that first.")
    if row["version"] != version:
        raise Conflict(fields=[FieldError("input.version", "is not the present version")])


async def _survivor(patient_id: ObjectId, session: AsyncClientSession) -> File:
    patients = await Patient.rows({"_id": patient_id}, limit=1, session=session)
    records = await PatientRecord.rows({"patient_id": patient_id}, limit=1, session=session)
    if not patients or not records:
        raise InvalidState("The survivor has left the clinic.")
    return File(patients[0], records[0])


async def _move_back(row: Mapping[str, Any], source: ObjectId, target: ObjectId, session: AsyncClientSession) -> None:
    moved = moved_by(row)
    more = await grown(moved, source, session)
    for model in movable():
        name = model.guarded_name()
        await move_some(model, source, target, [*moved.get(name, ()), *more.get(name, ())], session)
    for one in row["dropped"]:  # those to which nothing has happened since
        still = {"_id": one["appointment_id"], "patient_id": target, "claims": {"$gt": ""}}
        await Appointment.guarded().update_one(still, {"$push": {"claims": {"$each": one["claims"]}}}, session=session)
