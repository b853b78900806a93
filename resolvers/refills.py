"""Requests for refills, at the clinic."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services.care import refills as service
from app.services.care.lists import listed
from models import RefillRequest
from models.prescription import RefillStatus
from resolvers.base import Resolver, shown
from resolvers.prescription_values import RefillRequestStepType
from resolvers.prescriptions import PrescriptionType
from resolvers.staff import StaffType
from resolvers.steps import StepInput

if TYPE_CHECKING:
    from resolvers.patients import PatientType


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


@row_type(
    "RefillRequest",
    model=RefillRequest,
    read=Permission.PRESCRIPTION_READ,
    description="A patient needs more of what was prescribed.",
)
class RefillRequestType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    status: RefillStatus = stored(description="What became of it.")
    item_numbers: list[int] = stored(description="Which items of the prescription.")
    note: str | None = stored(description="What was said when it was asked for.")
    answer: str | None = stored(description="What the patient was told.")
    by_patient: bool = stored(description="Whether the patient asked in the portal.")
    requested_at: datetime = stored(description="When it was asked for.")
    requested_by: StaffType | None = related(
        lambda: StaffType, key="requested_by", foreign="user_id", description="Who asked for the patient."
    )
    decided_at: datetime | None = stored(description="When it was decided.")
    decided_by: StaffType | None = related(
        lambda: StaffType, key="decided_by", foreign="user_id", description="Who decided."
    )
    history: list[RefillRequestStepType] = stored(description="The steps that were taken, the first first.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )
    prescription: PrescriptionType | None = related(
        lambda: PrescriptionType, key="prescription_id", description="The prescription."
    )
    doctor: StaffType | None = related(
        lambda: StaffType, key="doctor_id", description="Whose prescription it is, where that was kept."
    )


@strawberry.input(description="Which requests to list. All conditions must hold.")
class RefillRequestFilter:
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="Of this patient.")
    prescription_id: strawberry.ID | None = strawberry.field(default=None, description="Of this prescription.")
    doctor_id: strawberry.ID | None = strawberry.field(default=None, description="For prescriptions of this doctor.")
    status: RefillStatus | None = strawberry.field(default=None, description="Of which this became.")


@strawberry.input(description="A refill that a patient needs.")
class RequestRefillInput:
    prescription_id: strawberry.ID = strawberry.field(description="The prescription.")
    item_numbers: list[int] | None = strawberry.field(
        default=None, description="Which items; else all that have refills left."
    )
    note: str | None = strawberry.field(default=None, description="What the patient says.")


@strawberry.input(description="A refill that is granted.")
class ApproveRefillInput:
    id: strawberry.ID = strawberry.field(description="The request.")
    version: int = strawberry.field(description="The version that the step is based on.")
    answer: str | None = strawberry.field(default=None, description="What to tell the patient.")


@strawberry.input(description="A refill that is refused.")
class DeclineRefillInput:
    id: strawberry.ID = strawberry.field(description="The request.")
    version: int = strawberry.field(description="The version that the step is based on.")
    answer: str = strawberry.field(description="Why, for the patient to read.")


@strawberry.type
class RefillQuery(Resolver):
    @field(Permission.PRESCRIPTION_READ, description="One request for a refill.")
    async def refill_request(self, info: Info, id: strawberry.ID) -> RefillRequestType:
        return await self.one(info, RefillRequestType, id)

    @field(Permission.PRESCRIPTION_READ, description="Requests for refills, the latest first.")
    async def refill_requests(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: RefillRequestFilter | None = None
    ) -> Connection[RefillRequestType]:
        columns = ("patient_id", "prescription_id", "doctor_id")
        named: dict[str, Any] = ids(given(filter), *columns, at="filter") if filter else {}
        where = listed("requested_at", equal=named)
        sort = [("requested_at", -1), ("_id", -1)]
        return await self.page(info, RefillRequestType, where=where, sort=sort, first=first, after=after)


@strawberry.type
class RefillMutation(Resolver):
    @field(Permission.PRESCRIPTION_WRITE, description="Notes that a patient needs a refill.")
    async def request_refill(self, input: RequestRefillInput) -> RefillRequestType:
        return shown(await service.request(ids(given(input), "prescription_id")))

    @field(Permission.PRESCRIPTION_WRITE, description="Grants a refill: its items have one less left.")
    async def approve_refill(self, input: ApproveRefillInput) -> RefillRequestType:
        return shown(await service.approve(object_id(input.id, "input.id"), input.version, input.answer))

    @field(Permission.PRESCRIPTION_WRITE, description="Refuses a refill.")
    async def decline_refill(self, input: DeclineRefillInput) -> RefillRequestType:
        return shown(await service.decline(object_id(input.id, "input.id"), input.version, input.answer))

    @field(Permission.PRESCRIPTION_WRITE, description="Takes a request back for the patient.")
    async def withdraw_refill(self, input: StepInput) -> RefillRequestType:
        return shown(await service.withdraw(object_id(input.id, "input.id"), input.version))
