"""Which of their care patients see: filters of what was signed, issued or released to the patient who is signed in."""

from __future__ import annotations

from typing import Any

from app.tenancy.scope import current_scope
from models.imaging import ImagingStatus
from models.prescription import PrescriptionStatus
from models.visit import VisitStatus


def visits() -> dict[str, Any]:
    """Signed ones; what should never have been written is not among them."""
    return {**_mine(), "status": {"$in": [VisitStatus.SIGNED.value, VisitStatus.AMENDED.value]}}


def prescriptions() -> dict[str, Any]:
    """Those that were signed at some time: they have a number."""
    return {**_mine(), "status": {"$ne": PrescriptionStatus.DRAFT.value}, "number": {"$type": "string"}}


def refill_requests() -> dict[str, Any]:
    """All of them: each is about something that was prescribed to the patient."""
    return _mine()


def dispensings() -> dict[str, Any]:
    """All that was handed out to them, with or without a prescription."""
    return _mine()


def imaging() -> dict[str, Any]:
    """Those whose report is released; while a correction waits for its release there is nothing to see."""
    return {**_mine(), "status": ImagingStatus.RELEASED.value}


def _mine() -> dict[str, Any]:
    return {"patient_id": current_scope().signed_in_patient.patient_id}
