"""What patients ask in the portal: always about themselves, so no field takes a patient's id."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

import strawberry
from strawberry import Maybe

from app.graphql.access import Level, field
from app.graphql.context import Info
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.services import catalog
from app.services.portal import bookings, own_data
from app.tenancy.scope import current_scope
from models.staff import StaffKind
from resolvers.availability import DoctorId, SlotType
from resolvers.base import Resolver, shown
from resolvers.portal_billing import PortalInvoiceType, PortalPaymentType
from resolvers.portal_types import (
    PortalAccessEntryType,
    PortalAppointmentType,
    PortalConsentType,
    PortalDoctorType,
    PortalLabResultType,
    PortalPatientType,
    PortalServiceType,
    PortalSessionType,
)
from resolvers.values import NAME_ORDERS, AddressInput, NameSort

_BY_NAME = NAME_ORDERS[NameSort.NAME_ASC]


@strawberry.input(description="Changes to the patient's own contact data. What is left out stays; null clears it.")
class PatientUpdateContactInput:
    version: int = strawberry.field(description="The version that the change is based on.")
    phone: Maybe[str | None] = strawberry.field(description="Phone number.")
    email: Maybe[str | None] = strawberry.field(description="E-mail address.")
    address: Maybe[AddressInput] = strawberry.field(description="Postal address.")


@strawberry.input(description="An appointment that the patient wants.")
class PatientBookAppointmentInput:
    doctor_id: strawberry.ID = strawberry.field(description="The doctor.")
    starts_at: datetime = strawberry.field(description="When it starts: one of `patientAvailableSlots`.")
    service_id: strawberry.ID | None = strawberry.field(default=None, description="What is to be done.")
    reason: str | None = strawberry.field(default=None, description="Why the patient comes; the clinic reads it.")
    idempotency_key: str | None = strawberry.field(
        default=None, description="A name of this request, so that a repeat books nothing more."
    )


@strawberry.input(description="An appointment of the patient's that they cannot keep.")
class PatientCancelAppointmentInput:
    id: strawberry.ID = strawberry.field(description="The appointment.")
    version: int | None = strawberry.field(default=None, description="The version that the change is based on, if any.")
    reason: str | None = strawberry.field(default=None, description="Why; the clinic reads it.")


@strawberry.input(description="What the patient takes back.")
class PatientRevokeConsentInput:
    id: strawberry.ID = strawberry.field(description="The consent.")
    reason: str | None = strawberry.field(
        default=None, description="Why, if the patient wants to say; the clinic reads it."
    )


@strawberry.type
class PortalPatientQuery(Resolver):
    @field(Level.PATIENT, description="Who is signed in, and what the clinic knows of them.")
    async def patient_me(self, info: Info) -> PortalPatientType:
        return await self.one(info, PortalPatientType, str(current_scope().signed_in_patient.patient_id))

    @field(Level.PATIENT, description="The devices on which the patient is signed in, the latest first.")
    async def patient_sessions(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalSessionType]:
        where = own_data.own_sessions(info.context.settings)
        order = [("created_at", -1), ("_id", -1)]
        return await self.page(info, PortalSessionType, where=where, sort=order, first=first, after=after)

    @field(Level.PATIENT, description="The patient's appointments at this clinic, the latest first.")
    async def patient_appointments(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalAppointmentType]:
        where, order = own_data.own_appointments(), [("starts_at", -1), ("_id", -1)]
        return await self.page(info, PortalAppointmentType, where=where, sort=order, first=first, after=after)

    @field(Level.PATIENT, description="The patient's lab results that the clinic has released, the latest first.")
    async def patient_lab_results(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalLabResultType]:
        where, order = own_data.own_lab_results(), [("performed_at", -1), ("_id", -1)]
        return await self.page(info, PortalLabResultType, where=where, sort=order, first=first, after=after)

    @field(Level.PATIENT, description="The patient's issued invoices, the latest first.")
    async def patient_invoices(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalInvoiceType]:
        where, order = own_data.own_invoices(), [("dated_at", -1), ("_id", -1)]
        return await self.page(info, PortalInvoiceType, where=where, sort=order, first=first, after=after)

    @field(Level.PATIENT, description="What the patient paid, and what was given back, the latest first.")
    async def patient_payments(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalPaymentType]:
        where, order = own_data.own_documents(), [("received_at", -1), ("_id", -1)]
        return await self.page(info, PortalPaymentType, where=where, sort=order, first=first, after=after)

    @field(Level.PATIENT, description="What the patient agreed to at this clinic, the latest first.")
    async def patient_consents(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalConsentType]:
        where, order = own_data.own_documents(), [("created_at", -1), ("_id", -1)]
        return await self.page(info, PortalConsentType, where=where, sort=order, first=first, after=after)

    @field(Level.PATIENT, description="Who at this clinic saw or changed the patient's data, the latest first.")
    async def patient_access_log(
        self,
        info: Info,
        first: First = DEFAULT_PAGE,
        after: After = None,
        include_own: Annotated[
            bool, strawberry.argument(description="Whether what the patient did themselves is told as well.")
        ] = False,
    ) -> Connection[PortalAccessEntryType]:
        where, order = await own_data.accesses(own=include_own), [("at", -1), ("_id", -1)]
        return await self.page(info, PortalAccessEntryType, where=where, sort=order, first=first, after=after)

    @field(Level.PATIENT, description="The clinic's doctors, by name.")
    async def patient_doctors(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalDoctorType]:
        where = catalog.listed(search=None, archived=False, kind=StaffKind.DOCTOR)
        return await self.page(info, PortalDoctorType, where=where, sort=_BY_NAME, first=first, after=after)

    @field(Level.PATIENT, description="What the clinic offers, by name.")
    async def patient_services(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalServiceType]:
        where = catalog.listed(search=None, archived=False)
        return await self.page(info, PortalServiceType, where=where, sort=_BY_NAME, first=first, after=after)

    @field(
        Level.PATIENT,
        description="The times that a patient may book with a doctor, on at most 31 of the clinic's days.",
    )
    async def patient_available_slots(
        self,
        info: Info,
        doctor_id: DoctorId,
        from_: Annotated[date, strawberry.argument(name="from", description="The first of the clinic's days.")],
        to: Annotated[date, strawberry.argument(description="The last of the clinic's days, included.")],
        service_id: Annotated[
            strawberry.ID | None, strawberry.argument(description="The service, which says how long it takes.")
        ] = None,
    ) -> list[SlotType]:
        service = object_id(service_id, "serviceId") if service_id is not None else None
        return shown(await bookings.available(object_id(doctor_id, "doctorId"), from_, to, service))


@strawberry.type
class PortalPatientMutation(Resolver):
    @field(
        Level.PATIENT,
        description="Changes the patient's own contact data, where the clinic lets them. An address to which codes no "
        "longer go is told so.",
    )
    async def patient_update_contact(self, info: Info, input: PatientUpdateContactInput) -> PortalPatientType:
        changes = given(input)
        return shown(await own_data.change_contact(changes.pop("version"), changes, info.context.settings))

    @field(
        Level.PATIENT,
        description="Books an appointment, or asks for one, as the clinic has it. When the time is taken, "
        "`SLOT_TAKEN` names the next free ones.",
    )
    async def patient_book_appointment(self, input: PatientBookAppointmentInput) -> PortalAppointmentType:
        values = ids(given(input), "doctor_id", "service_id")
        key = values.pop("idempotency_key", None)
        return shown(await bookings.book(values, key=key))

    @field(Level.PATIENT, description="Calls off an appointment of the patient's, until some hours before it starts.")
    async def patient_cancel_appointment(self, input: PatientCancelAppointmentInput) -> PortalAppointmentType:
        key = object_id(input.id, "input.id")
        return shown(await bookings.cancel(key, input.version, input.reason))

    @field(
        Level.PATIENT,
        description="Takes back what the patient agreed to: from this instant on it opens nothing to anybody.",
        without_plan=True,
    )
    async def patient_revoke_consent(self, input: PatientRevokeConsentInput) -> PortalConsentType:
        return shown(await own_data.take_back(object_id(input.id, "input.id"), input.reason))
