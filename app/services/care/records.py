"""The medical record that outlasts visits: entries that are active or resolved, linked to visits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from bson import ObjectId

from app.errors import NotFound, ValidationFailed
from app.services.care.people import actor_id
from app.services.changes import Row, build, checked, row_of
from app.services.references import check_references
from app.services.scheduling.diary import clinic_zone
from app.services.states import advance, change_while
from models import MedicalRecord, Visit
from models.medical_record import ProblemStatus
from models.values import now

_S = ProblemStatus


async def add(values: Mapping[str, Any]) -> Row:
    """Stores an entry; answers with its row.

    `values`: `patient_id, diagnosis`, and maybe `kind, note, onset, visit_ids`. Raises NOT_FOUND or VALIDATION_FAILED
    at `input.…`; visits must be the patient's.
    """
    entry: MedicalRecord = build(MedicalRecord, {**values, "id": ObjectId(), "recorded_by": actor_id()})
    row = row_of(entry)
    await check_references(MedicalRecord, row, at="input")
    await _check_visits(values.get("visit_ids") or [], values["patient_id"])
    await entry.insert()
    return row


async def change(entry_id: ObjectId, version: int, changes: Mapping[str, Any]) -> Row:
    """Changes an entry that was not entered in error; answers with its new row. Raises as `add` does, and CONFLICT."""
    values = checked(MedicalRecord, changes)
    await check_references(MedicalRecord, values, at="input")
    if values.get("visit_ids"):
        await _check_visits(values["visit_ids"], await _patient_of(entry_id))
    return await change_while(MedicalRecord, {_S.ACTIVE, _S.RESOLVED}, entry_id, version, values)


async def _patient_of(entry_id: ObjectId) -> ObjectId:
    rows = await MedicalRecord.rows({"_id": entry_id}, projection=["patient_id"], limit=1)
    if not rows:
        raise NotFound.at("input.id")
    found: ObjectId = rows[0]["patient_id"]
    return found


async def _check_visits(visit_ids: list[ObjectId], patient_id: ObjectId) -> None:
    """Raises NOT_FOUND at `input.visitIds` when one of them is another patient's."""
    mine = {"_id": {"$in": visit_ids}, "patient_id": patient_id}
    if visit_ids and await Visit.guarded().count_documents(mine) != len(set(visit_ids)):
        raise NotFound.at("input.visitIds")


async def resolve(entry_id: ObjectId, version: int, on: date | None) -> Row:
    """It is over, since a day of the clinic's calendar (today unless named). Answers with the new row."""
    today = now().astimezone(clinic_zone()).date()
    if on is not None and on > today:
        raise ValidationFailed.at("input.resolvedOn", "lies in the future")
    values = checked(MedicalRecord, {"resolved_on": on or today})
    return await advance(MedicalRecord, entry_id, version, _S.RESOLVED, values=values)


async def reopen(entry_id: ObjectId, version: int) -> Row:
    """It is back. Answers with the new row."""
    return await advance(MedicalRecord, entry_id, version, _S.ACTIVE, values={"resolved_on": None})


async def enter_in_error(entry_id: ObjectId, version: int, reason: str) -> Row:
    """It should never have been written. Answers with the new row."""
    return await advance(MedicalRecord, entry_id, version, _S.ENTERED_IN_ERROR, reason=reason)
