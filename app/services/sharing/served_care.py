"""What of visits, prescriptions, imaging, procedures and referrals another clinic may see: what is done, and no ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bson import ObjectId

from app.services.changes import Row
from app.services.sharing.whose import Whose
from models import Imaging, Prescription, Procedure, Referral, Specialization, Staff, Visit
from models.imaging import ImagingStatus
from models.prescription import PrescriptionStatus
from models.procedure import ProcedureStatus
from models.referral import ReferralStatus
from models.visit import VisitStatus

MOST = 100
"""So many of each kind are shown, the latest."""

_VISIT = ("encounter_class", "reason", "subjective", "objective", "assessment", "plan", "vitals", "diagnoses")
_ITEM = ("name", "form", "strength", "atc_code", "dose", "route", "frequency", "as_needed", "duration_days")
_STUDY = ("modality", "body_site", "laterality", "reason", "performed_at")
_PROCEDURE = ("name", "coding", "body_site", "laterality", "status", "started_at", "ended_at")
_HOW_IT_WENT = ("findings", "outcome", "complications")
_REFERRAL = ("status", "recipient", "reason", "summary", "diagnoses", "sent_at", "answer", "answered_at")


async def names_of(model: Any, ids: Iterable[ObjectId | None]) -> dict[ObjectId | None, str]:
    """Id → name, of what this clinic has."""
    wanted = {one for one in ids if one is not None}
    rows = await model.rows({"_id": {"$in": list(wanted)}}, projection={"name": 1}) if wanted else []
    return {row["_id"]: row["name"] for row in rows}


async def _latest(model: Any, whose: Whose, states: Iterable[Any], at: str, columns: Sequence[str]) -> list[Row]:
    rows: list[Row] = await model.rows(
        {**whose.of(model), "status": {"$in": [one.value for one in states]}},
        projection=[*columns, at, "doctor_id"],
        sort=[(at, -1), ("_id", -1)],
        limit=MOST,
    )
    return rows


def _only(row: Mapping[str, Any], *columns: str) -> Row:
    return {name: row.get(name) for name in columns}


async def visits(whose: Whose) -> list[Row]:
    """Signed ones: what was written, by whom, when, and what was added."""
    signed = (VisitStatus.SIGNED, VisitStatus.AMENDED)
    rows = await _latest(Visit, whose, signed, "started_at", [*_VISIT, "signed_at", "addenda"])
    doctors = await names_of(Staff, (row["doctor_id"] for row in rows))
    return [
        {
            **_only(row, "started_at", "signed_at", *_VISIT),
            "doctor_name": doctors.get(row["doctor_id"]),
            "addenda": [_only(one, "at", "text") for one in row.get("addenda") or ()],
        }
        for row in rows
    ]


async def prescriptions(whose: Whose) -> list[Row]:
    """Those that were signed and not withdrawn."""
    signed = set(PrescriptionStatus) - {PrescriptionStatus.DRAFT, PrescriptionStatus.CANCELLED}
    rows = await _latest(Prescription, whose, sorted(signed), "prescribed_at", ["status", "signed_at", "items"])
    doctors = await names_of(Staff, (row["doctor_id"] for row in rows))
    return [
        {
            **_only(row, "prescribed_at", "signed_at", "status"),
            "doctor_name": doctors.get(row["doctor_id"]),
            "items": [_only(item, *_ITEM, "instructions") for item in row["items"]],
        }
        for row in rows
    ]


async def imaging(whose: Whose) -> list[Row]:
    """Studies whose report was released."""
    rows = await _latest(Imaging, whose, (ImagingStatus.RELEASED,), "ordered_at", [*_STUDY, "reports"])
    return [{**_only(row, *_STUDY), **_only(row["reports"][-1], "findings", "impression")} for row in rows]


async def procedures(whose: Whose) -> list[Row]:
    """Those that were done, or begun and broken off."""
    over = (ProcedureStatus.COMPLETED, ProcedureStatus.STOPPED)
    rows = await _latest(Procedure, whose, over, "planned_at", [*_PROCEDURE, *_HOW_IT_WENT])
    doctors = await names_of(Staff, (row["doctor_id"] for row in rows))
    return [{**_only(row, *_PROCEDURE, *_HOW_IT_WENT), "doctor_name": doctors.get(row["doctor_id"])} for row in rows]


async def referrals(whose: Whose) -> list[Row]:
    """Those that were sent."""
    sent = set(ReferralStatus) - {ReferralStatus.DRAFT, ReferralStatus.CANCELLED}
    columns = [*_REFERRAL, "specialization_id"]
    rows = await _latest(Referral, whose, sorted(sent), "written_at", columns)
    doctors = await names_of(Staff, (row["doctor_id"] for row in rows))
    fields = await names_of(Specialization, (row.get("specialization_id") for row in rows))
    return [
        {
            **_only(row, *_REFERRAL),
            "doctor_name": doctors.get(row["doctor_id"]),
            "specialization_name": fields.get(row.get("specialization_id")),
        }
        for row in rows
    ]
