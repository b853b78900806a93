"""Where the ids and codes of merged patients lead, at the clinic in scope."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from bson import ObjectId

from app.errors import NotFound
from app.services.changes import Row
from models import Patient, PatientMerge

LIVE: Mapping[str, Any] = {"undone_at": None}
"""Filter: merges that were not undone."""


async def survivor_of(former_id: ObjectId) -> ObjectId | None:
    """The patient into whom that one was merged, however often the survivor was merged in turn; None for anybody else.

    The survivor of a merge moves along with every other document, so one look is enough.
    """
    return await _survivor({"former_id": str(former_id)})


async def of_survivor(where: Mapping[str, Any]) -> Row | None:
    """The same filter for the survivor's documents, where it is for those of a patient who was merged; else None."""
    if "$and" in where:
        parts = where["$and"]
        moved = [await of_survivor(part) for part in parts]
        return {**where, "$and": [new or part for new, part in zip(moved, parts, strict=True)]} if any(moved) else None
    patient_id = where.get("patient_id")
    survivor = await survivor_of(patient_id) if isinstance(patient_id, ObjectId) else None
    return {**where, "patient_id": survivor} if survivor else None


async def present_id(patient_id: ObjectId, at: str = "patientId") -> ObjectId:
    """The id under which a patient is known here now. Raises NOT_FOUND at `at` for one who neither is nor was."""
    if await Patient.rows({"_id": patient_id}, projection={"_id": 1}, limit=1):
        return patient_id
    survivor = await survivor_of(patient_id)
    if survivor is None:
        raise NotFound.at(at)
    return survivor


async def survivor_by_code(former_code: str) -> ObjectId | None:
    """The same by the code that the former file had here, in capitals."""
    return await _survivor({"former_code": former_code})


async def _survivor(former: Mapping[str, Any]) -> ObjectId | None:
    rows = await PatientMerge.rows({**former, **LIVE}, projection={"patient_id": 1}, limit=1)
    return rows[0]["patient_id"] if rows else None


def of_patient(patient_id: ObjectId | None) -> Row:
    """The filter of a list of merges: all of them, or those of which a patient was either side."""
    return {} if patient_id is None else {"$or": [{"patient_id": patient_id}, {"former_id": str(patient_id)}]}


async def all_ids(patient_id: ObjectId) -> list[ObjectId]:
    """Under which ids a patient is and was known here; those of the survivor for one who was merged.

    Entries of the audit keep the id that they were written with: they are found by all of these.
    """
    present = await survivor_of(patient_id) or patient_id
    rows = await PatientMerge.rows({"patient_id": present, **LIVE}, projection={"former_id": 1})
    return [present, *(ObjectId(row["former_id"]) for row in rows)]


async def merged_into(patients: Sequence[ObjectId]) -> Mapping[ObjectId, list[Row]]:
    """The files that were merged into each of the patients, the latest first: `former_id, former_code, merged_at`."""
    rows = await PatientMerge.rows(
        {"patient_id": {"$in": list(patients)}, **LIVE},
        projection={"patient_id": 1, "former_id": 1, "former_code": 1, "merged_at": 1},
        sort=[("merged_at", -1), ("_id", -1)],
    )
    found: dict[ObjectId, list[Row]] = defaultdict(list, {one: [] for one in patients})
    for row in rows:
        found[row["patient_id"]].append(row)
    return found
