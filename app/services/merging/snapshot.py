"""What a merge keeps of before, and what unmerging puts back of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession

from app.services.changes import Row
from app.services.merging.choices import MergeField, Outcome, keyed
from app.services.merging.files import File
from app.services.placement.provisioning import shared_database
from app.services.portal.accounts import end_access
from app.services.sharing.versions import changed_demographics
from app.tenancy.crossing import system_scope
from app.tenancy.kinds import SHARED_FIELD
from app.tenancy.places import database_of
from app.tenancy.scope import current_scope
from models import Patient, PatientRecord, PortalAccount
from models.base import TenantDocument
from models.values import now

ONE_EACH: tuple[type[TenantDocument], ...] = (PatientRecord, PortalAccount)
"""Of these every patient has one at most: the survivor's stays, and the duplicate's goes into the snapshot."""
PATIENT, RECORD = Patient.guarded_name(), PatientRecord.guarded_name()


async def take_out(duplicate: File, survivor: File, session: AsyncClientSession) -> dict[str, list[Row]]:
    """Takes out what the survivor has of its own, and ends the duplicate's ways into the portal; what was taken out.

    A portal account that only the duplicate has is not taken out: it goes along, and codes go where they went.
    """
    await end_access(duplicate.id, session)
    kept: dict[str, list[Row]] = {}
    for model in ONE_EACH:
        rows = await model.rows({"patient_id": duplicate.id}, session=session)
        theirs = await model.rows({"patient_id": survivor.id}, projection=["_id"], limit=1, session=session)
        if rows and theirs:
            await model.guarded().delete_many({"patient_id": duplicate.id}, session=session)
            kept[model.guarded_name()] = rows
    return kept


async def put_back(row: Mapping[str, Any], session: AsyncClientSession) -> None:
    """The duplicate becomes a patient of this clinic again, with what was taken out.

    Where other clinics have kept the patient, this clinic is theirs once more; that it was before stands in the merge
    `row` of the guard's own, and in nothing that a client could send.
    """
    patient: Row = row["patient"]
    if not await _joined_again(row, session):
        await Patient.guarded().insert_one(patient, session=session)
    if row["archived"]:
        await Patient.guarded().archive(patient["_id"], session=session)
    for model in ONE_EACH:
        for one in row["kept"].get(model.guarded_name(), ()):
            await model.guarded().insert_one(one, session=session)


async def _joined_again(row: Mapping[str, Any], session: AsyncClientSession) -> bool:
    own, database = current_scope().tenant_id, database_of(current_scope(), shared_database)
    async with system_scope(f"patient unmerged at {own}", action="patient.unmerge") as system:
        stored = system.raw(Patient, database=database)
        done = await stored.update_one(
            {"_id": row["patient"]["_id"]}, {"$addToSet": {SHARED_FIELD: own}}, session=session
        )
    return bool(done.matched_count)


# --- the survivor's own columns -------------------------------------------------------------------------------------


async def write(survivor: File, outcome: Outcome, session: AsyncClientSession) -> None:
    """Changes the survivor's columns. The record is written to even when nothing of it changes: two merges that touch
    the same patient collide here."""
    await PatientRecord.guarded().update_one(
        {"_id": survivor.record["_id"], "patient_id": survivor.id},
        {"$set": {**outcome.record, "updated_at": now()}, "$inc": {"version": 1}},
        session=session,
    )
    if outcome.patient:
        await changed_demographics(survivor.id, survivor.patient["version"], outcome.patient, session)


def before(survivor: File, outcome: Outcome) -> dict[str, Row]:
    """What the columns say that the outcome changes."""
    return {
        PATIENT: {name: survivor.patient.get(name) for name in outcome.patient},
        RECORD: {name: survivor.record.get(name) for name in outcome.record},
    }


def after(outcome: Outcome) -> dict[str, Row]:
    """What they say then."""
    return {PATIENT: dict(outcome.patient), RECORD: dict(outcome.record)}


def restored(row: Mapping[str, Any], survivor: File) -> Outcome:
    """The columns as they were before, but for those that somebody has changed since."""
    former, written = row["before"], row["after"]

    def unchanged(collection: str, present: Row) -> Row:
        then = written.get(collection, {})
        return {
            name: value
            for name, value in former.get(collection, {}).items()
            if name in set(MergeField) and present.get(name) == then.get(name)
        }

    patient = unchanged(PATIENT, survivor.patient)
    phone_key = former.get(PATIENT, {}).get("phone_key")
    return Outcome(keyed(survivor, patient, phone_key), unchanged(RECORD, survivor.record))
