"""Patients: registering, searching, changing, archiving here without touching other clinics."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import AppError, FieldError, InvalidState, NotFound, PossibleDuplicates, ValidationFailed
from app.services.changes import Row, another_version, build, checked, row_of
from app.services.counters import next_number
from app.services.merging.redirects import survivor_by_code
from app.services.portal.accounts import end_access
from app.services.search import BY_ID, Way, searched, starts_with
from app.services.settings import clinic_settings
from app.services.sharing.versions import Moved, change_demographics
from app.tenancy.scope import current_scope
from app.tenancy.sealing import blind
from models import Erasure, Patient, PatientRecord
from models.erasure import ErasureStatus
from models.patient import RecordStatus
from models.phones import phone_key, phone_prefixes, region_of
from models.values import now, search_key

DUPLICATES_SHOWN = 10
MOST_CONFIRMED = 100
RECORD_FIELDS = ("national_id", "insurer", "insurance_number", "notes")
"""What is written about a patient into the clinic's own record."""
NUMBERS = ("national_id", "insurance_number")
"""Sealed numbers of the record by which a patient is found, written as exactly as on the card but for its signs."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A filter, and ways in any of which patients match too, if there are any. `along` names the index by which they
    are found, unless that is left to the list's order."""

    where: Mapping[str, Any]
    ways: Sequence[Way]
    along: str | None = None


async def listed(*, search: str | None, born: date | None, archived: bool) -> Listed:
    """What a list of patients shows, by a search, a day of birth and whether they are archived.

    Those archived, and those born on one day, are few beside the rest: they are found by that, and compared then.
    """
    where = dict(Patient.archived_here() if archived else Patient.active_here())
    if born is not None:
        where["birth_date"] = born.isoformat()
    wanted = searched(search)
    ways = await _matching(wanted) if wanted else []
    if not ways or (born is None and not archived):
        return Listed(where, ways)
    index = "archived_name" if born is None else "birth_name"
    return Listed(where, [Way({"$or": [dict(way.where) for way in ways]}, index)], along=index)


async def _matching(search: str) -> list[Way]:
    if "@" in search:
        return [Way(starts_with("email", search.lower()), "email")]
    key = search_key(search)
    ways = [Way(starts_with("name_key", key), "name"), Way(starts_with("given_key", key), "given")]
    if sum(char.isdigit() for char in search) >= 3:
        if not any(char.isalpha() for char in search):
            prefixes = sorted(phone_prefixes(search, _region()))
            ways += [Way(starts_with("phone_key", one), "phone") for one in prefixes]
        numbered = await _numbered(dict.fromkeys(NUMBERS, search))
        found = await _patients_of([{"code": search.upper()}, *numbered])
        if (merged := await survivor_by_code(search.upper())) is not None:
            found.append(merged)
        if found:
            ways.append(Way({"_id": {"$in": found}}, BY_ID))
    return ways


