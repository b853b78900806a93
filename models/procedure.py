"""Procedures: planned, begun, done."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from beanie import PydanticObjectId
from pydantic import Field, StringConstraints, model_validator

from app.tenancy.sealing import Sealed
from models.base import TenantDocument
from models.clinical import by_time
from models.diagnosis import Edition
from models.imaging import Laterality
from models.references import PlatformReference, Reference
from models.states import Staged, Transitions
from models.values import Line, Text, Value, now


class ProcedureSystem(StrEnum):
    """The classification that a procedure's code is of."""

    LOCAL = "local"
    CPT = "cpt"
    ICD_10_PCS = "icd_10_pcs"
    OPS = "ops"
    SNOMED_CT = "snomed_ct"


YEARLY = (ProcedureSystem.CPT, ProcedureSystem.ICD_10_PCS, ProcedureSystem.OPS)
"""Those whose codes may mean something else in the next edition."""


class ProcedureCode(Value):
    """What is done, by a code: of an edition, where the classification has editions."""

    system: ProcedureSystem
    edition: Edition | None = None
    code: Annotated[Line, StringConstraints(max_length=18)]

    @model_validator(mode="after")
    def _edition_where_there_are_some(self) -> Self:
        if self.edition is None and self.system in (
            ProcedureSystem.CPT,
            ProcedureSystem.ICD_10_PCS,
            ProcedureSystem.OPS,
        ):
            raise ValueError("a code of this classification needs its edition")
        return self


class ProcedureStatus(StrEnum):
    """The states of a procedure; `Procedure.transitions` says which may follow which."""

    PLANNED = "planned"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    ENTERED_IN_ERROR = "entered_in_error"


_S = ProcedureStatus


class Procedure(Staged, TenantDocument):
    """Something that is done to a patient. What was found and how it went is written when it ends."""

    transitions: ClassVar[Transitions] = {
        _S.PLANNED: frozenset({_S.IN_PROGRESS, _S.COMPLETED, _S.CANCELLED, _S.ENTERED_IN_ERROR}),
        _S.IN_PROGRESS: frozenset({_S.COMPLETED, _S.STOPPED, _S.ENTERED_IN_ERROR}),
        _S.COMPLETED: frozenset({_S.ENTERED_IN_ERROR}),
        _S.STOPPED: frozenset({_S.ENTERED_IN_ERROR}),
        _S.CANCELLED: frozenset({_S.ENTERED_IN_ERROR}),
        _S.ENTERED_IN_ERROR: frozenset(),
    }

    status: ProcedureStatus = ProcedureStatus.PLANNED
    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    doctor_id: Annotated[PydanticObjectId, Reference("staff")]
    visit_id: Annotated[PydanticObjectId, Reference("visits")] | None = None
    service_id: Annotated[PydanticObjectId, Reference("services")] | None = None
    name: Line
    coding: ProcedureCode | None = None
    body_site: Line | None = None
    laterality: Laterality | None = None
    reason: Annotated[Text | None, Sealed()] = None
    planned_at: datetime = Field(default_factory=now)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    performed_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    findings: Annotated[Text | None, Sealed()] = None
    outcome: Annotated[Text | None, Sealed()] = None
    complications: Annotated[Text | None, Sealed()] = None

    class Settings:
        name = "procedures"
        indexes = by_time("planned_at")
