"""The system as those see it who run it: clinics, operators and the platform's audit, on the root host alone."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any

import strawberry

from app.errors import NotFound
from app.graphql.access import Level, field
from app.graphql.context import Info
from app.graphql.fields import related, row_type, stored
from app.graphql.inputs import object_id
from app.graphql.paging import DEFAULT_PAGE, Connection, Sort
from app.graphql.related_pages import After, First
from app.graphql.selection import asks_for, columns, projection
from app.permissions import Permission, PlatformRight, PlatformRole
from app.plans import BillingCycle
from app.services import clinic_entries, offboarding, operators, platform_log, tenants_admin
from app.services.changes import row_of
from app.services.offboarding import USUAL_DAYS
from app.services.placement.provisioning import Goal
from app.tenancy.scope import current_scope
from models import Operator, OperatorEntry, PlatformAudit, Tenant, User
from models.tenant import MoveStage, PlacementKind, SubscriptionStatus, TenantStatus
from models.user import UserStatus
from resolvers.base import Resolver, shown
from resolvers.clinic import ClinicType
from resolvers.values import described

described(
    PlatformRole,
    "What somebody is to the system itself.",
    SUPER_ADMIN="Runs it: everything that can be done above the clinics.",
    SUPPORT="Helps clinics: sees them, and enters them for a time and a reason.",
    READONLY="Sees clinics and the platform's audit, and changes nothing.",
)
described(UserStatus, "Whether a person can sign in.", ACTIVE="They can.", DISABLED="They cannot, anywhere.")
described(
    PlacementKind,
    "In what kind of place a clinic's data is.",
    SHARED="In the database that clinics share.",
    OWN_DATABASE="In a database of its own, on the same servers. Its patients are not shared with other clinics.",
    CLUSTER="In a database of its own, on other servers. Its patients are not shared with other clinics.",
)
described(
    MoveStage,
    "How far the move of a clinic to another place has come.",
    COPYING="Its data is copied while it works.",
    READ_ONLY="It can be read only, until all is copied and compared.",
    MOVED="It works in its new place; what came late into the former one is fetched.",
    KEPT="All is done; the former place still holds what it held.",
)


@row_type("TenantSubscription", description="A clinic's plan.")
class TenantSubscriptionType:
    plan: str = stored(description="Name of the plan.")
    status: SubscriptionStatus = stored(description="Where the clinic stands with it.")
    billing_cycle: BillingCycle = stored(description="How often it is paid.")
    expires_at: datetime | None = stored(description="When the trial or the paid time ends.")


@row_type("TenantOffboarding", description="That a clinic is to be deleted. Until it is, this can be called off.")
class TenantOffboardingType:
    reason: str = stored(description="Why.")
    scheduled_at: datetime = stored(description="Since when it does not answer any more.")
    due_at: datetime = stored(description="From when on it is deleted.")
    exported_at: datetime | None = stored(description="When its data was written out; null while that is to be done.")


@row_type("TenantPlacement", description="Where a clinic's data is.")
class TenantPlacementType:
    kind: PlacementKind = stored(description="In what kind of place.")
    database: str | None = stored(description="The name of its own database, if it has one.")
    cluster: str | None = stored(description="The name of the cluster with its database, if that is another one.")


@row_type("TenantMove", description="A clinic on its way to another place, or whose former place is not cleared yet.")
class TenantMoveType:
    stage: MoveStage = stored(description="How far it has come.")
    source: TenantPlacementType = stored(description="From where.")
    target: TenantPlacementType = stored(description="To where.")
    started_at: datetime = stored(description="When it began.")
    moved_at: datetime | None = stored(description="When the clinic changed its place.")


@row_type("Tenant", model=Tenant, description="A clinic as the system sees it: nothing of what it keeps.")
class TenantType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    subdomain: str = stored(description="The first label of its host.")
    name: str = stored(description="Name.")
    display_name: str | None = stored(description="The name shown to the public, when another.")
    email: str | None = stored(description="E-mail address.")
    status: TenantStatus = stored(description="Whether it answers on its host.")
    subscription: TenantSubscriptionType = stored(description="Its plan.")
    placement: TenantPlacementType = stored(description="Where its data is.")
    move: TenantMoveType | None = stored(description="Its move to another place, while there is anything left of it.")
    up_to_date: bool | None = stored(
        description="Whether the database with its data is up to date with this version; null while it is out of reach."
    )
    members: int = stored(description="How many people may enter it at present.")
    created_at: datetime = stored(description="When it was opened.")
    offboarding: TenantOffboardingType | None = stored(description="Its deletion, where that is to come.")
    deletion_started_at: datetime | None = stored(description="Since when it is being deleted for good.")


@row_type("PlatformPerson", model=User, description="A person, as the system sees them.")
class PlatformPersonType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    name: str = stored(description="Name.")
    email: str = stored(description="The e-mail address they sign in with.")
    status: UserStatus = stored(description="Whether they can sign in.")
    last_login_at: datetime | None = stored(description="When they last signed in.")


@row_type("Operator", model=Operator, description="Somebody who runs the system.")
class OperatorType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    role: PlatformRole = stored(description="As what.")
    person: PlatformPersonType | None = related(lambda: PlatformPersonType, key="user_id", description="Who it is.")
    created_at: datetime = stored(description="Since when.")


@row_type(
    "OperatorEntry",
    model=OperatorEntry,
    description="One visit to a clinic of somebody who runs the system: who, why, for how long and to see what.",
)
class OperatorEntryType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    operator: str = stored("operator_name", description="Who it was.")
    reason: str = stored(description="Why, in their own words.")
    patient_data: bool = stored(
        description="Whether patients' demographics and appointments could be read, beside the clinic's set-up."
    )
    started_at: datetime = stored(description="From when.")
    until: datetime = stored(description="Until when at most.")
    ended_at: datetime | None = stored(description="When it was ended before that time.")
    address: str = stored(description="The network address it was opened from.")
    clinic: ClinicType | None = related(lambda: ClinicType, key="clinic_id", description="The clinic.")


@row_type("PlatformAuditEntry", model=PlatformAudit, description="One act above the clinics.")
class PlatformAuditEntryType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    at: datetime = stored(description="When.")
    actor: str = stored(description="The id of the person, or what acted by itself, such as `command`.")
    action: str = stored(description="What was done, as `noun.verb`.")
    reason: str = stored(description="Why.")
    subject: str | None = stored(description="What was acted on beside a clinic, as `kind/id`.")
    tenant: ClinicType | None = related(
        lambda: ClinicType, key="tenant", description="The clinic; null where none was meant or it is gone."
    )
    request_id: str = stored(description="The request, as it is told with failures and in the server's logs.")
    address: str = stored(description="The network address that it came from; empty when there was none.")


@strawberry.enum(description="The order of a list of clinics.")
class TenantSort(Enum):
    NAME_ASC = strawberry.enum_value("name_asc", description="By name, A first.")
    SUBDOMAIN_ASC = strawberry.enum_value("subdomain_asc", description="By subdomain, A first.")
    NEWEST = strawberry.enum_value("newest", description="The latest opened first.")


TENANT_ORDERS: dict[TenantSort, Sort] = {
    TenantSort.NAME_ASC: [("name", 1), ("_id", 1)],
    TenantSort.SUBDOMAIN_ASC: [("subdomain", 1), ("_id", 1)],
    TenantSort.NEWEST: [("created_at", -1), ("_id", -1)],
}


@strawberry.input(description="Which clinics to list. All conditions must hold.")
class TenantFilter:
    status: TenantStatus | None = strawberry.field(default=None, description="Of this status.")
    search: str | None = strawberry.field(default=None, description="Beginning of the name or the subdomain.")
    placement: PlacementKind | None = strawberry.field(default=None, description="In places of this kind.")


@strawberry.input(description="The first admin of a clinic. Somebody known proves it with their present password.")
class OpenTenantAdminInput:
    name: str = strawberry.field(description="Full name.")
    email: str = strawberry.field(description="The e-mail address to sign in with.")
    password: str = strawberry.field(description="The password to sign in with.")


@strawberry.input(description="A clinic to be opened, with its roles, first admin, settings and trial.")
class OpenTenantInput:
    name: str = strawberry.field(description="Its legal name.")
    subdomain: str = strawberry.field(description="The first label of its host; it is given out once and for ever.")
    admin: OpenTenantAdminInput = strawberry.field(description="Its first admin.")
    timezone: str = strawberry.field(default="UTC", description="IANA time zone, such as `America/New_York`.")
    currency: str = strawberry.field(default="USD", description="ISO 4217 code.")
    placement: PlacementKind = strawberry.field(default=PlacementKind.SHARED, description="Where its data is to be.")
    cluster: str | None = strawberry.field(default=None, description="On which cluster, for a place on another one.")
    reason: str = strawberry.field(description="Why: 10 to 500 characters, for the platform's audit.")


@strawberry.input(description="Which acts to list. All conditions must hold.")
class PlatformAuditFilter:
    tenant_id: strawberry.ID | None = strawberry.field(default=None, description="On this clinic.")
    actor: str | None = strawberry.field(default=None, description="By this actor, exactly.")
    action: str | None = strawberry.field(default=None, description="Of this action, exactly.")
    from_: datetime | None = strawberry.field(default=None, name="from", description="At or after this time.")
    to: datetime | None = strawberry.field(default=None, description="Before this time.")


@strawberry.input(description="Whether a clinic is to answer on its host.")
class SetTenantStatusInput:
    tenant_id: strawberry.ID = strawberry.field(description="The clinic.")
    version: int = strawberry.field(description="The version that the change is based on.")
    status: TenantStatus = strawberry.field(description="The new status.")
    reason: str = strawberry.field(description="Why: 10 to 500 characters, for the platform's audit.")


@strawberry.input(description="A clinic that is to be deleted.")
class ScheduleTenantDeletionInput:
    tenant_id: strawberry.ID = strawberry.field(description="The clinic.")
    version: int = strawberry.field(description="The version that the change is based on.")
    reason: str = strawberry.field(description="Why: 10 to 500 characters, for the platform's audit.")
    days: int = strawberry.field(default=USUAL_DAYS, description="In how many days, 0 to 365.")


@strawberry.input(description="A clinic that is to be kept after all.")
class CancelTenantDeletionInput:
    tenant_id: strawberry.ID = strawberry.field(description="The clinic.")
    version: int = strawberry.field(description="The version that the change is based on.")
    reason: str = strawberry.field(description="Why: 10 to 500 characters, for the platform's audit.")


@strawberry.input(description="Somebody who is to run the system.")
class GrantOperatorInput:
    email: str = strawberry.field(description="The e-mail address that they sign in with.")
    role: PlatformRole = strawberry.field(description="As what.")
    reason: str = strawberry.field(description="Why: 10 to 500 characters, for the platform's audit.")


@strawberry.input(description="Another role for an operator.")
class ChangeOperatorInput:
    operator_id: strawberry.ID = strawberry.field(description="The operator.")
    version: int = strawberry.field(description="The version that the change is based on.")
    role: PlatformRole = strawberry.field(description="The new role.")
    reason: str = strawberry.field(description="Why: 10 to 500 characters, for the platform's audit.")


@strawberry.input(description="An operator who is to be none any more.")
class RevokeOperatorInput:
    operator_id: strawberry.ID = strawberry.field(description="The operator.")
    version: int = strawberry.field(description="The version that the change is based on.")
    reason: str = strawberry.field(description="Why: 10 to 500 characters, for the platform's audit.")


@strawberry.input(description="A person who is to be kept out of everything, or let in again.")
class UserStatusInput:
    email: str = strawberry.field(description="The e-mail address that they sign in with.")
    reason: str = strawberry.field(description="Why: 10 to 500 characters, for the platform's audit.")


@strawberry.input(description="A timed entry into a clinic. The clinic sees who came, why, and for how long.")
class EnterClinicInput:
    tenant_id: strawberry.ID = strawberry.field(description="The clinic.")
    reason: str = strawberry.field(description="Why: 10 to 500 characters. For patients' data it names a ticket.")
    minutes: int = strawberry.field(description="For how long, 1 to 60 minutes.")
    patient_data: bool = strawberry.field(
        default=False, description="Whether patients' demographics and appointments must be read."
    )


@strawberry.type
class PlatformQuery(Resolver):
    @field(PlatformRight.TENANT_READ, description="The clinics.")
    async def tenants(
        self,
        info: Info,
        first: First = DEFAULT_PAGE,
        after: After = None,
        filter: TenantFilter | None = None,
        sort: TenantSort = TenantSort.NAME_ASC,
    ) -> Connection[TenantType]:
        chosen = filter or TenantFilter()
        where = tenants_admin.listed(status=chosen.status, search=chosen.search, placement=chosen.placement)
        page = await self.page(info, TenantType, where=where, sort=TENANT_ORDERS[sort], first=first, after=after)
        for name, work in _WORKED_OUT.items():
            if asks_for(info, "edges", "node", name):
                nodes = await work([edge["node"] for edge in page["edges"]])
                page["edges"] = [{**edge, "node": node} for edge, node in zip(page["edges"], nodes, strict=True)]
        return shown(page)

    @field(PlatformRight.TENANT_READ, description="One clinic.")
    async def tenant(self, info: Info, id: strawberry.ID) -> TenantType:
        return await _tenant(info, id, "id")

    @field(PlatformRight.OPERATOR_READ, description="Those who run the system, the latest first.")
    async def operators(self, info: Info, first: First = DEFAULT_PAGE, after: After = None) -> Connection[OperatorType]:
        return await self.page(
            info, OperatorType, where={}, sort=[("created_at", -1), ("_id", -1)], first=first, after=after
        )

    @field(PlatformRight.PLATFORM_AUDIT_READ, description="What was done above the clinics, the latest first.")
    async def platform_audit(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: PlatformAuditFilter | None = None
    ) -> Connection[PlatformAuditEntryType]:
        chosen = filter or PlatformAuditFilter()
        where = platform_log.listed(
            tenant_id=object_id(chosen.tenant_id, "filter.tenantId") if chosen.tenant_id else None,
            actor=chosen.actor,
            action=chosen.action,
            start=chosen.from_,
            end=chosen.to,
        )
        return await self.page(
            info, PlatformAuditEntryType, where=where, sort=[("at", -1), ("_id", -1)], first=first, after=after
        )

    @field(
        Permission.AUDIT_LOG_READ,
        description="When somebody who runs the system was at this clinic, the latest first.",
    )
    async def operator_entries(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[OperatorEntryType]:
        where = {"clinic_id": current_scope().tenant_id}
        return await self.page(
            info, OperatorEntryType, where=where, sort=[("started_at", -1), ("_id", -1)], first=first, after=after
        )


@strawberry.type
class PlatformMutation(Resolver):
    @field(
        PlatformRight.TENANT_MANAGE,
        description="Opens a clinic: its host, roles, settings, first admin and a trial of seven days, all or nothing.",
        without_plan=True,
    )
    async def open_tenant(self, info: Info, input: OpenTenantInput) -> TenantType:
        admin = {"name": input.admin.name, "email": input.admin.email, "password": input.admin.password}
        settings = {"timezone": input.timezone, "currency": input.currency}
        body = {"name": input.name, "subdomain": input.subdomain, "admin": admin, "settings": settings}
        opened = await tenants_admin.open_tenant(body, Goal(input.placement, input.cluster), input.reason)
        return await _tenant(info, str(opened.key), "input.subdomain")

    @field(PlatformRight.TENANT_MANAGE, description="Lets a clinic answer on its host, or stops it.", without_plan=True)
    async def set_tenant_status(self, info: Info, input: SetTenantStatusInput) -> TenantType:
        key = object_id(input.tenant_id, "input.tenantId")
        await tenants_admin.set_status(key, input.version, input.status, input.reason)
        return await _tenant(info, input.tenant_id, "input.tenantId")

    @field(
        PlatformRight.TENANT_MANAGE,
        description="Suspends a clinic at once and has it deleted for good when its days are over; its data is written "
        "out before.",
        without_plan=True,
    )
    async def schedule_tenant_deletion(self, info: Info, input: ScheduleTenantDeletionInput) -> TenantType:
        key = object_id(input.tenant_id, "input.tenantId")
        await offboarding.schedule(key, input.version, input.reason, input.days)
        return await _tenant(info, input.tenant_id, "input.tenantId")

    @field(
        PlatformRight.TENANT_MANAGE,
        description="Calls the deletion of a clinic off, which then has the status that it had before.",
        without_plan=True,
    )
    async def cancel_tenant_deletion(self, info: Info, input: CancelTenantDeletionInput) -> TenantType:
        key = object_id(input.tenant_id, "input.tenantId")
        await offboarding.cancel(key, input.version, input.reason)
        return await _tenant(info, input.tenant_id, "input.tenantId")

    @field(PlatformRight.OPERATOR_MANAGE, description="Makes a known person an operator.", without_plan=True)
    async def grant_operator(self, info: Info, input: GrantOperatorInput) -> OperatorType:
        key = await operators.grant(input.email, input.role, input.reason)
        return await self.one(info, OperatorType, str(key))

    @field(
        PlatformRight.OPERATOR_MANAGE,
        description="Gives an operator another role, from their next request on. The last super admin stays one.",
        without_plan=True,
    )
    async def change_operator(self, info: Info, input: ChangeOperatorInput) -> OperatorType:
        key = object_id(input.operator_id, "input.operatorId")
        await operators.change(key, input.version, input.role, input.reason)
        return await self.one(info, OperatorType, input.operator_id)

    @field(
        PlatformRight.OPERATOR_MANAGE,
        description="Takes an operator's role away, from their next request on. The last super admin stays one.",
        without_plan=True,
    )
    async def revoke_operator(self, info: Info, input: RevokeOperatorInput) -> bool:
        await operators.revoke(object_id(input.operator_id, "input.operatorId"), input.version, input.reason)
        return True

    @field(
        PlatformRight.OPERATOR_MANAGE,
        description="Keeps a person out of everything, at every clinic, and ends all their sessions at once.",
        without_plan=True,
    )
    async def disable_user(self, info: Info, input: UserStatusInput) -> PlatformPersonType:
        return await self.one(info, PlatformPersonType, str(await operators.disable_user(input.email, input.reason)))

    @field(PlatformRight.OPERATOR_MANAGE, description="Lets a disabled person sign in again.", without_plan=True)
    async def enable_user(self, info: Info, input: UserStatusInput) -> PlatformPersonType:
        return await self.one(info, PlatformPersonType, str(await operators.enable_user(input.email, input.reason)))

    @field(
        PlatformRight.TENANT_ENTER,
        description="Lets this session onto a clinic's host for at most 60 minutes, to see how it is set up. The "
        "clinic sees the entry and its reason. Needs the second factor of whoever has one.",
        without_plan=True,
    )
    async def enter_clinic(self, info: Info, input: EnterClinicInput) -> OperatorEntryType:
        entry = await clinic_entries.enter(
            object_id(input.tenant_id, "input.tenantId"),
            input.reason,
            input.minutes,
            patient_data=input.patient_data,
            production=info.context.settings.is_production,
        )
        return shown(row_of(entry))

    @field(
        Level.SIGNED_IN,
        description="Ends this session's operator entry at this clinic; on the root host, at every clinic. False when "
        "there was none.",
        without_plan=True,
    )
    async def leave_clinic_entry(self, info: Info) -> bool:
        return await clinic_entries.leave()


async def _tenant(info: Info, id: str, path: str) -> Any:
    """The clinic of that id with the columns asked for. Raises NOT_FOUND at `path`."""
    wanted = columns(info, TenantType) | {"_id"}
    rows = await Tenant.rows({"_id": object_id(id, path)}, projection=projection(wanted), limit=1)
    if not rows:
        raise NotFound.at(path)
    for name, work in _WORKED_OUT.items():
        if asks_for(info, name):
            rows = await work(rows)
    return rows[0]


_WORKED_OUT = {"members": tenants_admin.with_members, "upToDate": tenants_admin.with_migrations}
"""Fields that are no columns, by what adds them to rows of clinics."""
