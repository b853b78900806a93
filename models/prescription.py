"""Prescriptions: what a patient is to take, signed by whoever prescribes it, and amended by replacement alone."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from beanie import PydanticObjectId
from pydantic import Field, StringConstraints
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.base import TenantDocument
from models.clinical import by_time
from models.medicine import AtcCode, DosageForm
from models.references import ANY_ID, PlatformReference, Reference
from models.states import Staged, Transitions
from models.uniques import ONE_PER_NUMBER
from models.values import Line, Name, Reason, Text, Value, now

MOST_ITEMS = 30


class PrescriptionStatus(StrEnum):
    """The states of a prescription; `Prescription.transitions` says which may follow which."""

    DRAFT = "draft"
    ACTIVE = "active"
    ON_HOLD = "on_hold"
    COMPLETED = "completed"
    STOPPED = "stopped"
    CANCELLED = "cancelled"


class Route(StrEnum):
    """The way into the body."""

    ORAL = "oral"
    SUBLINGUAL = "sublingual"
    BUCCAL = "buccal"
    INHALED = "inhaled"
    NASAL = "nasal"
    OPHTHALMIC = "ophthalmic"
    OTIC = "otic"
    TOPICAL = "topical"
    TRANSDERMAL = "transdermal"
    RECTAL = "rectal"
    VAGINAL = "vaginal"
    INTRAVENOUS = "intravenous"
    INTRAMUSCULAR = "intramuscular"
    SUBCUTANEOUS = "subcutaneous"
    OTHER = "other"


class PrescriptionItem(Value):
    """One medicine and how it is taken. `number` is its place, from 1.

    What the catalogue said of the medicine when it was prescribed stands here, so that later changes of the catalogue
    change no prescription. `refills_left` counts down from `refills`; `dispensed` is how much was handed out, less what
    came back.
    """

    number: int = Field(ge=1, le=MOST_ITEMS)
    medicine_id: Annotated[PydanticObjectId, Reference("medicines")]
    name: Name
    form: DosageForm
    strength: Line | None = None
    atc_code: AtcCode | None = None
    ingredient_keys: list[str] = Field(default_factory=list)
    dose: Annotated[Line, StringConstraints(max_length=80)]
    route: Route = Route.ORAL
    frequency: Annotated[Line, StringConstraints(max_length=80)]
    as_needed: bool = False
    duration_days: Annotated[int | None, Field(ge=1, le=730)] = None
    quantity: int = Field(ge=1, le=10_000)
    refills: int = Field(default=0, ge=0, le=24)
    refills_left: int = Field(default=0, ge=0, le=24)
    dispensed: int = Field(default=0, ge=0)
    instructions: Annotated[Text | None, Sealed()] = None


class WarningKind(StrEnum):
    """What speaks against a medicine."""

    ALLERGY = "allergy"
    SAME_INGREDIENT = "same_ingredient"
    SAME_GROUP = "same_group"


class AcknowledgedWarning(Value):
    """A warning that whoever signed went over, and why."""

    key: str
    kind: WarningKind
    item_number: int
    text: Annotated[Line, Sealed()]
    severe: bool = False
    reason: Annotated[Reason, Sealed()]
    at: datetime = Field(default_factory=now)
    by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None


_S = PrescriptionStatus
CURRENT = (_S.ACTIVE, _S.ON_HOLD)
"""States in which the patient takes it, or is about to go on."""


class Prescription(Staged, TenantDocument):
    """Medicines prescribed together. It gets its `number` when it is signed, and its items never change after that.

    `replaces_id` names the one that it takes the place of; signing it stops that one in the same step.
    """

    transitions: ClassVar[Transitions] = {
        _S.DRAFT: frozenset({_S.ACTIVE, _S.CANCELLED}),
        _S.ACTIVE: frozenset({_S.ON_HOLD, _S.COMPLETED, _S.STOPPED, _S.CANCELLED}),
        _S.ON_HOLD: frozenset({_S.ACTIVE, _S.COMPLETED, _S.STOPPED, _S.CANCELLED}),
        _S.COMPLETED: frozenset(),
        _S.STOPPED: frozenset(),
        _S.CANCELLED: frozenset(),
    }

    status: PrescriptionStatus = PrescriptionStatus.DRAFT
    number: str | None = None
    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    doctor_id: Annotated[PydanticObjectId, Reference("staff")]
    visit_id: Annotated[PydanticObjectId, Reference("visits")] | None = None
    replaces_id: Annotated[PydanticObjectId, Reference("prescriptions")] | None = None
    items: list[PrescriptionItem] = Field(min_length=1, max_length=MOST_ITEMS)
    medicine_ids: Annotated[list[PydanticObjectId], Reference("medicines")] = Field(default_factory=list)
    """Those of the items, by which a medicine's prescriptions are found."""
    note: Annotated[Text | None, Sealed()] = None
    prescribed_at: datetime = Field(default_factory=now)
    signed_at: datetime | None = None
    signed_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    warnings: list[AcknowledgedWarning] = Field(default_factory=list)

    class Settings:
        name = "prescriptions"
        indexes = (
            ONE_PER_NUMBER,
            IndexModel(
                [("tenant_id", ASCENDING), ("replaces_id", ASCENDING)],
                name="one_replacement",
                unique=True,
                partialFilterExpression={
                    "replaces_id": ANY_ID,
                    "status": {"$in": [one.value for one in _S if one is not _S.CANCELLED]},
                },
            ),
            *by_time("prescribed_at"),
            IndexModel(
                [
                    ("tenant_id", ASCENDING),
                    ("medicine_ids", ASCENDING),
                    ("prescribed_at", DESCENDING),
                    ("_id", DESCENDING),
                ],
                name="medicine_prescribed",
            ),
        )


