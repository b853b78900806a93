"""How tests speak to the patients of a clinic."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from beanie import PydanticObjectId
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import Patient, PatientRecord
from tests.fixtures.clinics import Client, Clinic

FIELDS = """{ id version name givenName familyName birthDate sex phone email
    address { street city state zipCode country } contacts { name relationship phone }
    allergies { substance reaction severe }
    record { code version nationalId insurer insuranceNumber status notes archivedAt } }"""
CREATE = f"mutation($input: CreatePatientInput!) {{ createPatient(input: $input) {FIELDS} }}"
UPDATE = f"mutation($input: UpdatePatientInput!) {{ updatePatient(input: $input) {FIELDS} }}"
NOTES = "mutation($input: UpdatePatientNotesInput!) { updatePatientNotes(input: $input) { record { notes } } }"
ARCHIVE = "mutation($input: ArchivePatientInput!) { archivePatient(input: $input) { record { status archivedAt } } }"
RESTORE = "mutation($input: ArchivePatientInput!) { restorePatient(input: $input) { record { status archivedAt } } }"
ONE = f"query($id: ID!) {{ patient(id: $id) {FIELDS} }}"
LIST = """query($filter: PatientFilter, $sort: PatientSort! = NAME_ASC) {
    patients(first: 100, filter: $filter, sort: $sort) { edges { node { id name } } } }"""
DUPLICATES = "query($input: CreatePatientInput!) { possibleDuplicates(input: $input) { id name } }"
NO_ADDRESS = {"street": None, "city": None, "state": None, "zipCode": None, "country": None}
NOWHERE = "0123456789abcdef01234567"


def family() -> str:
    return f"F{uuid4().hex[:12]}"


async def register(client: Client, **values: Any) -> dict[str, Any]:
    answer = await client.gql(CREATE, input={"givenName": "Ana", "familyName": family(), **values})
    made: dict[str, Any] = answer.data["createPatient"]
    return made


async def found(client: Client, search: str | None = None, **filter: Any) -> list[str]:
    answer = await client.gql(LIST, filter={"search": search, **filter})
    return [edge["node"]["id"] for edge in answer.data["patients"]["edges"]]


async def share(patient: dict[str, Any], here: Clinic, there: Clinic) -> None:
    """What redeeming a share code will do: the other clinic gets the patient and a record of its own."""
    id = ObjectId(patient["id"])
    async with tenant_scope(here.ref):
        await Patient.guarded().grant(id, there.ref.id)
    async with tenant_scope(there.ref):
        await PatientRecord(patient_id=PydanticObjectId(id), code=f"X-{uuid4().hex[:8]}").insert()
