"""How tests merge patients: two files, their versions, the merge, and everything that the clinic keeps of either."""

from __future__ import annotations

from typing import Any

from bson import ObjectId

from app.services.patient_export import models_about_patients
from app.tenancy.crossing import tenant_scope
from models import Patient, PatientMerge, PatientVersion
from tests.fixtures.clinics import Answer, Client, Clinic

Row = dict[str, Any]

SIDE = "{ id version name phone email record { version code nationalId notes } allergies { substance } }"
PREVIEW = f"""query($survivorId: ID!, $duplicateId: ID!) {{
    patientMergePreview(survivorId: $survivorId, duplicateId: $duplicateId) {{
        survivor {SIDE} duplicate {SIDE} conflicts changes demographicsShared
        moves {{ kind count }} obstacles {{ kind message }} }} }}"""
MERGE_FIELDS = """{ id version formerId formerCode reason mergedBy undoneAt undoReason
    survivor { id name phone email birthDate sex version mergedFrom { id code }
        allergies { substance } contacts { name } record { version code notes nationalId insurer } } }"""
MERGE = f"mutation($input: MergePatientsInput!) {{ mergePatients(input: $input) {MERGE_FIELDS} }}"
UNMERGE = f"mutation($input: UnmergePatientsInput!) {{ unmergePatients(input: $input) {MERGE_FIELDS} }}"
MERGES = f"query($patientId: ID) {{ patientMerges(patientId: $patientId) {{ edges {{ node {MERGE_FIELDS} }} }} }}"
FILE = "query($id: ID!) { patient(id: $id) { id version record { version code } } }"
WHY = "Registered twice by two desks."


async def versions(client: Client, survivor: Row, duplicate: Row) -> Row:
    """Both files as they are now, for a merge's input."""
    found: Row = {}
    for name, one in (("survivor", survivor), ("duplicate", duplicate)):
        answer = await client.gql(FILE, id=one["id"])
        seen = None if answer.codes else answer.data["patient"]
        found[f"{name}Id"] = one["id"]
        found[f"{name}Version"] = seen["version"] if seen else 1
        found[f"{name}RecordVersion"] = seen["record"]["version"] if seen else 1
    return found


async def try_merge(client: Client, survivor: Row, duplicate: Row, **values: Any) -> Answer:
    given = await versions(client, survivor, duplicate)
    return await client.gql(MERGE, input={**given, "reason": WHY, **values})


async def merged(client: Client, survivor: Row, duplicate: Row, **values: Any) -> Row:
    answer = await try_merge(client, survivor, duplicate, **values)
    made: Row = answer.data["mergePatients"]
    return made


async def try_unmerge(client: Client, merge: Row, **values: Any) -> Answer:
    given = {"id": merge["id"], "version": await version_of(client, merge), "reason": "Two people after all.", **values}
    return await client.gql(UNMERGE, input=given)


async def version_of(client: Client, merge: Row) -> int:
    edges = (await client.gql(MERGES)).data["patientMerges"]["edges"]
    return next(int(edge["node"]["version"]) for edge in edges if edge["node"]["id"] == merge["id"])


async def unmerged(client: Client, merge: Row, **values: Any) -> Row:
    answer = await try_unmerge(client, merge, **values)
    undone: Row = answer.data["unmergePatients"]
    return undone


async def kept(clinic: Clinic, *patients: Row | str, changes: bool = False) -> dict[str, dict[Any, Row]]:
    """All that the clinic keeps of the patients, by collection and id, without what every change changes, and without
    what tells of the merges themselves; the history of demographics (to which they add) only with `changes`."""
    ids = [ObjectId(one if isinstance(one, str) else one["id"]) for one in patients]
    found: dict[str, dict[Any, Row]] = {}
    async with tenant_scope(clinic.ref):
        models: list[Any] = [*models_about_patients(), Patient]
        for model in models:
            if model is PatientMerge or (model is PatientVersion and not changes):
                continue
            rows = await model.rows({str(model.patient_column): {"$in": ids}})
            if rows:
                found[model.guarded_name()] = {row["_id"]: plain(row) for row in rows}
    return found


def plain(row: Row) -> Row:
    return {name: value for name, value in row.items() if name not in ("version", "updated_at")}
