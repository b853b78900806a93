"""A visit: what was said, found, thought and planned when a patient was seen. Signed, it never changes again."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from beanie import DecimalAnnotation, PydanticObjectId
from pydantic import Field, StringConstraints, model_validator
from pymongo import ASCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.base import TenantDocument
from models.clinical import by_time
from models.diagnosis import Diagnoses
from models.references import ANY_ID, PlatformReference, Reference
from models.states import Staged, Transitions
from models.values import Text, Value, now

MOST_ADDENDA = 100


class EncounterClass(StrEnum):
    """How patient and clinic met: HL7 v3's ActEncounterCode, with its own codes as values."""

    AMB = "AMB"
    EMER = "EMER"
    FLD = "FLD"
    HH = "HH"
    IMP = "IMP"
    OBSENC = "OBSENC"
    PRENC = "PRENC"
    SS = "SS"
    VR = "VR"


class VisitStatus(StrEnum):
    """The states of a visit; `Visit.transitions` says which may follow which."""

    OPEN = "open"
    SIGNED = "signed"
    AMENDED = "amended"
    ENTERED_IN_ERROR = "entered_in_error"


class Vitals(Value):
    """What was measured, in the units that the names say."""

    temperature_celsius: Annotated[
        DecimalAnnotation | None, Field(ge=Decimal(25), le=Decimal(45), decimal_places=1)
    ] = None
    systolic_mmhg: Annotated[int | None, Field(ge=30, le=300)] = None
    diastolic_mmhg: Annotated[int | None, Field(ge=10, le=200)] = None
    heart_rate: Annotated[int | None, Field(ge=10, le=350)] = None
    respiratory_rate: Annotated[int | None, Field(ge=2, le=100)] = None
    oxygen_saturation: Annotated[int | None, Field(ge=30, le=100)] = None
    weight_kg: Annotated[DecimalAnnotation | None, Field(ge=Decimal("0.2"), le=Decimal(700), decimal_places=3)] = None
    height_cm: Annotated[DecimalAnnotation | None, Field(ge=Decimal(20), le=Decimal(280), decimal_places=1)] = None
    pain: Annotated[int | None, Field(ge=0, le=10)] = None

    @model_validator(mode="after")
    def _systolic_above_diastolic(self) -> Self:
        if self.systolic_mmhg and self.diastolic_mmhg and self.systolic_mmhg <= self.diastolic_mmhg:
            raise ValueError("the systolic pressure must be above the diastolic one")
        return self


class Addendum(Value):
    """What was added to a visit after it had been signed."""

    at: datetime = Field(default_factory=now)
    by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    text: Annotated[Annotated[Text, StringConstraints(min_length=1)], Sealed()]


_S = VisitStatus


def _one_per(column: str, name: str) -> IndexModel:
    """What led to a visit leads to no other one, unless the first should never have been written."""
    counting = [one.value for one in _S if one is not _S.ENTERED_IN_ERROR]
    return IndexModel(
        [("tenant_id", ASCENDING), (column, ASCENDING)],
        name=name,
        unique=True,
        partialFilterExpression={column: ANY_ID, "status": {"$in": counting}},
    )


class Visit(Staged, TenantDocument):
    """One encounter. The note is written while it is OPEN; after that there are addenda, and nothing else.

    An appointment, and a place in the queue, leads to one visit at most.
    """

    transitions: ClassVar[Transitions] = {
        _S.OPEN: frozenset({_S.SIGNED, _S.ENTERED_IN_ERROR}),
        _S.SIGNED: frozenset({_S.AMENDED, _S.ENTERED_IN_ERROR}),
        _S.AMENDED: frozenset({_S.AMENDED, _S.ENTERED_IN_ERROR}),
        _S.ENTERED_IN_ERROR: frozenset(),
    }

    status: VisitStatus = VisitStatus.OPEN
    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    doctor_id: Annotated[PydanticObjectId, Reference("staff")]
    appointment_id: Annotated[PydanticObjectId, Reference("appointments")] | None = None
    queue_entry_id: Annotated[PydanticObjectId, Reference("queue_entries")] | None = None
    service_id: Annotated[PydanticObjectId, Reference("services")] | None = None
    encounter_class: EncounterClass = EncounterClass.AMB
    started_at: datetime = Field(default_factory=now)
    ended_at: datetime | None = None
    reason: Annotated[Text | None, Sealed()] = None
    subjective: Annotated[Text | None, Sealed()] = None
    objective: Annotated[Text | None, Sealed()] = None
    assessment: Annotated[Text | None, Sealed()] = None
    plan: Annotated[Text | None, Sealed()] = None
    vitals: Annotated[Vitals | None, Sealed()] = None
    diagnoses: Annotated[Diagnoses, Sealed()] = Field(default_factory=list)
    signed_at: datetime | None = None
    signed_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    addenda: list[Addendum] = Field(default_factory=list, max_length=MOST_ADDENDA)

    class Settings:
        name = "visits"
        indexes = (
            _one_per("appointment_id", "one_per_appointment"),
            _one_per("queue_entry_id", "one_per_queue_entry"),
            *by_time("started_at"),
        )
