"""Roles, what they permit, and the catalogue of all that can be permitted."""

from __future__ import annotations

from datetime import datetime

import strawberry
from strawberry import Maybe

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import loaded, row_type, stored
from app.graphql.inputs import given, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection, Sort
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services import representatives
from app.services import roles as service
from app.services.rights import CATALOGUE
from models import Role
from resolvers.base import Resolver, shown

HIGHEST_FIRST: Sort = [("level", -1), ("_id", -1)]


@row_type("Permission", description="One right that a role can give.")
class PermissionType:
    name: str = stored(description="`resource:action`, as roles take it.")
    resource: str = stored(description="What it concerns.")
    action: str = stored(description="What may be done with it.")
    description: str = stored(description="The same in words.")


@row_type("Role", model=Role, read=Permission.ROLE_READ, description="A named set of rights.")
class RoleType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    name: str = stored(description="Name, in lower case.")
    level: int = stored(description="Orders roles, 1 to 100: nobody gives a level above their own.")
    description: str | None = stored(description="Whom it is for.")
    system: bool = stored(description="Whether every clinic has it. Such a role keeps its name and level.")
    updated_at: datetime = stored(description="When it was last changed.")
    permissions: list[str] = loaded(
        "_id", by=service.rights_by_role, description="What it permits, each as `resource:action`."
    )


@strawberry.input(description="A new role of the clinic's own.")
class CreateRoleInput:
    name: str = strawberry.field(description="2 to 40 of a–z, 0–9, space, `-` and `_`; no other role has it.")
    level: int = strawberry.field(description="1 to 100, at most that of the own role.")
    permissions: list[str] = strawberry.field(description="What it permits, each as `resource:action`.")
    description: str | None = strawberry.field(default=None, description="Whom it is for.")


@strawberry.input(description="Changes to a role. What is left out stays as it is; null clears it.")
class UpdateRoleInput:
    id: strawberry.ID = strawberry.field(description="The role.")
    version: int = strawberry.field(description="The version that the change is based on.")
    name: Maybe[str] = strawberry.field(description="Name; no other role has it.")
    level: Maybe[int] = strawberry.field(description="1 to 100, at most that of the own role.")
    permissions: Maybe[list[str]] = strawberry.field(description="What it permits; replaces the list.")
    description: Maybe[str | None] = strawberry.field(description="Whom it is for.")


@strawberry.input(description="Which role to delete.")
class DeleteRoleInput:
    id: strawberry.ID = strawberry.field(description="The role.")
    version: int = strawberry.field(description="The version that the step is based on.")


@strawberry.type
class RoleQuery(Resolver):
    @field(Permission.ROLE_READ, description="One role.")
    async def role(self, info: Info, id: strawberry.ID) -> RoleType:
        return await self.one(info, RoleType, id)

    @field(Permission.ROLE_READ, description="The clinic's roles, the highest level first.")
    async def roles(self, info: Info, first: First = DEFAULT_PAGE, after: After = None) -> Connection[RoleType]:
        return await self.page(info, RoleType, where={}, sort=HIGHEST_FIRST, first=first, after=after)

    @field(Permission.ROLE_READ, description="All that can be permitted.")
    async def permissions(self) -> list[PermissionType]:
        return shown(
            [
                {"name": right.value, "resource": right.resource, "action": right.action, "description": text}
                for right, text in CATALOGUE.items()
            ]
        )


@strawberry.type
class RoleMutation(Resolver):
    @field(
        Permission.ROLE_MANAGE,
        description="The role for medical representatives, who see nothing of patients; made when it is not there.",
    )
    async def create_representative_role(self, info: Info) -> RoleType:
        return shown(await representatives.create_role())

    @field(Permission.ROLE_MANAGE, description="Adds a role. Nobody grants a right or a level that they lack.")
    async def create_role(self, input: CreateRoleInput) -> RoleType:
        values = given(input)
        return shown(await service.create(values, values.pop("permissions")))

    @field(
        Permission.ROLE_MANAGE,
        description="Changes a role, from its members' next request on. The admin's role stays as it is.",
    )
    async def update_role(self, input: UpdateRoleInput) -> RoleType:
        changes = given(input)
        key, version = object_id(changes.pop("id"), "input.id"), changes.pop("version")
        return shown(await service.change(key, version, changes, changes.pop("permissions", None)))

    @field(Permission.ROLE_MANAGE, description="Deletes a role that nobody has; answers with its id.")
    async def delete_role(self, input: DeleteRoleInput) -> strawberry.ID:
        await service.delete(object_id(input.id, "input.id"), input.version)
        return input.id
