"""Whose records another clinic reads here: a patient's, or what was a patient's until this clinic merged the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId

from app.services.changes import Row
from app.services.merging.moving import moved_by
from app.services.merging.redirects import LIVE
from models import Patient, PatientMerge, PatientRecord


@dataclass(frozen=True, slots=True)
class Whose:
    """A patient of the clinic in scope. With `record`, only what was moved to them from the file of that record."""

    patient_id: ObjectId
    record: Row | None = None
    moved: Mapping[str, Sequence[ObjectId]] = field(default_factory=dict)

    def of(self, model: Any) -> Row:
        """Filter: the documents of one kind that may be read."""
        own: Row = {"patient_id": self.patient_id}
        return own if self.record is None else {**own, "_id": {"$in": list(self.moved.get(model.guarded_name(), ()))}}


async def whose(known_as: ObjectId) -> Whose:
    """Whose records are read, by the id under which the other clinic knows the patient.

    A merge here is this clinic's own view of who is who. What the other clinic may see for the former file is what it
    saw before: nothing of the file into which it was merged, and nothing that was written there since.
    """
    if await Patient.rows({"_id": known_as}, projection={"_id": 1}, limit=1):
        return Whose(known_as)
    rows = await PatientMerge.rows({"former_id": str(known_as), **LIVE}, limit=1)
    if not rows:
        return Whose(known_as)
    kept = rows[0]["kept"].get(PatientRecord.guarded_name(), ())
    return Whose(rows[0]["patient_id"], next(iter(kept), {}), moved_by(rows[0]))
