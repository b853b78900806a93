"""Headings under which services stand in the catalogue."""

from __future__ import annotations

from datetime import datetime

import strawberry
from strawberry import Maybe

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import row_type, stored
from app.graphql.inputs import given
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services import catalog
from models import ServiceCategory
from resolvers.base import Resolver
from resolvers.values import NAME_ORDERS, ArchiveInput, NameSort


@row_type(
    "ServiceCategory",
    model=ServiceCategory,
    read=Permission.SERVICE_READ,
    description="A heading under which services stand in the catalogue.",
)
class ServiceCategoryType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    name: str = stored(description="Name.")
    description: str | None = stored(description="What stands under it.")
    archived_at: datetime | None = stored(description="When it was put out of use.")


@strawberry.input(description="Which headings to list. All conditions must hold.")
class ServiceCategoryFilter:
    search: str | None = strawberry.field(default=None, description="Beginning of the name.")
    archived: bool = strawberry.field(default=False, description="Those archived instead of those in use.")


@strawberry.input(description="A new heading.")
class CreateServiceCategoryInput:
    name: str = strawberry.field(description="Name; no other one in use has it.")
    description: str | None = strawberry.field(default=None, description="What stands under it.")


@strawberry.input(description="Changes to a heading. What is left out stays as it is; null clears it.")
class UpdateServiceCategoryInput:
    id: strawberry.ID = strawberry.field(description="The heading.")
    version: int = strawberry.field(description="The version that the change is based on.")
    name: Maybe[str] = strawberry.field(description="Name; no other one in use has it.")
    description: Maybe[str | None] = strawberry.field(description="What stands under it.")


@strawberry.type
class ServiceCategoryQuery(Resolver):
    @field(Permission.SERVICE_READ, description="One heading of the catalogue.")
    async def service_category(self, info: Info, id: strawberry.ID) -> ServiceCategoryType:
        return await self.one(info, ServiceCategoryType, id)

    @field(Permission.SERVICE_READ, description="The headings of the clinic's catalogue.")
    async def service_categories(
        self,
        info: Info,
        first: First = DEFAULT_PAGE,
        after: After = None,
        filter: ServiceCategoryFilter | None = None,
        sort: NameSort = NameSort.NAME_ASC,
    ) -> Connection[ServiceCategoryType]:
        chosen = filter or ServiceCategoryFilter()
        where = catalog.listed(search=chosen.search, archived=chosen.archived)
        return await self.page(info, ServiceCategoryType, where=where, sort=NAME_ORDERS[sort], first=first, after=after)


@strawberry.type
class ServiceCategoryMutation(Resolver):
    @field(Permission.SERVICE_MANAGE, description="Adds a heading to the catalogue.")
    async def create_service_category(self, input: CreateServiceCategoryInput) -> ServiceCategoryType:
        return await self.create(ServiceCategoryType, given(input))

    @field(Permission.SERVICE_MANAGE, description="Changes a heading.")
    async def update_service_category(self, input: UpdateServiceCategoryInput) -> ServiceCategoryType:
        return await self.change(ServiceCategoryType, given(input))

    @field(Permission.SERVICE_MANAGE, description="Takes a heading out of use.")
    async def archive_service_category(self, input: ArchiveInput) -> ServiceCategoryType:
        return await self.archive(ServiceCategoryType, input.id, input.version)

    @field(Permission.SERVICE_MANAGE, description="Takes a heading back into use.")
    async def restore_service_category(self, input: ArchiveInput) -> ServiceCategoryType:
        return await self.restore(ServiceCategoryType, input.id, input.version)
