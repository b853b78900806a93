"""Prescriptions: drafted, signed over every warning, held, stopped, replaced."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import Maybe

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import loaded, related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First, related_page
from app.permissions import Permission
from app.services.care import prescriptions as service
from app.services.care.lists import listed
from app.services.care.warnings import open_warnings
from app.services.counters import as_given
from models import Prescription
from models.prescription import PrescriptionStatus
from resolvers.base import Resolver, shown
from resolvers.dispensing_types import DispensingType
from resolvers.prescription_values import (
    AcknowledgedWarningType,
    PrescriptionItemInput,
    PrescriptionItemType,
    PrescriptionStepType,
    PrescriptionWarningType,
)
from resolvers.staff import StaffType
from resolvers.steps import ReasonedStepInput, StepInput
from resolvers.visits import VisitType

if TYPE_CHECKING:
    from resolvers.patients import PatientType

_S = PrescriptionStatus


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


@row_type(
    "Prescription",
    model=Prescription,
    read=Permission.PRESCRIPTION_READ,
    description="Medicines that were prescribed together.",
)
class PrescriptionType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    status: PrescriptionStatus = stored(description="Where it stands.")
    number: str | None = stored(description="The clinic's own number; drafts have none.")
    items: list[PrescriptionItemType] = stored(description="What is prescribed.")
    note: str | None = stored(description="What whoever prescribes notes for the clinic.")
    prescribed_at: datetime = stored(description="When it was drafted.")
    signed_at: datetime | None = stored(description="When it was signed; since then its items never changed.")
    signed_by: StaffType | None = related(
        lambda: StaffType, key="signed_by", foreign="user_id", description="Who signed it."
    )
    open_warnings: list[PrescriptionWarningType] = loaded(
        "_id", by=open_warnings, description="What speaks against a draft now; signing asks to acknowledge each."
    )
    warnings: list[AcknowledgedWarningType] = stored(description="The warnings that were gone over when it was signed.")
    history: list[PrescriptionStepType] = stored(description="The steps that were taken, the first first.")
    updated_at: datetime = stored(description="When it was last changed.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )
    doctor: StaffType | None = related(lambda: StaffType, key="doctor_id", description="Who prescribes.")
    visit: VisitType | None = related(lambda: VisitType, key="visit_id", description="The visit that led to it.")
    dispensings: Connection[DispensingType] = related_page(
        lambda: DispensingType,
        foreign="prescription_id",
        sort=[("dispensed_at", -1), ("_id", -1)],
        description="What was handed out, the latest first. Needs `dispensing:read`.",
    )
    replaces: Annotated[PrescriptionType, strawberry.lazy("resolvers.prescriptions")] | None = related(
        lambda: PrescriptionType, key="replaces_id", description="The one that it takes the place of."
    )


@strawberry.input(description="Which prescriptions to list. All conditions must hold.")
class PrescriptionFilter:
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="Of this patient.")
    doctor_id: strawberry.ID | None = strawberry.field(default=None, description="By this doctor.")
    medicine_id: strawberry.ID | None = strawberry.field(default=None, description="With this medicine.")
    status: PrescriptionStatus | None = strawberry.field(default=None, description="Of this status.")
    number: str | None = strawberry.field(default=None, description="Of this number.")
    from_: datetime | None = strawberry.field(name="from", default=None, description="Drafted then or later.")
    to: datetime | None = strawberry.field(default=None, description="Drafted before then.")


@strawberry.input(description="What is to be prescribed.")
class PrescribeInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    items: list[PrescriptionItemInput] = strawberry.field(description="The medicines, 1 to 30.")
    visit_id: strawberry.ID | None = strawberry.field(default=None, description="The visit that leads to it.")
    doctor_id: strawberry.ID | None = strawberry.field(default=None, description="Who prescribes; else you.")
    note: str | None = strawberry.field(default=None, description="A note for the clinic.")


@strawberry.input(description="Changes to a draft. What is left out stays as it is; null clears it.")
class UpdatePrescriptionInput:
    id: strawberry.ID = strawberry.field(description="The draft.")
    version: int = strawberry.field(description="The version that the change is based on.")
    items: Maybe[list[PrescriptionItemInput]] = strawberry.field(description="The medicines; replaces the list.")
    doctor_id: Maybe[strawberry.ID] = strawberry.field(description="Who prescribes.")
    note: Maybe[str | None] = strawberry.field(description="A note for the clinic.")


@strawberry.input(description="What is to take a signed prescription's place. What is left out is as it was.")
class ReplacePrescriptionInput:
    id: strawberry.ID = strawberry.field(description="The prescription that is replaced.")
    version: int = strawberry.field(description="The version that the step is based on.")
    items: list[PrescriptionItemInput] | None = strawberry.field(default=None, description="The medicines.")
    note: str | None = strawberry.field(default=None, description="A note for the clinic.")


@strawberry.input(description="A warning that is gone over.")
class AcknowledgementInput:
    key: str = strawberry.field(description="The warning's key.")
    reason: str = strawberry.field(description="Why, in 10 to 500 characters.")


@strawberry.input(description="A draft that is to count from now on.")
class SignPrescriptionInput:
    id: strawberry.ID = strawberry.field(description="The draft.")
    version: int = strawberry.field(description="The version that is signed.")
    acknowledgements: list[AcknowledgementInput] | None = strawberry.field(
        default=None, description="Each warning that stands, with the reason to go on."
    )


@strawberry.type
class PrescriptionQuery(Resolver):
    @field(Permission.PRESCRIPTION_READ, description="One prescription.")
    async def prescription(self, info: Info, id: strawberry.ID) -> PrescriptionType:
        return await self.one(info, PrescriptionType, id)

    @field(Permission.PRESCRIPTION_READ, description="The clinic's prescriptions, the latest first.")
    async def prescriptions(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: PrescriptionFilter | None = None
    ) -> Connection[PrescriptionType]:
        sort = [("prescribed_at", -1), ("_id", -1)]
        return await self.page(info, PrescriptionType, where=_where(filter), sort=sort, first=first, after=after)


@strawberry.type
class PrescriptionMutation(Resolver):
    @field(Permission.PRESCRIPTION_WRITE, description="Drafts a prescription. It counts once it is signed.")
    async def prescribe_medicines(self, input: PrescribeInput) -> PrescriptionType:
        return shown(await service.prescribe(_with_items(ids(given(input), "patient_id", "visit_id", "doctor_id"))))

    @field(Permission.PRESCRIPTION_WRITE, description="Changes a draft.")
    async def update_prescription(self, input: UpdatePrescriptionInput) -> PrescriptionType:
        changes = _with_items(ids(given(input), "id", "doctor_id"))
        return shown(await service.change(changes.pop("id"), changes.pop("version"), changes))

    @field(
        Permission.PRESCRIPTION_WRITE,
        description="Signs a draft. Each warning that stands must be acknowledged with a reason.",
    )
    async def sign_prescription(self, input: SignPrescriptionInput) -> PrescriptionType:
        acknowledged = given(input).get("acknowledgements", [])
        return shown(await service.sign(object_id(input.id, "input.id"), input.version, acknowledged))

    @field(
        Permission.PRESCRIPTION_WRITE,
        description="Drafts what is to take a signed prescription's place; signing the draft stops the old one.",
    )
    async def replace_prescription(self, input: ReplacePrescriptionInput) -> PrescriptionType:
        changes = _with_items(ids(given(input), "id"))
        return shown(await service.replace(changes.pop("id"), changes.pop("version"), changes))

    @field(Permission.PRESCRIPTION_WRITE, description="The patient pauses it.")
    async def hold_prescription(self, input: ReasonedStepInput) -> PrescriptionType:
        return shown(await service.step(object_id(input.id, "input.id"), input.version, _S.ON_HOLD, input.reason))

    @field(Permission.PRESCRIPTION_WRITE, description="The patient goes on with it.")
    async def resume_prescription(self, input: StepInput) -> PrescriptionType:
        return shown(await service.step(object_id(input.id, "input.id"), input.version, _S.ACTIVE))

    @field(Permission.PRESCRIPTION_WRITE, description="The patient took all of it.")
    async def complete_prescription(self, input: StepInput) -> PrescriptionType:
        return shown(await service.step(object_id(input.id, "input.id"), input.version, _S.COMPLETED))

    @field(Permission.PRESCRIPTION_WRITE, description="The patient is to take it no longer.")
    async def stop_prescription(self, input: ReasonedStepInput) -> PrescriptionType:
        return shown(await service.step(object_id(input.id, "input.id"), input.version, _S.STOPPED, input.reason))

    @field(Permission.PRESCRIPTION_WRITE, description="Withdraws a draft, or a prescription of which nothing came.")
    async def cancel_prescription(self, input: ReasonedStepInput) -> PrescriptionType:
        return shown(await service.step(object_id(input.id, "input.id"), input.version, _S.CANCELLED, input.reason))


def _with_items(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the ids of the items' medicines as ids."""
    found = dict(values)
    if found.get("items") is not None:
        found["items"] = [ids(one, "medicine_id", at=f"input.items.{at}") for at, one in enumerate(found["items"])]
    return found


def _where(filter: PrescriptionFilter | None) -> dict[str, Any]:
    chosen = filter or PrescriptionFilter()
    named = ids(given(chosen), "patient_id", "doctor_id", "medicine_id", at="filter")
    equal = {
        "patient_id": named.get("patient_id"),
        "doctor_id": named.get("doctor_id"),
        "medicine_ids": named.get("medicine_id"),
        "status": named.get("status"),
        "number": as_given(chosen.number),
    }
    return listed("prescribed_at", start=chosen.from_, end=chosen.to, equal=equal)
