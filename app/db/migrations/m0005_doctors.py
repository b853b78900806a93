"""Requests for refills say whose prescription they are about, and laboratories' results who ordered them, so that both
can be listed by doctor. Those from before take it from the prescription and the order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from pymongo import UpdateOne

from app.db.migrations.step import Migration, Site
from models.lab import LabResult
from models.lab_order import LabOrder
from models.prescription import Prescription, RefillRequest
from models.references import ANY_ID

Row = dict[str, Any]
BATCH = 500


@dataclass(frozen=True, slots=True)
class _Kind:
    """Documents of a collection that take their doctor from those of another one, which `column` names."""

    collection: str
    column: str
    other: str

    @property
    def silent(self) -> Row:
        """Filter: those that say nothing, not even that there is none."""
        return {"doctor_id": {"$exists": False}, self.column: ANY_ID}


KINDS = (
    _Kind(RefillRequest.guarded_name(), "prescription_id", Prescription.guarded_name()),
    _Kind(LabResult.guarded_name(), "lab_order_id", LabOrder.guarded_name()),
)


async def run(site: Site) -> int:
    """Has each of them say it; how many there were."""
    done = 0
    for kind in KINDS:
        async for rows in _batches(site, kind):
            named = {"_id": {"$in": [row[kind.column] for row in rows]}}
            others = site.database[kind.other].find(named, {"doctor_id": 1})
            doctors = {row["_id"]: row.get("doctor_id") async for row in others}
            changes = [
                UpdateOne({"_id": row["_id"], **kind.silent}, {"$set": {"doctor_id": doctors.get(row[kind.column])}})
                for row in rows
            ]
            done += (await site.database[kind.collection].bulk_write(changes, ordered=False)).modified_count
    return done


async def _batches(site: Site, kind: _Kind) -> AsyncIterator[list[Row]]:
    while rows := await site.database[kind.collection].find(kind.silent, {kind.column: 1}).limit(BATCH).to_list():
        yield rows


async def pending(site: Site) -> int:
    """How many say nothing."""
    return sum([await site.database[kind.collection].count_documents(kind.silent) for kind in KINDS])


MIGRATION = Migration(5, "doctors", run, pending)
