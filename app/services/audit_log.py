"""The audit log as the clinic reads it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from bson import ObjectId

from app.services.audit import record
from app.services.log_filters import filtered
from app.services.merging.redirects import all_ids
from models import Staff


async def listed(
    *,
    patient_id: ObjectId | None,
    staff_id: ObjectId | None,
    action: str | None,
    result: str | None,
    start: datetime | None,
    end: datetime | None,
) -> dict[str, Any]:
    """The filter of the log; that it is read is noted first. Raises VALIDATION_FAILED at `filter.…`."""
    where = filtered({"action": action, "result": result}, start, end)
    if patient_id is not None:
        where["patient_ids"] = {"$in": await all_ids(patient_id)}
    if staff_id is not None:
        where["user_id"] = await _person(staff_id)
    await record("audit_log.read")
    return where


async def _person(staff_id: ObjectId) -> ObjectId:
    """The person behind a staff profile; an id that no entry has when there is none."""
    rows = await Staff.rows({"_id": staff_id}, projection={"user_id": 1}, limit=1)
    return (rows[0].get("user_id") if rows else None) or ObjectId()
