"""What the clinic offers, how long it takes and what it costs."""

from __future__ import annotations

from datetime import datetime

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
from app.services.settings import require_own_currency
from models import Service
from resolvers.base import Resolver
from resolvers.service_categories import ServiceCategoryType
from resolvers.staff import SpecializationType
from resolvers.values import NAME_ORDERS, ArchiveInput, MoneyInput, MoneyType, NameSort


@row_type("Service", model=Service, read=Permission.SERVICE_READ, description="An entry of the catalogue.")
class ServiceType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    name: str = stored(description="Name.")
    code: str | None = stored(description="The clinic's code for it.")
    description: str | None = stored(description="What it includes.")
    duration_minutes: int = stored(description="How long it takes: a multiple of five.")
    price: MoneyType = stored(description="What it costs.")
    specialization: SpecializationType | None = related(
        lambda: SpecializationType, key="specialization_id", description="The field of medicine it belongs to."
    )
    category: ServiceCategoryType | None = related(
        lambda: ServiceCategoryType, key="category_id", description="The heading under which it stands."
    )
    archived_at: datetime | None = stored(description="When it was taken off the catalogue.")


@strawberry.input(description="Which services to list. All conditions must hold.")
class ServiceFilter:
    search: str | None = strawberry.field(default=None, description="Beginning of the name.")
    specialization_id: strawberry.ID | None = strawberry.field(default=None, description="Of this field of medicine.")
    category_id: strawberry.ID | None = strawberry.field(default=None, description="Under this heading.")
    archived: bool = strawberry.field(default=False, description="Those archived instead of those offered.")


@strawberry.input(description="A new entry of the catalogue.")
class CreateServiceInput:
    name: str = strawberry.field(description="Name; no other service on offer has it.")
    duration_minutes: int = strawberry.field(description="How long it takes: a multiple of five, up to 720.")
    price: MoneyInput = strawberry.field(description="What it costs, in the clinic's currency.")
    code: str | None = strawberry.field(default=None, description="The clinic's code for it.")
    description: str | None = strawberry.field(default=None, description="What it includes.")
    specialization_id: strawberry.ID | None = strawberry.field(
        default=None, description="The field of medicine it belongs to."
    )
    category_id: strawberry.ID | None = strawberry.field(default=None, description="The heading under which it stands.")


@strawberry.input(description="Changes to a service. What is left out stays as it is; null clears it.")
class UpdateServiceInput:
    id: strawberry.ID = strawberry.field(description="The service.")
    version: int = strawberry.field(description="The version that the change is based on.")
    name: Maybe[str] = strawberry.field(description="Name; no other service on offer has it.")
    duration_minutes: Maybe[int] = strawberry.field(description="How long it takes: a multiple of five, up to 720.")
    price: Maybe[MoneyInput] = strawberry.field(description="What it costs, in the clinic's currency.")
    code: Maybe[str | None] = strawberry.field(description="The clinic's code for it.")
    description: Maybe[str | None] = strawberry.field(description="What it includes.")
    specialization_id: Maybe[strawberry.ID | None] = strawberry.field(
        description="The field of medicine it belongs to."
    )
    category_id: Maybe[strawberry.ID | None] = strawberry.field(description="The heading under which it stands.")


@strawberry.type
class ServiceQuery(Resolver):
    @field(Permission.SERVICE_READ, description="One service.")
    async def service(self, info: Info, id: strawberry.ID) -> ServiceType:
        return await self.one(info, ServiceType, id)

    @field(Permission.SERVICE_READ, description="The clinic's catalogue of services.")
    async def services(
        self,
        info: Info,
        first: First = DEFAULT_PAGE,
        after: After = None,
        filter: ServiceFilter | None = None,
        sort: NameSort = NameSort.NAME_ASC,
    ) -> Connection[ServiceType]:
        chosen = filter or ServiceFilter()
        of, under = chosen.specialization_id, chosen.category_id
        where = catalog.listed(
            search=chosen.search,
            archived=chosen.archived,
            specialization_id=object_id(of, "filter.specializationId") if of is not None else None,
            category_id=object_id(under, "filter.categoryId") if under is not None else None,
        )
        return await self.page(info, ServiceType, where=where, sort=NAME_ORDERS[sort], first=first, after=after)


@strawberry.type
class ServiceMutation(Resolver):
    @field(Permission.SERVICE_MANAGE, description="Adds a service to the catalogue.")
    async def create_service(self, input: CreateServiceInput) -> ServiceType:
        values = ids(given(input), "specialization_id", "category_id")
        await require_own_currency(values["price"]["currency"], at="input.price.currency")
        return await self.create(ServiceType, values)

    @field(Permission.SERVICE_MANAGE, description="Changes a service.")
    async def update_service(self, input: UpdateServiceInput) -> ServiceType:
        changes = ids(given(input), "specialization_id", "category_id")
        if "price" in changes:
            await require_own_currency(changes["price"]["currency"], at="input.price.currency")
        return await self.change(ServiceType, changes)

    @field(Permission.SERVICE_MANAGE, description="Takes a service off the catalogue.")
    async def archive_service(self, input: ArchiveInput) -> ServiceType:
        return await self.archive(ServiceType, input.id, input.version)

    @field(Permission.SERVICE_MANAGE, description="Puts a service back on the catalogue.")
    async def restore_service(self, input: ArchiveInput) -> ServiceType:
        return await self.restore(ServiceType, input.id, input.version)
