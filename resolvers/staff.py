"""Staff profiles and specializations."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import strawberry
from strawberry import Maybe

from app.graphql.access import field, require
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services import catalog, memberships, representatives
from models import Membership, Specialization, Staff
from models.staff import StaffKind
from models.user import MembershipStatus
from resolvers.base import Resolver, shown
from resolvers.roles import RoleType
from resolvers.values import NAME_ORDERS, ArchiveInput, NameSort, described

described(
    StaffKind,
    "What somebody does at the clinic.",
    ADMIN="Runs the clinic.",
    DOCTOR="Treats patients.",
    NURSE="Cares for patients.",
    PHARMACIST="Keeps the stock and hands out medicines.",
    RECEPTIONIST="Receives patients and books.",
    ACCOUNTANT="Handles money.",
    MEDICAL_REPRESENTATIVE="Represents a maker of medicines.",
    OTHER="Something else.",
)


@row_type(
    "Specialization", model=Specialization, read=Permission.SPECIALIZATION_READ, description="A field of medicine."
)
class SpecializationType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    name: str = stored(description="Name.")
    description: str | None = stored(description="What it covers.")
    archived_at: datetime | None = stored(description="When it was put out of use.")


described(
    MembershipStatus,
    "Whether somebody may still enter the clinic.",
    ACTIVE="They may.",
    DISABLED="Their access is switched off for now.",
    REMOVED="Their access was ended.",
)


@row_type(
    "StaffAccess",
    model=Membership,
    read=Permission.ROLE_READ,
    description="The access that somebody has to the clinic's system.",
)
class StaffAccessType:
    status: MembershipStatus = stored(description="Whether they may still enter.")
    role: RoleType | None = related(lambda: RoleType, key="role_id", description="What they may do.")
    since: datetime = stored("created_at", description="When they were first given access.")


def _has_account(row: Row) -> bool:
    return row.get("user_id") is not None


@row_type("Staff", model=Staff, read=Permission.STAFF_READ, description="Somebody who works at the clinic.")
class StaffType:
    id: strawberry.ID = stored("_id", description="Opaque id of the profile.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    kind: StaffKind = stored(description="What they do.")
    name: str = stored(description="Name.")
    email: str | None = stored(description="E-mail address for the clinic's use.")
    phone: str | None = stored(description="Phone number.")
    title: str | None = stored(description="Title, such as Dr.")
    license_number: str | None = stored(description="Number of the licence to practise.")
    bio: str | None = stored(description="What patients may read about them.")
    has_account: bool = computed("user_id", by=_has_account, description="Whether a person is behind it.")
    archived_at: datetime | None = stored(description="When the profile was archived.")
    specializations: list[SpecializationType] = related(
        lambda: SpecializationType, key="specialization_ids", many=True, description="Their fields of medicine."
    )
    access: StaffAccessType | None = related(
        lambda: StaffAccessType,
        key="_id",
        foreign="staff_id",
        description="Their access to the clinic's system, if they were ever given any. Needs `role:read`.",
    )


@strawberry.input(description="Which staff to list. All conditions must hold.")
class StaffFilter:
    kind: StaffKind | None = strawberry.field(default=None, description="Of this kind.")
    search: str | None = strawberry.field(default=None, description="Beginning of the name.")
    specialization_id: strawberry.ID | None = strawberry.field(default=None, description="With this specialization.")
    role_id: strawberry.ID | None = strawberry.field(
        default=None,
        description="With access by this role, also when it is taken away for the time being. Needs `role:read`.",
    )
    archived: bool = strawberry.field(default=False, description="Those archived instead of those at work.")


@strawberry.input(description="A new staff profile, without access to the system.")
class CreateStaffInput:
    kind: StaffKind = strawberry.field(description="What they do.")
    name: str = strawberry.field(description="Name.")
    email: str | None = strawberry.field(default=None, description="E-mail address for the clinic's use.")
    phone: str | None = strawberry.field(default=None, description="Phone number.")
    title: str | None = strawberry.field(default=None, description="Title, such as Dr.")
    license_number: str | None = strawberry.field(default=None, description="Number of the licence to practise.")
    bio: str | None = strawberry.field(default=None, description="What patients may read about them.")
    specialization_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Their fields of medicine, up to 20."
    )


@strawberry.input(description="Changes to a staff profile. What is left out stays as it is; null clears it.")
class UpdateStaffInput:
    id: strawberry.ID = strawberry.field(description="The profile.")
    version: int = strawberry.field(description="The version that the change is based on.")
    kind: Maybe[StaffKind] = strawberry.field(description="What they do.")
    name: Maybe[str] = strawberry.field(description="Name.")
    email: Maybe[str | None] = strawberry.field(description="E-mail address for the clinic's use.")
    phone: Maybe[str | None] = strawberry.field(description="Phone number.")
    title: Maybe[str | None] = strawberry.field(description="Title, such as Dr.")
    license_number: Maybe[str | None] = strawberry.field(description="Number of the licence to practise.")
    bio: Maybe[str | None] = strawberry.field(description="What patients may read about them.")
    specialization_ids: Maybe[list[strawberry.ID]] = strawberry.field(
        description="Their fields of medicine; replaces the list."
    )


@strawberry.input(description="Another role for somebody who works here.")
class ChangeStaffRoleInput:
    staff_id: strawberry.ID = strawberry.field(description="The profile of the person.")
    role_id: strawberry.ID = strawberry.field(description="The role that they get.")


@strawberry.input(description="Whose access to end.")
class RemoveStaffAccessInput:
    staff_id: strawberry.ID = strawberry.field(description="The profile of the person.")


@strawberry.input(description="Whose access is taken away for the time being, or given back.")
class StaffAccessInput:
    staff_id: strawberry.ID = strawberry.field(description="The profile of the person.")


@strawberry.type
class StaffQuery(Resolver):
    @field(Permission.STAFF_READ, description="One staff profile.")
    async def staff_member(self, info: Info, id: strawberry.ID) -> StaffType:
        return await self.one(info, StaffType, id)

    @field(Permission.STAFF_READ, description="The people who work at the clinic.")
    async def staff(
        self,
        info: Info,
        first: First = DEFAULT_PAGE,
        after: After = None,
        filter: StaffFilter | None = None,
        sort: NameSort = NameSort.NAME_ASC,
    ) -> Connection[StaffType]:
        chosen = filter or StaffFilter()
        of = chosen.specialization_id
        where = catalog.listed(
            search=chosen.search,
            archived=chosen.archived,
            kind=chosen.kind,
            specialization_ids=object_id(of, "filter.specializationId") if of is not None else None,
        )
        if chosen.role_id is not None:
            require(Permission.ROLE_READ)
            where["_id"] = {"$in": await memberships.staff_with(object_id(chosen.role_id, "filter.roleId"))}
        return await self.page(info, StaffType, where=where, sort=NAME_ORDERS[sort], first=first, after=after)


def _profile(input: CreateStaffInput | UpdateStaffInput) -> dict[str, Any]:
    """The values of a profile, each specialization once."""
    values = ids(given(input), "specialization_ids")
    if "specialization_ids" in values:
        values["specialization_ids"] = list(dict.fromkeys(values["specialization_ids"]))
    return values


@strawberry.type
class StaffMutation(Resolver):
    @field(Permission.STAFF_MANAGE, description="Adds a staff profile. It gives no access to the system.")
    async def create_staff(self, input: CreateStaffInput) -> StaffType:
        return await self.create(StaffType, _profile(input))

    @field(Permission.STAFF_MANAGE, description="Changes a staff profile.")
    async def update_staff(self, input: UpdateStaffInput) -> StaffType:
        values = _profile(input)
        key = object_id(values.pop("id"), "input.id")
        return shown(await representatives.change_profile(key, values.pop("version"), values))

    @field(
        Permission.STAFF_MANAGE,
        description="Takes a profile out of the lists. Access to the system is ended by `removeStaffAccess`.",
    )
    async def archive_staff(self, input: ArchiveInput) -> StaffType:
        return await self.archive(StaffType, input.id, input.version)

    @field(Permission.STAFF_MANAGE, description="Takes an archived profile back into the lists.")
    async def restore_staff(self, input: ArchiveInput) -> StaffType:
        return await self.restore(StaffType, input.id, input.version)

    @field(
        Permission.STAFF_MANAGE,
        description="Gives somebody who has access another role, from their next request on. Nobody gives or takes "
        "more than they have themselves, and the last admin stays one.",
    )
    async def change_staff_role(self, info: Info, input: ChangeStaffRoleInput) -> StaffType:
        staff = object_id(input.staff_id, "input.staffId")
        await memberships.change_role(staff, object_id(input.role_id, "input.roleId"))
        return await self.one(info, StaffType, input.staff_id, path="input.staffId")

    @field(
        Permission.STAFF_MANAGE,
        description="Ends somebody's access to the clinic, from their next request on. Their profile stays.",
        without_plan=True,
    )
    async def remove_staff_access(self, info: Info, input: RemoveStaffAccessInput) -> StaffType:
        await memberships.remove(object_id(input.staff_id, "input.staffId"))
        return await self.one(info, StaffType, input.staff_id, path="input.staffId")

    @field(
        Permission.STAFF_MANAGE,
        description="Takes somebody's access away for the time being, from their next request on. The last admin "
        "keeps theirs.",
        without_plan=True,
    )
    async def disable_staff_access(self, info: Info, input: StaffAccessInput) -> StaffType:
        await memberships.disable(object_id(input.staff_id, "input.staffId"))
        return await self.one(info, StaffType, input.staff_id, path="input.staffId")

    @field(
        Permission.STAFF_MANAGE,
        description="Gives somebody disabled their access back. Nobody gives more than they have themselves.",
    )
    async def enable_staff_access(self, info: Info, input: StaffAccessInput) -> StaffType:
        await memberships.enable(object_id(input.staff_id, "input.staffId"))
        return await self.one(info, StaffType, input.staff_id, path="input.staffId")
