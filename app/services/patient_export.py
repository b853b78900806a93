"""Everything that a clinic keeps of one patient, for the patient to take along (GDPR, articles 15 and 20)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from app.errors import NotFound
from app.services.audit import record
from app.services.merging.redirects import all_ids, survivor_of
from app.services.plain_values import plain
from app.tenancy.scope import current_scope
from models import TENANT_DOCUMENTS, AuditEntry, Patient, Tenant
from models.base import TenantDocument
from models.values import now

Row = dict[str, Any]

FORMAT = "polyclinic-patient"
VERSION = 1
MOST_ACCESSES = 10_000


@dataclass(frozen=True, slots=True)
class PatientFile:
    """What there is: the clinic, the shared demographics, and this clinic's documents by collection."""

    clinic: Row
    patient: Row
    records: dict[str, list[Row]]
    accesses: list[Row]
    """Who looked or wrote, as far as it was this clinic's own: time, action, result and kinds of data."""


async def patient_file(patient_id: ObjectId) -> PatientFile:
    """Reads it all, of this clinic alone; of the survivor for one who was merged here. Raises NOT_FOUND at `id` for a
    patient who is not here."""
    patients = await Patient.rows({"_id": patient_id}, limit=1)
    if not patients and (survivor := await survivor_of(patient_id)) is not None:
        return await patient_file(survivor)
    if not patients:
        raise NotFound.at("id")
    scope = current_scope()
    clinics = await Tenant.rows(
        {"_id": scope.tenant_id}, projection=["name", "display_name", "subdomain", "email", "phone", "address"], limit=1
    )
    records = {model.guarded_name(): await _about(model, patient_id) for model in models_about_patients()}
    await record("patient.export", patients=[patient_id])
    return PatientFile(clinics[0], patients[0], records, await _accesses(patient_id))


def models_about_patients() -> list[type[TenantDocument]]:
    """The clinic's documents that name a patient; one that is added to the models is among them by itself."""
    return [model for model in TENANT_DOCUMENTS if model.patient_column is not None]


async def _about(model: type[TenantDocument], patient_id: ObjectId) -> list[Row]:
    """All documents of one kind, without the fields that the model keeps out of its own `repr`: those are secrets."""
    secrets = {name: 0 for name, field in model.model_fields.items() if not field.repr}
    hidden = {**secrets, "claims": 0, "requests": 0}
    return await model.rows({str(model.patient_column): patient_id}, projection=hidden, sort=[("_id", 1)])


async def _accesses(patient_id: ObjectId) -> list[Row]:
    return await AuditEntry.rows(
        {"patient_ids": {"$in": await all_ids(patient_id)}},
        projection=["at", "action", "result", "collections"],
        sort=[("at", -1)],
        limit=MOST_ACCESSES,
    )


def as_json(found: PatientFile) -> Row:
    """The file as one JSON object: `format`, `version`, `exportedAt`, `clinic`, `patient`, `records`, `accesses`."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "exportedAt": now().isoformat(),
        "clinic": plain(found.clinic),
        "patient": plain(found.patient),
        "records": {name: plain(rows) for name, rows in found.records.items() if rows},
        "accesses": plain([{key: one[key] for key in one if key != "_id"} for one in found.accesses]),
    }
