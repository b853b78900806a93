"""Visits: started, written as SOAP notes, signed, added to."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import Maybe

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First, related_page
from app.permissions import Permission
from app.services.care import visits as service
from app.services.care.lists import listed
from models import Visit
from models.visit import EncounterClass, VisitStatus
from resolvers.base import Resolver, shown
from resolvers.diagnoses import DiagnosisInput, DiagnosisType
from resolvers.invoices import InvoiceType
from resolvers.services import ServiceType
from resolvers.staff import StaffType
from resolvers.steps import ReasonedStepInput, StepInput, StepType
from resolvers.visit_values import VitalsInput, VitalsType

if TYPE_CHECKING:
    from resolvers.appointments import AppointmentType
    from resolvers.patients import PatientType
    from resolvers.queue import QueueEntryType

LATEST = [("started_at", -1), ("_id", -1)]


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


def _appointment_type() -> type:
    from resolvers.appointments import AppointmentType

    return AppointmentType


def _queue_entry_type() -> type:
    from resolvers.queue import QueueEntryType

    return QueueEntryType


@row_type("VisitAddendum", description="What was added to a visit after it had been signed.")
class VisitAddendumType:
    at: datetime = stored(description="When.")
    text: str = stored(description="What.")
    by: StaffType | None = related(
        lambda: StaffType, key="by", foreign="user_id", description="Who, if they have a profile here."
    )


@row_type("VisitStep", description="One step in a visit's life.")
class VisitStepType(StepType):
    status: VisitStatus = stored(description="Where the visit stood from then on.")


@row_type("Visit", model=Visit, read=Permission.VISIT_READ, description="What happened when a patient was seen.")
class VisitType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    status: VisitStatus = stored(description="Where it stands.")
    encounter_class: EncounterClass = stored(description="How patient and clinic met.")
    started_at: datetime = stored(description="When it began.")
    ended_at: datetime | None = stored(description="When it ended.")
    reason: str | None = stored(description="Why the patient came, in their words.")
    subjective: str | None = stored(description="What the patient tells.")
    objective: str | None = stored(description="What was found.")
    assessment: str | None = stored(description="What is thought of it.")
    plan: str | None = stored(description="What is to be done.")
    vitals: VitalsType | None = stored(description="What was measured.")
    diagnoses: list[DiagnosisType] = stored(description="What the patient has.")
    signed_at: datetime | None = stored(description="When it was signed; since then it never changed.")
    signed_by: StaffType | None = related(
        lambda: StaffType, key="signed_by", foreign="user_id", description="Who signed it."
    )
    addenda: list[VisitAddendumType] = stored(description="What was added afterwards, the first first.")
    history: list[VisitStepType] = stored(description="The steps that were taken, the first first.")
    created_at: datetime = stored(description="When it was first written.")
    updated_at: datetime = stored(description="When it was last written to.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )
    doctor: StaffType | None = related(lambda: StaffType, key="doctor_id", description="Who saw them.")
    service: ServiceType | None = related(lambda: ServiceType, key="service_id", description="What was done.")
    appointment: Annotated[AppointmentType, strawberry.lazy("resolvers.appointments")] | None = related(
        _appointment_type, key="appointment_id", description="The appointment that led to it."
    )
    queue_entry: Annotated[QueueEntryType, strawberry.lazy("resolvers.queue")] | None = related(
        _queue_entry_type, key="queue_entry_id", description="The place in the queue that led to it."
    )
    invoices: Connection[InvoiceType] = related_page(
        lambda: InvoiceType,
        foreign="visit_id",
        sort=[("dated_at", -1), ("_id", -1)],
        description="What was billed for it, the latest first.",
    )


@strawberry.input(description="Which visits to list. All conditions must hold.")
class VisitFilter:
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="Of this patient.")
    doctor_id: strawberry.ID | None = strawberry.field(default=None, description="With this doctor.")
    status: VisitStatus | None = strawberry.field(default=None, description="Of this status.")
    day: date | None = strawberry.field(default=None, description="Begun on this day, by the clinic's clocks.")
    from_: datetime | None = strawberry.field(name="from", default=None, description="Begun then or later.")
    to: datetime | None = strawberry.field(default=None, description="Begun before then.")


@strawberry.input(description="A visit that begins.")
class StartVisitInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    appointment_id: strawberry.ID | None = strawberry.field(
        default=None, description="The appointment of theirs that leads to it."
    )
    queue_entry_id: strawberry.ID | None = strawberry.field(
        default=None, description="Their place in the queue; it brings its appointment along."
    )
    doctor_id: strawberry.ID | None = strawberry.field(
        default=None, description="Who sees them; else as booked or queued, or you."
    )
    service_id: strawberry.ID | None = strawberry.field(default=None, description="What is done; else as booked.")
    encounter_class: EncounterClass = strawberry.field(default=EncounterClass.AMB, description="How they met.")
    reason: str | None = strawberry.field(default=None, description="Why the patient comes, in their words.")
    started_at: datetime | None = strawberry.field(default=None, description="When it began; else now.")


@strawberry.input(description="What is written into an open visit. What is left out stays as it is; null clears it.")
class UpdateVisitInput:
    id: strawberry.ID = strawberry.field(description="The visit.")
    version: int = strawberry.field(description="The version that the change is based on.")
    doctor_id: Maybe[strawberry.ID] = strawberry.field(description="Who sees the patient.")
    service_id: Maybe[strawberry.ID | None] = strawberry.field(description="What is done.")
    encounter_class: Maybe[EncounterClass] = strawberry.field(description="How they met.")
    reason: Maybe[str | None] = strawberry.field(description="Why the patient comes, in their words.")
    subjective: Maybe[str | None] = strawberry.field(description="What the patient tells.")
    objective: Maybe[str | None] = strawberry.field(description="What was found.")
    assessment: Maybe[str | None] = strawberry.field(description="What is thought of it.")
    plan: Maybe[str | None] = strawberry.field(description="What is to be done.")
    vitals: Maybe[VitalsInput | None] = strawberry.field(description="What was measured; replaces all of it.")
    diagnoses: Maybe[list[DiagnosisInput]] = strawberry.field(description="What the patient has; replaces the list.")


@strawberry.input(description="What is added to a signed visit.")
class AddAddendumInput:
    visit_id: strawberry.ID = strawberry.field(description="The visit.")
    version: int = strawberry.field(description="The version that the step is based on.")
    text: str = strawberry.field(description="What to add.")


@strawberry.type
class VisitQuery(Resolver):
    @field(Permission.VISIT_READ, description="One visit.")
    async def visit(self, info: Info, id: strawberry.ID) -> VisitType:
        return await self.one(info, VisitType, id)

    @field(Permission.VISIT_READ, description="The clinic's visits, the latest first.")
    async def visits(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: VisitFilter | None = None
    ) -> Connection[VisitType]:
        return await self.page(info, VisitType, where=_where(filter), sort=LATEST, first=first, after=after)


@strawberry.type
class VisitMutation(Resolver):
    @field(Permission.VISIT_WRITE, description="Begins a visit: for an appointment, from the queue, or without.")
    async def start_visit(self, input: StartVisitInput) -> VisitType:
        return shown(await service.start(_ids(given(input))))

    @field(Permission.VISIT_WRITE, description="Writes into a visit, as long as nobody has signed it.")
    async def update_visit(self, input: UpdateVisitInput) -> VisitType:
        changes = ids(given(input), "id", "doctor_id", "service_id")
        return shown(await service.change(changes.pop("id"), changes.pop("version"), changes))

    @field(
        Permission.VISIT_WRITE, description="Notes that the patient goes. The note may be written until it is signed."
    )
    async def finish_visit(self, input: StepInput) -> VisitType:
        return shown(await service.finish(object_id(input.id, "input.id"), input.version))

    @field(Permission.VISIT_SIGN, description="Signs a visit as it stands: from then on it never changes.")
    async def sign_visit(self, input: StepInput) -> VisitType:
        return shown(await service.sign(object_id(input.id, "input.id"), input.version))

    @field(Permission.VISIT_WRITE, description="Adds to a signed visit. What was signed stays as it was.")
    async def add_addendum(self, input: AddAddendumInput) -> VisitType:
        key = object_id(input.visit_id, "input.visitId")
        return shown(await service.add_addendum(key, input.version, input.text))

    @field(Permission.VISIT_SIGN, description="Marks a visit that should never have been written. It stays, marked.")
    async def mark_visit_in_error(self, input: ReasonedStepInput) -> VisitType:
        return shown(await service.enter_in_error(object_id(input.id, "input.id"), input.version, input.reason))


def _ids(values: dict[str, Any]) -> dict[str, Any]:
    return ids(values, "patient_id", "appointment_id", "queue_entry_id", "doctor_id", "service_id")


def _where(filter: VisitFilter | None) -> dict[str, Any]:
    chosen = filter or VisitFilter()
    named = ids(given(chosen), "patient_id", "doctor_id", at="filter")
    equal = {name: named.get(name) for name in ("patient_id", "doctor_id", "status")}
    return listed("started_at", day=chosen.day, start=chosen.from_, end=chosen.to, equal=equal)
