"""What happened to a patient at this clinic, of whatever kind, by time: one query over all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bson import ObjectId

from app.services.changes import Row
from models import Appointment, Imaging, LabResult, Prescription, Procedure, Referral, Visit
from models.appointment import AppointmentStatus
from models.procedure import ProcedureStatus
from models.visit import VisitStatus

LATEST = [("at", -1), ("_id", -1)]


class CareKind(StrEnum):
    """What an entry of the timeline is."""

    VISIT = "visit"
    PRESCRIPTION = "prescription"
    LAB_RESULT = "lab_result"
    IMAGING = "imaging"
    PROCEDURE = "procedure"
    REFERRAL = "referral"
    APPOINTMENT = "appointment"


@dataclass(frozen=True, slots=True)
class Source:
    """Where the entries of one kind come from, at what time each stands, and which are left out."""

    model: Any
    at: str
    but: Mapping[str, Any]


SOURCES: Mapping[CareKind, Source] = {
    CareKind.VISIT: Source(Visit, "started_at", {"status": {"$ne": VisitStatus.ENTERED_IN_ERROR.value}}),
    CareKind.PRESCRIPTION: Source(Prescription, "prescribed_at", {}),
    CareKind.LAB_RESULT: Source(LabResult, "performed_at", {"current": True}),
    CareKind.IMAGING: Source(Imaging, "ordered_at", {}),
    CareKind.PROCEDURE: Source(Procedure, "planned_at", {"status": {"$ne": ProcedureStatus.ENTERED_IN_ERROR.value}}),
    CareKind.REFERRAL: Source(Referral, "written_at", {}),
    CareKind.APPOINTMENT: Source(
        Appointment, "starts_at", {"status": {"$ne": AppointmentStatus.ENTERED_IN_ERROR.value}}
    ),
}


async def timeline(
    patient_id: ObjectId, kinds: Sequence[CareKind], *, first: int, after: tuple[Any, ObjectId] | None
) -> list[Row]:
    """The latest `first` entries of these kinds, or those behind `after` (time and id), as rows of `_id, kind, at`.

    Each has its id under the name of its kind too (`visit_id`), by which what it stands for is found. Each kind is read
    by its own index, no further than the page needs.
    """
    head, *rest = [(kind, SOURCES[kind]) for kind in kinds]
    pipeline = _part(*head, patient_id, first, after)
    for kind, source in rest:
        part = _part(kind, source, patient_id, first, after)
        pipeline.append({"$unionWith": {"coll": source.model.guarded_name(), "pipeline": part}})
    pipeline += [{"$sort": dict(LATEST)}, {"$limit": first}]
    cursor = await head[1].model.guarded().aggregate(pipeline)
    return [{**row, f"{row['kind']}_id": row["_id"]} for row in await cursor.to_list()]


def _part(
    kind: CareKind, source: Source, patient_id: ObjectId, first: int, after: tuple[Any, ObjectId] | None
) -> list[Row]:
    asked: Row = {"patient_id": patient_id, **source.but}
    if after is not None:
        at, id = after
        asked[source.at] = {"$lte": at}
        asked["$or"] = [{source.at: {"$lt": at}}, {source.at: at, "_id": {"$lt": id}}]
    return [
        {"$match": asked},
        {"$sort": {source.at: -1, "_id": -1}},
        {"$limit": first},
        {"$project": {"patient_id": 1, "at": f"${source.at}", "kind": {"$literal": kind.value}}},
    ]
