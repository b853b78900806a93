"""Referrals: written, sent, answered."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import Maybe

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services.care import referrals as service
from app.services.care.lists import listed
from models import Referral
from models.referral import ReferralStatus
from resolvers.base import Resolver, shown
from resolvers.diagnoses import DiagnosisInput, DiagnosisType
from resolvers.order_values import OrderPriority
from resolvers.staff import SpecializationType, StaffType
from resolvers.steps import ReasonedStepInput, StepInput, StepType
from resolvers.values import described
from resolvers.visits import VisitType

if TYPE_CHECKING:
    from resolvers.patients import PatientType

described(
    ReferralStatus,
    "Where a referral stands.",
    DRAFT="It is being written.",
    SENT="The patient has it.",
    ACCEPTED="The other side takes the patient.",
    DECLINED="The other side does not.",
    COMPLETED="The other side has answered.",
    CANCELLED="The patient is not sent.",
)
_S = ReferralStatus


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


@row_type("Recipient", description="To whom a patient is sent.")
class RecipientType:
    name: str = stored(description="Name.")
    organization: str | None = stored(description="Hospital or practice.")
    phone: str | None = stored(description="Phone number.")
    email: str | None = stored(description="E-mail address.")


@row_type("ReferralStep", description="One step in a referral's life.")
class ReferralStepType(StepType):
    status: ReferralStatus = stored(description="Where it stood from then on.")


@row_type("Referral", model=Referral, read=Permission.REFERRAL_READ, description="A patient is sent to somebody else.")
class ReferralType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    status: ReferralStatus = stored(description="Where it stands.")
    recipient: RecipientType | None = stored(description="To whom.")
    specialization: SpecializationType | None = related(
        lambda: SpecializationType, key="specialization_id", description="To which field of medicine."
    )
    priority: OrderPriority = stored(description="How soon.")
    reason: str = stored(description="What is asked of them.")
    summary: str | None = stored(description="What they are to know.")
    diagnoses: list[DiagnosisType] = stored(description="What the patient has.")
    written_at: datetime = stored(description="When it was drafted.")
    sent_at: datetime | None = stored(description="When it was sent; since then it never changed.")
    sent_by: StaffType | None = related(lambda: StaffType, key="sent_by", foreign="user_id", description="Who sent it.")
    answer: str | None = stored(description="What came back.")
    answered_at: datetime | None = stored(description="When.")
    history: list[ReferralStepType] = stored(description="The steps that were taken, the first first.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )
    doctor: StaffType | None = related(lambda: StaffType, key="doctor_id", description="Who sends the patient.")
    visit: VisitType | None = related(lambda: VisitType, key="visit_id", description="The visit that led to it.")


@strawberry.input(description="Which referrals to list. All conditions must hold.")
class ReferralFilter:
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="Of this patient.")
    doctor_id: strawberry.ID | None = strawberry.field(default=None, description="By this doctor.")
    status: ReferralStatus | None = strawberry.field(default=None, description="Of this status.")


@strawberry.input(name="RecipientInput", description="To whom a patient is sent.")
class RecipientInput:
    name: str = strawberry.field(description="Name.")
    organization: str | None = strawberry.field(default=None, description="Hospital or practice.")
    phone: str | None = strawberry.field(default=None, description="Phone number.")
    email: str | None = strawberry.field(default=None, description="E-mail address.")


@strawberry.input(description="A new referral.")
class WriteReferralInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    reason: str = strawberry.field(description="What is asked of them.")
    recipient: RecipientInput | None = strawberry.field(default=None, description="To whom.")
    specialization_id: strawberry.ID | None = strawberry.field(default=None, description="To which field of medicine.")
    priority: OrderPriority = strawberry.field(default=OrderPriority.ROUTINE, description="How soon.")
    summary: str | None = strawberry.field(default=None, description="What they are to know.")
    diagnoses: list[DiagnosisInput] | None = strawberry.field(default=None, description="What the patient has.")
    visit_id: strawberry.ID | None = strawberry.field(default=None, description="The visit that leads to it.")
    doctor_id: strawberry.ID | None = strawberry.field(default=None, description="Who sends the patient; else you.")


@strawberry.input(description="Changes to a draft. What is left out stays as it is; null clears it.")
class UpdateReferralInput:
    id: strawberry.ID = strawberry.field(description="The draft.")
    version: int = strawberry.field(description="The version that the change is based on.")
    reason: Maybe[str] = strawberry.field(description="What is asked of them.")
    recipient: Maybe[RecipientInput | None] = strawberry.field(description="To whom.")
    specialization_id: Maybe[strawberry.ID | None] = strawberry.field(description="To which field of medicine.")
    priority: Maybe[OrderPriority] = strawberry.field(description="How soon.")
    summary: Maybe[str | None] = strawberry.field(description="What they are to know.")
    diagnoses: Maybe[list[DiagnosisInput]] = strawberry.field(description="What the patient has; replaces the list.")


@strawberry.input(description="What the other side answers.")
class AnswerReferralInput:
    id: strawberry.ID = strawberry.field(description="The referral.")
    version: int = strawberry.field(description="The version that the step is based on.")
    answer: str | None = strawberry.field(default=None, description="What they say.")


@strawberry.type
class ReferralQuery(Resolver):
    @field(Permission.REFERRAL_READ, description="One referral.")
    async def referral(self, info: Info, id: strawberry.ID) -> ReferralType:
        return await self.one(info, ReferralType, id)

    @field(Permission.REFERRAL_READ, description="Referrals, the latest written first.")
    async def referrals(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: ReferralFilter | None = None
    ) -> Connection[ReferralType]:
        equal: dict[str, Any] = ids(given(filter), "patient_id", "doctor_id", at="filter") if filter else {}
        sort = [("written_at", -1), ("_id", -1)]
        where = listed("written_at", equal=equal)
        return await self.page(info, ReferralType, where=where, sort=sort, first=first, after=after)


@strawberry.type
class ReferralMutation(Resolver):
    @field(Permission.REFERRAL_WRITE, description="Drafts a referral.")
    async def write_referral(self, input: WriteReferralInput) -> ReferralType:
        values = ids(given(input), "patient_id", "specialization_id", "visit_id", "doctor_id")
        return shown(await service.write(values))

    @field(Permission.REFERRAL_WRITE, description="Changes a draft.")
    async def update_referral(self, input: UpdateReferralInput) -> ReferralType:
        changes = ids(given(input), "id", "specialization_id")
        return shown(await service.change(changes.pop("id"), changes.pop("version"), changes))

    @field(Permission.REFERRAL_WRITE, description="Gives the referral to the patient: from now on it does not change.")
    async def send_referral(self, input: StepInput) -> ReferralType:
        return shown(await service.send(object_id(input.id, "input.id"), input.version))

    @field(Permission.REFERRAL_WRITE, description="Notes that the other side takes the patient.")
    async def accept_referral(self, input: AnswerReferralInput) -> ReferralType:
        return shown(await _answered(input, _S.ACCEPTED))

    @field(Permission.REFERRAL_WRITE, description="Notes that the other side does not take the patient.")
    async def decline_referral(self, input: AnswerReferralInput) -> ReferralType:
        return shown(await _answered(input, _S.DECLINED))

    @field(Permission.REFERRAL_WRITE, description="Notes what the other side found.")
    async def complete_referral(self, input: AnswerReferralInput) -> ReferralType:
        return shown(await _answered(input, _S.COMPLETED))

    @field(Permission.REFERRAL_WRITE, description="Takes a referral back.")
    async def cancel_referral(self, input: ReasonedStepInput) -> ReferralType:
        return shown(await service.cancel(object_id(input.id, "input.id"), input.version, input.reason))


async def _answered(input: AnswerReferralInput, to: ReferralStatus) -> dict[str, Any]:
    return await service.answered(object_id(input.id, "input.id"), input.version, to, input.answer)
