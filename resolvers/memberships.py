"""Plans that the clinic sells to its patients, and who has one."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import Maybe

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services import catalog
from app.services.billing import lists, memberships
from models import MembershipPlan, PatientMembership
from models.patient_membership import MembershipState
from resolvers.base import Resolver, shown
from resolvers.billing import BillingStepType, plain_decimal
from resolvers.services import ServiceType
from resolvers.staff import SpecializationType
from resolvers.values import NAME_ORDERS, ArchiveInput, MoneyInput, MoneyType, NameSort, day, described

if TYPE_CHECKING:
    from resolvers.patients import PatientType

described(
    MembershipState,
    "Where a membership stands.",
    ACTIVE="It gives what its plan says, within its periods.",
    CANCELLED="It was ended.",
)


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


@row_type("PlanDiscount", description="What a plan takes off.")
class PlanDiscountType:
    service: ServiceType | None = related(lambda: ServiceType, key="service_id", description="Off this service.")
    specialization: SpecializationType | None = related(
        lambda: SpecializationType, key="specialization_id", description="Off all services of this field of medicine."
    )
    percent: Decimal = plain_decimal("percent", "Percent off; off everything when neither is said.")


@row_type("IncludedService", description="A service that a plan includes.")
class IncludedServiceType:
    service: ServiceType | None = related(lambda: ServiceType, key="service_id", description="The service.")
    count: int = stored(description="How often it costs nothing in one period.")


@row_type(
    "MembershipPlan",
    model=MembershipPlan,
    read=Permission.MEMBERSHIP_READ,
    description="What a patient may buy for a period.",
)
class MembershipPlanType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    name: str = stored(description="Name.")
    description: str | None = stored(description="What it gives, in words.")
    price: MoneyType = stored(description="What one period costs, before tax.")
    tax_rate: Decimal = plain_decimal("tax_rate", "Tax on the price, in percent.")
    period_months: int = stored(description="How many months a period has.")
    discounts: list[PlanDiscountType] = stored(description="What it takes off; the best that fits counts.")
    included: list[IncludedServiceType] = stored(description="Services that cost nothing.")
    archived_at: datetime | None = stored(description="When it was taken out of sale.")


@row_type("MembershipUsage", description="How often an included service was used.")
class MembershipUsageType:
    service: ServiceType | None = related(lambda: ServiceType, key="service_id", description="The service.")
    since: date | None = day("since", "The first day of the period.")
    used: int = stored(description="How often.")


@row_type("MembershipPeriod", description="A span that was sold.")
class MembershipPeriodType:
    starts_on: date | None = day("starts_on", "Its first day.")
    ends_on: date | None = day("ends_on", "Its last day.")


@row_type(
    "PatientMembership",
    model=PatientMembership,
    read=Permission.MEMBERSHIP_READ,
    description="A patient's membership.",
)
class PatientMembershipType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    status: MembershipState = stored(description="Where it stands.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )
    plan: MembershipPlanType | None = related(lambda: MembershipPlanType, key="plan_id", description="The plan.")
    starts_on: date | None = day("starts_on", "The first day on which it holds.")
    ends_on: date | None = day("ends_on", "The last day on which it holds.")
    usage: list[MembershipUsageType] = stored(description="Which included services were used, by period.")
    periods: list[MembershipPeriodType] = stored(description="What was sold, the first one first.")
    history: list[BillingStepType] = stored(description="The steps that it took, the first one first.")
    created_at: datetime = stored(description="When it was sold.")


@strawberry.input(description="What a plan takes off: off a service, a field of medicine, or everything.")
class PlanDiscountInput:
    percent: Decimal = strawberry.field(description="Percent off, 0 to 100.")
    service_id: strawberry.ID | None = strawberry.field(default=None, description="Off this service.")
    specialization_id: strawberry.ID | None = strawberry.field(
        default=None, description="Off all services of this field of medicine."
    )


@strawberry.input(description="A service that a plan includes.")
class IncludedServiceInput:
    service_id: strawberry.ID = strawberry.field(description="The service.")
    count: int = strawberry.field(description="How often it costs nothing in one period, 1 to 1,000.")


@strawberry.input(description="Which plans to list. All conditions must hold.")
class MembershipPlanFilter:
    search: str | None = strawberry.field(default=None, description="Beginning of the name.")
    archived: bool = strawberry.field(default=False, description="Those archived instead of those on sale.")


@strawberry.input(description="A new plan.")
class CreateMembershipPlanInput:
    name: str = strawberry.field(description="Name; no other plan on sale has it.")
    price: MoneyInput = strawberry.field(description="What one period costs, before tax.")
    period_months: int = strawberry.field(description="How many months a period has, 1 to 60.")
    description: str | None = strawberry.field(default=None, description="What it gives, in words.")
    tax_rate: Decimal | None = strawberry.field(
        default=None, description="Tax on the price, in percent; none if unsaid."
    )
    discounts: list[PlanDiscountInput] | None = strawberry.field(default=None, description="What it takes off.")
    included: list[IncludedServiceInput] | None = strawberry.field(
        default=None, description="Services that cost nothing."
    )


@strawberry.input(description="Changes to a plan; those who have it get what it says from then on.")
class UpdateMembershipPlanInput:
    id: strawberry.ID = strawberry.field(description="The plan.")
    version: int = strawberry.field(description="The version that the change is based on.")
    name: Maybe[str] = strawberry.field(description="Name; no other plan on sale has it.")
    price: Maybe[MoneyInput] = strawberry.field(description="What one period costs, before tax.")
    period_months: Maybe[int] = strawberry.field(description="How many months a period has, 1 to 60.")
    description: Maybe[str | None] = strawberry.field(description="What it gives, in words.")
    tax_rate: Maybe[Decimal] = strawberry.field(description="Tax on the price, in percent.")
    discounts: Maybe[list[PlanDiscountInput]] = strawberry.field(description="What it takes off; replaces the list.")
    included: Maybe[list[IncludedServiceInput]] = strawberry.field(
        description="Services that cost nothing; replaces the list."
    )


@strawberry.input(description="Which memberships to list. All conditions must hold.")
class PatientMembershipFilter:
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="Of this patient.")
    status: MembershipState | None = strawberry.field(default=None, description="Of this state.")


@strawberry.input(description="Whom to give which membership.")
class EnrollPatientInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    plan_id: strawberry.ID = strawberry.field(description="The plan.")
    starts_on: date | None = strawberry.field(default=None, description="Its first day; today when left out.")


@strawberry.input(description="A membership that is to go on.")
class RenewMembershipInput:
    id: strawberry.ID = strawberry.field(description="The membership.")
    version: int = strawberry.field(description="The version that the step is based on.")


@strawberry.input(description="A membership that is to end, and why.")
class CancelMembershipInput:
    id: strawberry.ID = strawberry.field(description="The membership.")
    version: int = strawberry.field(description="The version that the step is based on.")
    reason: str = strawberry.field(description="Why; kept in the history.")


@strawberry.type
class MembershipQuery(Resolver):
    @field(Permission.MEMBERSHIP_READ, description="One plan.")
    async def membership_plan(self, info: Info, id: strawberry.ID) -> MembershipPlanType:
        return await self.one(info, MembershipPlanType, id)

    @field(Permission.MEMBERSHIP_READ, description="The clinic's plans, by name.")
    async def membership_plans(
        self,
        info: Info,
        first: First = DEFAULT_PAGE,
        after: After = None,
        filter: MembershipPlanFilter | None = None,
        sort: NameSort = NameSort.NAME_ASC,
    ) -> Connection[MembershipPlanType]:
        chosen = filter or MembershipPlanFilter()
        where = catalog.listed(search=chosen.search, archived=chosen.archived)
        return await self.page(info, MembershipPlanType, where=where, sort=NAME_ORDERS[sort], first=first, after=after)

    @field(Permission.MEMBERSHIP_READ, description="One membership.")
    async def patient_membership(self, info: Info, id: strawberry.ID) -> PatientMembershipType:
        return await self.one(info, PatientMembershipType, id)

    @field(Permission.MEMBERSHIP_READ, description="The memberships of the clinic's patients, the latest first.")
    async def patient_memberships(
        self,
        info: Info,
        first: First = DEFAULT_PAGE,
        after: After = None,
        filter: PatientMembershipFilter | None = None,
    ) -> Connection[PatientMembershipType]:
        chosen = filter or PatientMembershipFilter()
        of = ids(given(chosen), "patient_id", at="filter").get("patient_id")
        where = lists.equal(patient_id=of, status=chosen.status)
        sort = [("created_at", -1), ("_id", -1)]
        return await self.page(info, PatientMembershipType, where=where, sort=sort, first=first, after=after)


def _with_rule_ids(values: dict[str, object]) -> dict[str, object]:
    """The values of a plan with ids in its rules. Raises NOT_FOUND at `input.discounts.….serviceId` and the like."""
    changed = dict(values)
    for name in ("discounts", "included"):
        rules = values.get(name)
        if isinstance(rules, list):
            changed[name] = [
                ids(rule, "service_id", "specialization_id", at=f"input.{name}.{place}")
                for place, rule in enumerate(rules)
            ]
    return changed


@strawberry.type
class MembershipMutation(Resolver):
    @field(Permission.MEMBERSHIP_MANAGE, description="Adds a plan.")
    async def create_membership_plan(self, input: CreateMembershipPlanInput) -> MembershipPlanType:
        return shown(await memberships.create_plan(_with_rule_ids(given(input))))

    @field(Permission.MEMBERSHIP_MANAGE, description="Changes a plan, for those who have it already too.")
    async def update_membership_plan(self, input: UpdateMembershipPlanInput) -> MembershipPlanType:
        changes = given(input)
        key, version = object_id(changes.pop("id"), "input.id"), changes.pop("version")
        return shown(await memberships.change_plan(key, version, _with_rule_ids(changes)))

    @field(Permission.MEMBERSHIP_MANAGE, description="Takes a plan out of sale; those who have it keep it.")
    async def archive_membership_plan(self, input: ArchiveInput) -> MembershipPlanType:
        return await self.archive(MembershipPlanType, input.id, input.version)

    @field(Permission.MEMBERSHIP_MANAGE, description="Puts a plan on sale again.")
    async def restore_membership_plan(self, input: ArchiveInput) -> MembershipPlanType:
        return await self.restore(MembershipPlanType, input.id, input.version)

    @field(
        Permission.MEMBERSHIP_MANAGE,
        description="Gives a patient a membership; a draft invoice asks for its price.",
    )
    async def enroll_patient(self, input: EnrollPatientInput) -> PatientMembershipType:
        patient, plan = object_id(input.patient_id, "input.patientId"), object_id(input.plan_id, "input.planId")
        return shown(await memberships.enroll(patient, plan, input.starts_on))

    @field(
        Permission.MEMBERSHIP_MANAGE,
        description="Adds the next period to a membership; a draft invoice asks for its price.",
    )
    async def renew_membership(self, input: RenewMembershipInput) -> PatientMembershipType:
        return shown(await memberships.renew(object_id(input.id, "input.id"), input.version))

    @field(Permission.MEMBERSHIP_MANAGE, description="Ends a membership at once.")
    async def cancel_membership(self, input: CancelMembershipInput) -> PatientMembershipType:
        return shown(await memberships.cancel(object_id(input.id, "input.id"), input.version, input.reason))
