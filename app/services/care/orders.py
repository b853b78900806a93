"""What everything that is ordered or planned for a patient has in common: who, for whom, from which visit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import ObjectId

from app.errors import NotFound
from app.services.care.people import doctor_or_actor
from app.services.changes import Row, build, row_of
from app.services.counters import next_number
from app.services.references import check_references
from models import Visit


async def place(model: Any, values: Mapping[str, Any], *, series: str | None = None) -> Row:
    """Stores a new document of a patient; answers with its row.

    Whoever acts orders it unless `doctor_id` says otherwise; a visit must be the patient's. `series` gives it the next
    `number` of that kind. Raises NOT_FOUND or VALIDATION_FAILED at `input.…`.
    """
    await check_references(model, values, at="input")
    await require_own_visit(values.get("visit_id"), values["patient_id"])
    doctor = await doctor_or_actor(values.get("doctor_id"))
    numbered = {"number": series} if series else {}
    document = build(model, {**values, **numbered, "id": ObjectId(), "doctor_id": doctor})
    if series:  # only once all else is right, so that few numbers are lost
        document.number = f"{series}-{await next_number(model.guarded_name()):06d}"
    await document.insert()
    return row_of(document)


async def require_own_visit(visit_id: ObjectId | None, patient_id: ObjectId) -> None:
    """Raises NOT_FOUND at `input.visitId` for a visit that is another patient's."""
    if visit_id is None:
        return
    if not await Visit.rows({"_id": visit_id, "patient_id": patient_id}, projection={"_id": 1}, limit=1):
        raise NotFound.at("input.visitId")
