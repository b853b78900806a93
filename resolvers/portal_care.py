"""What patients ask of their care in the portal: always their own, so no field takes a patient's id."""

from __future__ import annotations

import strawberry

from app.graphql.access import Level, field
from app.graphql.context import Info
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.services.care import refills
from app.services.portal import own_care
from app.tenancy.scope import current_scope
from resolvers.base import Resolver, shown
from resolvers.portal_care_types import (
    PortalDispensingType,
    PortalImagingType,
    PortalPrescriptionType,
    PortalRefillRequestType,
    PortalVisitType,
)


@strawberry.input(description="A refill that the patient needs.")
class PatientRequestRefillInput:
    prescription_id: strawberry.ID = strawberry.field(description="The prescription.")
    item_numbers: list[int] | None = strawberry.field(
        default=None, description="Which items; else all that have refills left."
    )
    note: str | None = strawberry.field(default=None, description="What the clinic is to know.")


@strawberry.input(description="A refill that the patient needs no more.")
class PatientWithdrawRefillInput:
    id: strawberry.ID = strawberry.field(description="The request.")
    version: int = strawberry.field(description="The version that the step is based on.")


@strawberry.type
class PortalCareQuery(Resolver):
    @field(Level.PATIENT, description="The patient's visits that are signed, the latest first.")
    async def patient_visits(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalVisitType]:
        where, order = own_care.visits(), [("started_at", -1), ("_id", -1)]
        return await self.page(info, PortalVisitType, where=where, sort=order, first=first, after=after)

    @field(Level.PATIENT, description="The patient's prescriptions that were signed, the latest first.")
    async def patient_prescriptions(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalPrescriptionType]:
        where, order = own_care.prescriptions(), [("prescribed_at", -1), ("_id", -1)]
        return await self.page(info, PortalPrescriptionType, where=where, sort=order, first=first, after=after)

    @field(Level.PATIENT, description="What was handed out to the patient, the latest first.")
    async def patient_dispensings(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalDispensingType]:
        where, order = own_care.dispensings(), [("dispensed_at", -1), ("_id", -1)]
        return await self.page(info, PortalDispensingType, where=where, sort=order, first=first, after=after)

    @field(Level.PATIENT, description="The patient's requests for refills, the latest first.")
    async def patient_refill_requests(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalRefillRequestType]:
        where, order = own_care.refill_requests(), [("requested_at", -1), ("_id", -1)]
        return await self.page(info, PortalRefillRequestType, where=where, sort=order, first=first, after=after)

    @field(Level.PATIENT, description="The patient's imaging studies whose reports are released, the latest first.")
    async def patient_imaging(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalImagingType]:
        where, order = own_care.imaging(), [("ordered_at", -1), ("_id", -1)]
        return await self.page(info, PortalImagingType, where=where, sort=order, first=first, after=after)


@strawberry.type
class PortalCareMutation(Resolver):
    @field(Level.PATIENT, description="Asks the clinic for more of what it prescribed.")
    async def patient_request_refill(self, input: PatientRequestRefillInput) -> PortalRefillRequestType:
        mine = current_scope().signed_in_patient.patient_id
        return shown(await refills.request(ids(given(input), "prescription_id"), mine=mine))

    @field(Level.PATIENT, description="Takes back a request that nobody has answered yet.")
    async def patient_withdraw_refill(self, input: PatientWithdrawRefillInput) -> PortalRefillRequestType:
        mine = current_scope().signed_in_patient.patient_id
        return shown(await refills.withdraw(object_id(input.id, "input.id"), input.version, mine=mine))
