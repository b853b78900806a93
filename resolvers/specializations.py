"""Specializations: the fields of medicine that the clinic offers."""

from __future__ import annotations

import strawberry
from strawberry import Maybe

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.inputs import given
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services import catalog
from resolvers.base import Resolver
from resolvers.staff import SpecializationType
from resolvers.values import NAME_ORDERS, ArchiveInput, NameSort


@strawberry.input(description="Which specializations to list. All conditions must hold.")
class SpecializationFilter:
    search: str | None = strawberry.field(default=None, description="Beginning of the name.")
    archived: bool = strawberry.field(default=False, description="Those archived instead of those in use.")


@strawberry.input(description="A new specialization.")
class CreateSpecializationInput:
    name: str = strawberry.field(description="Name; no other one in use has it.")
    description: str | None = strawberry.field(default=None, description="What it covers.")


@strawberry.input(description="Changes to a specialization. What is left out stays as it is; null clears it.")
class UpdateSpecializationInput:
    id: strawberry.ID = strawberry.field(description="The specialization.")
    version: int = strawberry.field(description="The version that the change is based on.")
    name: Maybe[str] = strawberry.field(description="Name; no other one in use has it.")
    description: Maybe[str | None] = strawberry.field(description="What it covers.")


@strawberry.type
class SpecializationQuery(Resolver):
    @field(Permission.SPECIALIZATION_READ, description="One specialization.")
    async def specialization(self, info: Info, id: strawberry.ID) -> SpecializationType:
        return await self.one(info, SpecializationType, id)

    @field(Permission.SPECIALIZATION_READ, description="The clinic's specializations.")
    async def specializations(
        self,
        info: Info,
        first: First = DEFAULT_PAGE,
        after: After = None,
        filter: SpecializationFilter | None = None,
        sort: NameSort = NameSort.NAME_ASC,
    ) -> Connection[SpecializationType]:
        chosen = filter or SpecializationFilter()
        where = catalog.listed(search=chosen.search, archived=chosen.archived)
        return await self.page(info, SpecializationType, where=where, sort=NAME_ORDERS[sort], first=first, after=after)


@strawberry.type
class SpecializationMutation(Resolver):
    @field(Permission.SPECIALIZATION_MANAGE, description="Adds a specialization.")
    async def create_specialization(self, input: CreateSpecializationInput) -> SpecializationType:
        return await self.create(SpecializationType, given(input))

    @field(Permission.SPECIALIZATION_MANAGE, description="Changes a specialization.")
    async def update_specialization(self, input: UpdateSpecializationInput) -> SpecializationType:
        return await self.change(SpecializationType, given(input))

    @field(Permission.SPECIALIZATION_MANAGE, description="Takes a specialization out of use.")
    async def archive_specialization(self, input: ArchiveInput) -> SpecializationType:
        return await self.archive(SpecializationType, input.id, input.version)

    @field(Permission.SPECIALIZATION_MANAGE, description="Takes a specialization back into use.")
    async def restore_specialization(self, input: ArchiveInput) -> SpecializationType:
        return await self.restore(SpecializationType, input.id, input.version)
