"""What is billed for a visit."""

from __future__ import annotations

from bson import ObjectId

from app.errors import InvalidState, NotFound
from app.services.changes import Row
from models import Visit
from models.visit import VisitStatus


async def of_visit(visit_id: ObjectId | None, patient_id: ObjectId) -> Row:
    """`visit_id` and `doctor_id` of what is billed for a visit; nothing when it is for none.

    Raises NOT_FOUND at `input.visitId` for a visit that is another patient's, INVALID_STATE for one that should never
    have been written.
    """
    if visit_id is None:
        return {}
    mine = {"_id": visit_id, "patient_id": patient_id}
    rows = await Visit.rows(mine, projection=["doctor_id", "status"], limit=1)
    if not rows:
        raise NotFound.at("input.visitId")
    if rows[0]["status"] == VisitStatus.ENTERED_IN_ERROR.value:
        raise InvalidState("The visit was entered in error: nothing is billed for it.")
    return {"visit_id": visit_id, "doctor_id": rows[0]["doctor_id"]}
