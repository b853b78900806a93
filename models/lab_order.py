"""What is ordered from a laboratory, from the order to what the patient may see."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from beanie import PydanticObjectId
from pydantic import Field

from app.tenancy.sealing import Sealed
from models.base import TenantDocument
from models.clinical import by_time
from models.lab import LabPanel
from models.references import PlatformReference, Reference
from models.states import Staged, Transitions
from models.uniques import ONE_PER_NUMBER
from models.values import Line, Text, now

MOST_PANELS = 50


class OrderPriority(StrEnum):
    """How soon something is needed, as HL7 FHIR's request-priority tells apart."""

    ROUTINE = "routine"
    URGENT = "urgent"
    ASAP = "asap"
    STAT = "stat"


class LabOrderStatus(StrEnum):
    """The states of an order; `LabOrder.transitions` says which may follow which."""

    ORDERED = "ordered"
    COLLECTED = "collected"
    RESULTED = "resulted"
    REVIEWED = "reviewed"
    RELEASED = "released"
    CANCELLED = "cancelled"


_S = LabOrderStatus


class LabOrder(Staged, TenantDocument):
    """Panels that are ordered together. The laboratory names the `number` in its report, by which results find it.

    From RESULTED on the state follows that of its results: a correction leads back, for it must be looked at too.
    """

    transitions: ClassVar[Transitions] = {
        _S.ORDERED: frozenset({_S.COLLECTED, _S.RESULTED, _S.CANCELLED}),
        _S.COLLECTED: frozenset({_S.RESULTED, _S.CANCELLED}),
        _S.RESULTED: frozenset({_S.REVIEWED}),
        _S.REVIEWED: frozenset({_S.RELEASED, _S.RESULTED}),
        _S.RELEASED: frozenset({_S.RESULTED}),
        _S.CANCELLED: frozenset(),
    }

    status: LabOrderStatus = LabOrderStatus.ORDERED
    number: str
    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    doctor_id: Annotated[PydanticObjectId, Reference("staff")]
    visit_id: Annotated[PydanticObjectId, Reference("visits")] | None = None
    panels: list[LabPanel] = Field(min_length=1, max_length=MOST_PANELS)
    priority: OrderPriority = OrderPriority.ROUTINE
    specimen: Line | None = None
    reason: Annotated[Text | None, Sealed()] = None
    ordered_at: datetime = Field(default_factory=now)
    collected_at: datetime | None = None
    collected_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None

    class Settings:
        name = "lab_orders"
        indexes = (ONE_PER_NUMBER, *by_time("ordered_at"))
