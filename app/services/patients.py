"""Patients: registering, searching, changing, archiving here without touching other clinics."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import AppError, InvalidState, NotFound
from app.services.changes import Row, another_version, build, change_row, checked, row_of
from app.services.counters import next_number
from app.services.search import searched, starts_with
from app.services.settings import clinic_settings
from app.tenancy.scope import current_scope
from models import Patient, PatientRecord
from models.patient import RecordStatus
from models.phones import phone_key, phone_prefixes, region_of
from models.values import now, search_key

DUPLICATES_SHOWN = 10


async def listed(*, search: str | None, born: date | None, archived: bool) -> dict[str, Any]:
    """The filter of a list of patients."""
    where: list[Mapping[str, Any]] = [Patient.archived_here() if archived else Patient.active_here()]
    if born is not None:
        where.append({"birth_date": born.isoformat()})
    if wanted := searched(search):
        where.append(await _matching(wanted))
    return {"$and": where}


async def _matching(search: str) -> dict[str, Any]:
    if "@" in search:
        return starts_with("email", search.lower())
    key = search_key(search)
    either = [starts_with("name_key", key), starts_with("given_key", key)]
    if sum(char.isdigit() for char in search) >= 3:
        if not any(char.isalpha() for char in search):
            either += [starts_with("phone_key", one) for one in sorted(phone_prefixes(search, _region()))]
        coded = await PatientRecord.rows({"code": search.upper()}, projection={"patient_id": 1}, limit=1)
        either += [{"_id": row["patient_id"]} for row in coded]
    return {"$or": either}


def _patient(values: Mapping[str, Any]) -> Patient:
    """A new patient from input values, which also hold the clinic's notes."""
    patient: Patient = build(Patient, {name: value for name, value in values.items() if name != "notes"})
    return patient.keyed(_region())


def _region() -> str | None:
    """The country whose phone numbers the clinic's people write without a country code."""
    tenant = current_scope().tenant
    return region_of(tenant.timezone) if tenant else None


async def register(values: Mapping[str, Any]) -> Row:
    """Stores a patient and this clinic's record of them, with the next code; both or neither."""
    patient = _patient(values)
    notes = checked(PatientRecord, {"notes": values.get("notes")})  # before a number is taken
    settings = await clinic_settings()
    number = await next_number("patient_code")
    record: PatientRecord = build(
        PatientRecord,
        {
            "patient_id": patient.id or ObjectId(),
            "code": f"{settings.patient_code_prefix}-{number:06d}",
            **notes,
        },
    )
    patient.id = record.patient_id

    async def work(session: AsyncClientSession) -> None:
        await patient.insert(session=session)
        await record.insert(session=session)

    await in_transaction(work)
    return row_of(patient)


async def change(patient_id: ObjectId, version: int, changes: Mapping[str, Any]) -> Row:
    """Changes demographics of that version; the search keys follow."""
    values = checked(Patient, changes)
    if values.keys() & {"given_name", "family_name"}:
        values |= await _name_keys(patient_id, version, values)
    if "phone" in values:
        values["phone_key"] = phone_key(values["phone"], _region())
    return await change_row(Patient, patient_id, version, values)


async def _name_keys(patient_id: ObjectId, version: int, values: Mapping[str, Any]) -> dict[str, str]:
    """The search keys after a change of that very version's names; another version's would not fit them."""
    wanted = {"given_name": 1, "family_name": 1, "version": 1}
    rows = await Patient.rows({"_id": patient_id}, projection=wanted, limit=1)
    if not rows:
        raise NotFound.at("input.id")
    if rows[0]["version"] != version:
        raise another_version()
    names = {**rows[0], **values}
    given, family = names["given_name"], names["family_name"]
    return {"name_key": search_key(family, given), "given_key": search_key(given, family)}


async def possible_duplicates(values: Mapping[str, Any], projection: Mapping[str, int]) -> list[Row]:
    """This clinic's patients with the same phone, e-mail, or name and birth date. Never another clinic's."""
    described = _patient(values)
    either: list[dict[str, Any]] = []
    if described.phone_key:
        either.append({"phone_key": described.phone_key})
    if described.email:
        either.append({"email": described.email})
    if described.birth_date:
        either.append({"birth_date": described.birth_date, "name_key": described.name_key})
    if not either:
        return []
    rows: list[Row] = await Patient.rows({"$or": either}, projection=projection, limit=DUPLICATES_SHOWN)
    return rows


async def write_notes(patient_id: ObjectId, version: int, notes: str | None) -> None:
    """Replaces this clinic's notes on a patient. Raises CONFLICT when the record has another version by now."""
    values = checked(PatientRecord, {"notes": notes})
    await _change_record(patient_id, {"version": version}, values, another_version())


async def archive(patient_id: ObjectId) -> None:
    """Takes the patient out of this clinic's lists. Raises INVALID_STATE when they are out already."""
    await _move(patient_id, RecordStatus.ACTIVE, RecordStatus.ARCHIVED)


async def restore(patient_id: ObjectId) -> None:
    """Brings an archived patient back. Raises INVALID_STATE when they are in the lists already."""
    await _move(patient_id, RecordStatus.ARCHIVED, RecordStatus.ACTIVE)


async def _move(patient_id: ObjectId, before: RecordStatus, after: RecordStatus) -> None:
    away = after is RecordStatus.ARCHIVED

    async def work(session: AsyncClientSession) -> None:
        values = {"status": after.value, "archived_at": now() if away else None}
        refused = InvalidState(f"The record is not {before.value}.")
        await _change_record(patient_id, {"status": before.value}, values, refused, session)
        shared = Patient.guarded()
        await (shared.archive if away else shared.restore)(patient_id, session=session)

    await in_transaction(work)


async def _change_record(
    patient_id: ObjectId,
    state: Mapping[str, Any],
    values: Mapping[str, Any],
    refused: AppError,
    session: AsyncClientSession | None = None,
) -> None:
    """Changes this clinic's record of a patient if it is as `state` says. Raises `refused` when it is not."""
    records = PatientRecord.guarded()
    done = await records.update_one(
        {"patient_id": patient_id, **state},
        {"$set": {**values, "updated_at": now()}, "$inc": {"version": 1}},
        session=session,
    )
    if done.matched_count:
        return
    if await records.find_one({"patient_id": patient_id}, {"_id": 1}, session=session) is None:
        raise NotFound.at("input.id")
    raise refused