async def _numbered(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Filters of records: one for each sealed number that is given."""
    return [await blind(PatientRecord, name, values[name]) for name in NUMBERS if values.get(name)]


async def _patients_of(records: Sequence[Mapping[str, Any]]) -> list[ObjectId]:
    """The patients of records that match any of the filters. Asked for one by one, side by side: within an `$or` the
    server leaves the indexes of sealed numbers, which are partial, unused."""
    found = await asyncio.gather(
        *(PatientRecord.rows(one, projection={"patient_id": 1}, limit=DUPLICATES_SHOWN) for one in records)
    )
    return [row["patient_id"] for rows in found for row in rows]


def _patient(values: Mapping[str, Any]) -> Patient:
    """A new patient from input values, which also hold those of the clinic's record."""
    patient: Patient = build(Patient, {name: value for name, value in values.items() if name not in RECORD_FIELDS})
    return patient.keyed(_region())


def _region() -> str | None:
    """The country whose phone numbers the clinic's people write without a country code."""
    tenant = current_scope().tenant
    return region_of(tenant.timezone) if tenant else None


async def register(values: Mapping[str, Any], *, confirmed: Sequence[ObjectId] | None = None) -> Row:
    """Stores a patient and this clinic's record of them, with the next code; both or neither.

    `confirmed` are possible duplicates that somebody looked at: when given, CONFLICT names any other that there is.
    Raises VALIDATION_FAILED at `input.…`, NOT_FOUND at `input.confirmedDuplicates.…`.
    """
    patient = _patient(values)
    if confirmed is not None and (found := await possible_duplicates(values, {"_id": 1}, beside=confirmed)):
        raise PossibleDuplicates([str(row["_id"]) for row in found])
    own = checked(PatientRecord, {name: values.get(name) for name in RECORD_FIELDS})  # before a number is taken
    settings, number = await asyncio.gather(clinic_settings(), next_number("patient_code"))
    record: PatientRecord = build(
        PatientRecord,
        {
            "patient_id": patient.id or ObjectId(),
            "code": f"{settings.patient_code_prefix}-{number:06d}",
            **own,
        },
    )
    patient.id = record.patient_id

    async def work(session: AsyncClientSession) -> None:
        await patient.insert(session=session)
        await record.insert(session=session)

    await in_transaction(work)
    return row_of(patient)


async def change(patient_id: ObjectId, version: int, changes: Mapping[str, Any], *, moved: Moved | None = None) -> Row:
    """Changes demographics of that version; the search keys follow. `moved`: see `change_demographics`."""
    values = checked(Patient, changes)
    if values.keys() & {"given_name", "family_name"}:
        values |= await _name_keys(patient_id, version, values)
    if "phone" in values:
        values["phone_key"] = phone_key(values["phone"], _region())
    return await change_demographics(patient_id, version, values, moved)


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


async def possible_duplicates(
    values: Mapping[str, Any], projection: Mapping[str, int], *, beside: Sequence[ObjectId] = ()
) -> list[Row]:
    """This clinic's patients with the same phone, e-mail, card number, or name and birth date. Never another's.

    Those of the ids `beside` are known to be somebody else. Raises NOT_FOUND at `input.confirmedDuplicates.…`.
    """
    await _check_confirmed(beside)
    described = _patient(values)
    either: list[dict[str, Any]] = []
    if described.phone_key:
        either.append({"phone_key": described.phone_key})
    if described.email:
        either.append({"email": described.email})
    if described.birth_date:
        either.append({"birth_date": described.birth_date, "name_key": described.name_key})
    numbers = checked(PatientRecord, {name: values[name] for name in NUMBERS if name in values})
    if wanted := await _numbered(numbers):
        either.append({"_id": {"$in": await _patients_of(wanted)}})
    if not either:
        return []
    alike = {"$or": either, "_id": {"$nin": list(beside)}} if beside else {"$or": either}
    rows: list[Row] = await Patient.rows(alike, projection=projection, limit=DUPLICATES_SHOWN)
    return rows


async def _check_confirmed(confirmed: Sequence[ObjectId]) -> None:
    if len(confirmed) > MOST_CONFIRMED:
        raise ValidationFailed.at("input.confirmedDuplicates", f"must be at most {MOST_CONFIRMED}")
    rows = await Patient.rows({"_id": {"$in": list(confirmed)}}, projection={"_id": 1}) if confirmed else []
    known = {row["_id"] for row in rows}
    missing = [f"input.confirmedDuplicates.{at}" for at, one in enumerate(confirmed) if one not in known]
    if missing:
        raise NotFound(fields=[FieldError(path, "Not found.") for path in missing])


async def change_own_record(patient_id: ObjectId, version: int, changes: Mapping[str, Any]) -> None:
    """Changes what this clinic keeps of a patient. Raises CONFLICT when the record has another version by now."""
    values = checked(PatientRecord, changes)
    await _change_record(patient_id, {"version": version}, values, another_version())


async def archive(patient_id: ObjectId) -> None:
    """Takes the patient out of this clinic's lists. Raises INVALID_STATE when they are out already."""
    await _move(patient_id, RecordStatus.ACTIVE, RecordStatus.ARCHIVED)


async def restore(patient_id: ObjectId) -> None:
    """Brings an archived patient back. Raises INVALID_STATE when they are in the lists already, or were erased."""
    await require_not_erased(patient_id)
    await _move(patient_id, RecordStatus.ARCHIVED, RecordStatus.ACTIVE)


async def require_not_erased(patient_id: ObjectId) -> None:
    """Raises INVALID_STATE for a patient of whom only what the law holds is left."""
    partial = {"patient_id": patient_id, "status": ErasureStatus.PARTIAL.value}
    if await Erasure.rows(partial, projection={"_id": 1}, limit=1):
        raise InvalidState("This patient was erased; what is left is held by law and goes by itself.")


async def _move(patient_id: ObjectId, before: RecordStatus, after: RecordStatus) -> None:
    away = after is RecordStatus.ARCHIVED

    async def work(session: AsyncClientSession) -> None:
        values = {"status": after.value, "archived_at": now() if away else None}
        refused = InvalidState(f"The record is {after.name}. What may follow: {before.name}.")
        await _change_record(patient_id, {"status": before.value}, values, refused, session)
        shared = Patient.guarded()
        await (shared.archive if away else shared.restore)(patient_id, session=session)
        if away:
            await end_access(patient_id, session)

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
    row = await records.find_one({"patient_id": patient_id}, {"_id": 1}, session=session)
    if row is None:
        raise NotFound.at("input.id")
    done = await records.update_one(
        {"_id": row["_id"], "patient_id": patient_id, **state},  # the guard need not look whose it is
        {"$set": {**values, "updated_at": now()}, "$inc": {"version": 1}},
        session=session,
    )
    if not done.matched_count:
        raise refused