class RefillStatus(StrEnum):
    """What became of a request; `RefillRequest.transitions` says which may follow which."""

    REQUESTED = "requested"
    APPROVED = "approved"
    DECLINED = "declined"
    CANCELLED = "cancelled"


_R = RefillStatus


class RefillRequest(Staged, TenantDocument):
    """A patient needs more of what was prescribed. One prescription has one open request at most."""

    transitions: ClassVar[Transitions] = {
        _R.REQUESTED: frozenset({_R.APPROVED, _R.DECLINED, _R.CANCELLED}),
        _R.APPROVED: frozenset(),
        _R.DECLINED: frozenset(),
        _R.CANCELLED: frozenset(),
    }

    status: RefillStatus = RefillStatus.REQUESTED
    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    prescription_id: Annotated[PydanticObjectId, Reference("prescriptions")]
    doctor_id: Annotated[PydanticObjectId, Reference("staff")] | None = None
    """Whose prescription it is; None where the request was made before that was kept."""
    item_numbers: list[Annotated[int, Field(ge=1, le=MOST_ITEMS)]] = Field(min_length=1, max_length=MOST_ITEMS)
    note: Annotated[Text | None, Sealed()] = None
    answer: Annotated[Text | None, Sealed()] = None
    by_patient: bool = False
    requested_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    requested_at: datetime = Field(default_factory=now)
    decided_at: datetime | None = None
    decided_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None

    class Settings:
        name = "refill_requests"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("prescription_id", ASCENDING)],
                name="one_open",
                unique=True,
                partialFilterExpression={"status": _R.REQUESTED.value},
            ),
            IndexModel(
                [
                    ("tenant_id", ASCENDING),
                    ("prescription_id", ASCENDING),
                    ("requested_at", DESCENDING),
                    ("_id", DESCENDING),
                ],
                name="prescription_requested",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("status", ASCENDING), ("requested_at", DESCENDING), ("_id", DESCENDING)],
                name="status_requested",
            ),
            IndexModel(
                [
                    ("tenant_id", ASCENDING),
                    ("patient_id", ASCENDING),
                    ("requested_at", DESCENDING),
                    ("_id", DESCENDING),
                ],
                name="patient_requested",
            ),
            IndexModel(
                [
                    ("tenant_id", ASCENDING),
                    ("doctor_id", ASCENDING),
                    ("requested_at", DESCENDING),
                    ("_id", DESCENDING),
                ],
                name="doctor_requested",
            ),
            IndexModel([("tenant_id", ASCENDING), ("requested_at", DESCENDING), ("_id", DESCENDING)], name="requested"),
        )
