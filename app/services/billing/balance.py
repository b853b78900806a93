"""What a patient owes the clinic, or has coming from it."""

from __future__ import annotations

from typing import Any

from bson import ObjectId

from app.services.billing.coverage import today
from app.services.changes import Row
from app.services.merging.redirects import present_id
from models import Invoice
from models.invoice import BILLED, OWED

_SUMS = {"invoiced": "$total", "credited": "$credited", "paid": "$paid", "open": "$open"}


async def balance(patient_id: ObjectId) -> Row:
    """The sums of the patient's invoices, by currency, in one aggregation; of the survivor's for one who was merged.

    Raises NOT_FOUND at `patientId`.
    """
    patient_id = await present_id(patient_id)
    late = {"$and": [{"$in": ["$status", [one.value for one in OWED]]}, {"$lt": ["$due_on", today()]}]}
    group: dict[str, Any] = {name: {"$sum": column} for name, column in _SUMS.items()}
    group["overdue"] = {"$sum": {"$cond": [late, "$open", 0]}}
    cursor = await Invoice.guarded().aggregate(
        [
            {"$match": {"patient_id": patient_id, "status": {"$in": [one.value for one in BILLED]}}},
            {"$group": {"_id": "$currency", **group}},
            {"$sort": {"_id": 1}},
        ]
    )
    rows = await cursor.to_list()
    return {"patient_id": patient_id, "sums": [{**row, "currency": row["_id"]} for row in rows]}
