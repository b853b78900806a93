"""Orders to laboratories, and results that the clinic's own laboratory enters."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First, related_page
from app.permissions import Permission
from app.services.care import lab_orders as service
from app.services.care.lists import listed
from app.services.counters import as_given
from models import LabOrder
from models.lab import ResultFlag
from models.lab_order import LabOrderStatus
from resolvers.base import Resolver, shown
from resolvers.lab import LabPanelType, LabResultType
from resolvers.order_values import OrderPriority
from resolvers.staff import StaffType
from resolvers.steps import ReasonedStepInput, StepType
from resolvers.values import described
from resolvers.visits import VisitType

if TYPE_CHECKING:
    from resolvers.patients import PatientType

described(
    LabOrderStatus,
    "Where an order to a laboratory stands.",
    ORDERED="It waits for the sample.",
    COLLECTED="The sample was taken.",
    RESULTED="There are results that nobody has looked at.",
    REVIEWED="Somebody has looked at all results.",
    RELEASED="The patient may see all results.",
    CANCELLED="It was not needed.",
)


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


@row_type("LabOrderStep", description="One step in an order's life.")
class LabOrderStepType(StepType):
    status: LabOrderStatus = stored(description="Where the order stood from then on.")


@row_type("LabOrder", model=LabOrder, read=Permission.LAB_RESULT_READ, description="What is ordered together.")
class LabOrderType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    status: LabOrderStatus = stored(description="Where it stands.")
    number: str = stored(description="The clinic's own number, by which the laboratory reports.")
    panels: list[LabPanelType] = stored(description="What is to be examined.")
    priority: OrderPriority = stored(description="How soon.")
    specimen: str | None = stored(description="What is examined, such as serum.")
    reason: str | None = stored(description="What the laboratory is to know.")
    ordered_at: datetime = stored(description="When it was ordered.")
    collected_at: datetime | None = stored(description="When the sample was taken.")
    collected_by: StaffType | None = related(
        lambda: StaffType, key="collected_by", foreign="user_id", description="Who took it."
    )
    history: list[LabOrderStepType] = stored(description="The steps that were taken, the first first.")
    results: Connection[LabResultType] = related_page(
        lambda: LabResultType,
        foreign="lab_order_id",
        sort=[("performed_at", -1), ("_id", -1)],
        description="What was found, the latest first; corrected reports too.",
    )
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )
    doctor: StaffType | None = related(lambda: StaffType, key="doctor_id", description="Who ordered it.")
    visit: VisitType | None = related(lambda: VisitType, key="visit_id", description="The visit that led to it.")


@strawberry.input(description="Which orders to list. All conditions must hold.")
class LabOrderFilter:
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="Of this patient.")
    doctor_id: strawberry.ID | None = strawberry.field(default=None, description="By this doctor.")
    status: LabOrderStatus | None = strawberry.field(default=None, description="Of this status.")
    number: str | None = strawberry.field(default=None, description="Of this number.")


@strawberry.input(name="LabPanelInput", description="What is to be examined.")
class LabPanelInput:
    name: str = strawberry.field(description="Name.")
    loinc: str | None = strawberry.field(default=None, description="LOINC code.")


@strawberry.input(description="An order to a laboratory.")
class OrderLabTestsInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    panels: list[LabPanelInput] = strawberry.field(description="What is to be examined, 1 to 50.")
    priority: OrderPriority = strawberry.field(default=OrderPriority.ROUTINE, description="How soon.")
    specimen: str | None = strawberry.field(default=None, description="What is examined, such as serum.")
    reason: str | None = strawberry.field(default=None, description="What the laboratory is to know.")
    visit_id: strawberry.ID | None = strawberry.field(default=None, description="The visit that leads to it.")
    doctor_id: strawberry.ID | None = strawberry.field(default=None, description="Who orders it; else you.")


@strawberry.input(description="A sample that was taken.")
class CollectLabSampleInput:
    id: strawberry.ID = strawberry.field(description="The order.")
    version: int = strawberry.field(description="The version that the step is based on.")
    specimen: str | None = strawberry.field(default=None, description="What it is, such as serum.")
    collected_at: datetime | None = strawberry.field(default=None, description="When it was taken; else now.")


@strawberry.input(name="LabObservationInput", description="One measured value.")
class LabObservationInput:
    name: str = strawberry.field(description="What was measured.")
    value: str = strawberry.field(description="The value, to the digit.")
    loinc: str | None = strawberry.field(default=None, description="LOINC code.")
    unit: str | None = strawberry.field(default=None, description="Its unit.")
    reference_range: str | None = strawberry.field(default=None, description="What is usual.")
    flag: ResultFlag | None = strawberry.field(default=None, description="How the value lies to that.")
    comment: str | None = strawberry.field(default=None, description="What there is to say about it.")


@strawberry.input(description="What the clinic's own laboratory found.")
class RecordLabResultInput:
    lab_order_id: strawberry.ID = strawberry.field(description="The order.")
    observations: list[LabObservationInput] = strawberry.field(description="What was measured.")
    panel: LabPanelInput | None = strawberry.field(default=None, description="What was examined; else the first.")
    performed_at: datetime | None = strawberry.field(default=None, description="When it was measured; else now.")
    comment: str | None = strawberry.field(default=None, description="What there is to say about all of it.")


@strawberry.type
class LabOrderQuery(Resolver):
    @field(Permission.LAB_RESULT_READ, description="One order to a laboratory.")
    async def lab_order(self, info: Info, id: strawberry.ID) -> LabOrderType:
        return await self.one(info, LabOrderType, id)

    @field(Permission.LAB_RESULT_READ, description="Orders to laboratories, the latest first.")
    async def lab_orders(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: LabOrderFilter | None = None
    ) -> Connection[LabOrderType]:
        equal: dict[str, Any] = ids(given(filter), "patient_id", "doctor_id", at="filter") if filter else {}
        sort = [("ordered_at", -1), ("_id", -1)]
        where = listed("ordered_at", equal={**equal, "number": as_given(equal.get("number"))})
        return await self.page(info, LabOrderType, where=where, sort=sort, first=first, after=after)


@strawberry.type
class LabOrderMutation(Resolver):
    @field(Permission.LAB_RESULT_WRITE, description="Orders examinations of a laboratory.")
    async def order_lab_tests(self, input: OrderLabTestsInput) -> LabOrderType:
        return shown(await service.order(ids(given(input), "patient_id", "visit_id", "doctor_id")))

    @field(Permission.LAB_RESULT_WRITE, description="Notes that the sample was taken.")
    async def collect_lab_sample(self, input: CollectLabSampleInput) -> LabOrderType:
        key = object_id(input.id, "input.id")
        return shown(await service.collect(key, input.version, input.specimen, input.collected_at))

    @field(Permission.LAB_RESULT_WRITE, description="Cancels an order of which nothing came yet.")
    async def cancel_lab_order(self, input: ReasonedStepInput) -> LabOrderType:
        return shown(await service.cancel(object_id(input.id, "input.id"), input.version, input.reason))

    @field(Permission.LAB_RESULT_WRITE, description="Enters what the clinic's own laboratory found for an order.")
    async def record_lab_result(self, input: RecordLabResultInput) -> LabResultType:
        return shown(await service.record_result(ids(given(input), "lab_order_id")))
