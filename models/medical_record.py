"""The problem list and the rest of a patient's medical record that outlasts single visits."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.base import TenantDocument
from models.diagnosis import Diagnosis
from models.references import PlatformReference, Reference
from models.states import Staged, Transitions
from models.values import Day, Text

MOST_VISITS = 100


class RecordKind(StrEnum):
    """What an entry of the medical record is about."""

    PROBLEM = "problem"
    PAST_ILLNESS = "past_illness"
    SURGERY = "surgery"
    FAMILY_HISTORY = "family_history"
    SOCIAL_HISTORY = "social_history"
    IMMUNIZATION = "immunization"


class ProblemStatus(StrEnum):
    """Whether what an entry is about still matters; `MedicalRecord.transitions` says which may follow which."""

    ACTIVE = "active"
    RESOLVED = "resolved"
    ENTERED_IN_ERROR = "entered_in_error"


_S = ProblemStatus


class MedicalRecord(Staged, TenantDocument):
    """One entry of what a clinic knows of a patient, with the visits at which it was dealt with."""

    transitions: ClassVar[Transitions] = {
        _S.ACTIVE: frozenset({_S.RESOLVED, _S.ENTERED_IN_ERROR}),
        _S.RESOLVED: frozenset({_S.ACTIVE, _S.ENTERED_IN_ERROR}),
        _S.ENTERED_IN_ERROR: frozenset(),
    }

    status: ProblemStatus = ProblemStatus.ACTIVE
    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    kind: RecordKind = RecordKind.PROBLEM
    diagnosis: Annotated[Diagnosis, Sealed()]
    note: Annotated[Text | None, Sealed()] = None
    onset: Day | None = None
    resolved_on: Day | None = None
    visit_ids: Annotated[list[PydanticObjectId], Reference("visits")] = Field(
        default_factory=list, max_length=MOST_VISITS
    )
    recorded_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None

    class Settings:
        name = "medical_records"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)],
                name="patient_created",
            ),
            IndexModel(
                [
                    ("tenant_id", ASCENDING),
                    ("patient_id", ASCENDING),
                    ("status", ASCENDING),
                    ("created_at", DESCENDING),
                    ("_id", DESCENDING),
                ],
                name="patient_status",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("visit_ids", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)],
                name="visit",
            ),
        )
