"""What a merge begins with: both files as they are, and the conditions on which it may begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import AppError, Conflict, FieldError, InvalidState, NotFound, ValidationFailed
from app.services.changes import Row
from app.services.merging.redirects import survivor_of
from models import Patient, PatientRecord


@dataclass(frozen=True, slots=True)
class File:
    """One patient of the clinic: the shared demographics, and the clinic's own record."""

    patient: Row
    record: Row

    @property
    def id(self) -> ObjectId:
        found: ObjectId = self.patient["_id"]
        return found

    @property
    def code(self) -> str:
        return str(self.record["code"])


@dataclass(frozen=True, slots=True)
class Pair:
    """Who is to become whom. `shared` tells whether other clinics have the survivor too."""

    survivor: File
    duplicate: File
    shared: bool


async def read_pair(
    survivor_id: ObjectId, duplicate_id: ObjectId, *, at: str = "", session: AsyncClientSession | None = None
) -> Pair:
    """Both files. `at` is the path of the ids (`input.`).

    Raises VALIDATION_FAILED for one and the same, NOT_FOUND with the path of each that is not here, and INVALID_STATE
    for one that was merged before.
    """
    if survivor_id == duplicate_id:
        raise ValidationFailed.at(f"{at}duplicateId", "must be another patient")
    ids = {"survivorId": survivor_id, "duplicateId": duplicate_id}
    files = {name: await _file(one, session) for name, one in ids.items()}
    survivor, duplicate = files["survivorId"], files["duplicateId"]
    if survivor is None or duplicate is None:
        raise await _not_here({f"{at}{name}": ids[name] for name, one in files.items() if one is None})
    return Pair(survivor, duplicate, await Patient.guarded().is_shared(survivor_id, session=session))


async def _file(patient_id: ObjectId, session: AsyncClientSession | None) -> File | None:
    patients = await Patient.rows({"_id": patient_id}, limit=1, session=session)
    records = await PatientRecord.rows({"patient_id": patient_id}, limit=1, session=session)
    return File(patients[0], records[0]) if patients and records else None


async def _not_here(missing: Mapping[str, ObjectId]) -> AppError:
    for path, one in missing.items():
        if (into := await survivor_of(one)) is not None:
            return InvalidState(*merged_already(path, into))
    return NotFound(fields=[FieldError(path, "Not found.") for path in missing])


def merged_already(path: str, into: ObjectId) -> tuple[str, list[FieldError]]:
    """Text and field of the failure for a patient who was merged into another one."""
    return "This patient was merged into another one.", [FieldError(path, f"was merged into the patient {into}")]


VERSIONS = {
    "survivor_version": "input.survivorVersion",
    "survivor_record_version": "input.survivorRecordVersion",
    "duplicate_version": "input.duplicateVersion",
    "duplicate_record_version": "input.duplicateRecordVersion",
}
"""What tells that both files are as they were looked at, and where the client wrote it."""


def check_versions(pair: Pair, versions: Mapping[str, int]) -> None:
    """Raises CONFLICT with the path of each version that is not the present one: what was looked at is what merges."""
    present = {
        "survivor_version": pair.survivor.patient["version"],
        "survivor_record_version": pair.survivor.record["version"],
        "duplicate_version": pair.duplicate.patient["version"],
        "duplicate_record_version": pair.duplicate.record["version"],
    }
    stale = [name for name in VERSIONS if versions[name] != present[name]]
    if stale:
        raise Conflict(fields=[FieldError(VERSIONS[name], "is not the present version") for name in stale])
