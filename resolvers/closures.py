"""The days on which the clinic is closed."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, row_type, stored
from app.graphql.inputs import given, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services import availability, closures
from models import Closure
from resolvers.base import Resolver, shown


def _first(row: Row) -> date:
    return date.fromisoformat(row["first_day"])


def _last(row: Row) -> date:
    return date.fromisoformat(row["last_day"])


@row_type(
    "Closure",
    model=Closure,
    read=Permission.AVAILABILITY_READ,
    description="Days on which the clinic is closed: a holiday, a move, a training.",
)
class ClosureType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when deleting.")
    name: str = stored(description="Why.")
    first_day: date = computed("first_day", by=_first, description="The first of the clinic's days.")
    last_day: date = computed("last_day", by=_last, description="The last one, on which it is still closed.")


@strawberry.input(description="Days on which the clinic is closed.")
class CreateClosureInput:
    name: str = strawberry.field(description="Why, such as the holiday's name.")
    first_day: date = strawberry.field(description="The first day.")
    last_day: date | None = strawberry.field(default=None, description="The last one; without it, the first.")


@strawberry.input(description="Which closure to delete.")
class DeleteClosureInput:
    id: strawberry.ID = strawberry.field(description="The closure.")
    version: int = strawberry.field(description="The version that the change is based on.")


@strawberry.type
class ClosureQuery(Resolver):
    @field(Permission.AVAILABILITY_READ, description="The clinic's closures on a span of at most 732 days.")
    async def closures(
        self,
        info: Info,
        from_: Annotated[date, strawberry.argument(name="from", description="The first of the clinic's days.")],
        to: Annotated[date, strawberry.argument(description="The last of the clinic's days, included.")],
        first: First = DEFAULT_PAGE,
        after: After = None,
    ) -> Connection[ClosureType]:
        order = [("last_day", 1), ("first_day", 1), ("_id", 1)]
        where = closures.between(from_, to)
        return shown(await self.page(info, ClosureType, where=where, sort=order, first=first, after=after))


@strawberry.type
class ClosureMutation(Resolver):
    @field(
        Permission.SETTINGS_MANAGE,
        description="Closes the clinic on some days: nothing can be booked then. What is booked stays booked.",
    )
    async def create_closure(self, info: Info, input: CreateClosureInput) -> ClosureType:
        return shown(await closures.add(given(input)))

    @field(Permission.SETTINGS_MANAGE, description="Deletes a closure: the clinic is open then.")
    async def delete_closure(self, info: Info, input: DeleteClosureInput) -> ClosureType:
        return shown(await availability.delete(Closure, object_id(input.id, "input.id"), input.version))
