"""Rooms of the clinic."""

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
from models import Room
from models.room import RoomKind
from resolvers.base import Resolver
from resolvers.values import NAME_ORDERS, ArchiveInput, NameSort, described

described(
    RoomKind,
    "What a room is for.",
    CONSULTATION="Seeing patients.",
    PROCEDURE="Procedures and treatments.",
    LABORATORY="Taking and testing samples.",
    IMAGING="X-ray, ultrasound and the like.",
    OTHER="Something else.",
)


@row_type("Room", model=Room, read=Permission.ROOM_READ, description="A room that can be booked.")
class RoomType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    name: str = stored(description="Name or number.")
    kind: RoomKind = stored(description="What it is for.")
    floor: str | None = stored(description="Where it is.")
    notes: str | None = stored(description="What to know about it.")
    archived_at: datetime | None = stored(description="When it was put out of use.")


@strawberry.input(description="Which rooms to list. All conditions must hold.")
class RoomFilter:
    search: str | None = strawberry.field(default=None, description="Beginning of the name.")
    kind: RoomKind | None = strawberry.field(default=None, description="Of this kind.")
    archived: bool = strawberry.field(default=False, description="Those archived instead of those in use.")


@strawberry.input(description="A new room.")
class CreateRoomInput:
    name: str = strawberry.field(description="Name or number; no other room in use has it.")
    kind: RoomKind = strawberry.field(default=RoomKind.CONSULTATION, description="What it is for.")
    floor: str | None = strawberry.field(default=None, description="Where it is.")
    notes: str | None = strawberry.field(default=None, description="What to know about it.")


@strawberry.input(description="Changes to a room. What is left out stays as it is; null clears it.")
class UpdateRoomInput:
    id: strawberry.ID = strawberry.field(description="The room.")
    version: int = strawberry.field(description="The version that the change is based on.")
    name: Maybe[str] = strawberry.field(description="Name or number; no other room in use has it.")
    kind: Maybe[RoomKind] = strawberry.field(description="What it is for.")
    floor: Maybe[str | None] = strawberry.field(description="Where it is.")
    notes: Maybe[str | None] = strawberry.field(description="What to know about it.")


@strawberry.type
class RoomQuery(Resolver):
    @field(Permission.ROOM_READ, description="One room.")
    async def room(self, info: Info, id: strawberry.ID) -> RoomType:
        return await self.one(info, RoomType, id)

    @field(Permission.ROOM_READ, description="The clinic's rooms.")
    async def rooms(
        self,
        info: Info,
        first: First = DEFAULT_PAGE,
        after: After = None,
        filter: RoomFilter | None = None,
        sort: NameSort = NameSort.NAME_ASC,
    ) -> Connection[RoomType]:
        chosen = filter or RoomFilter()
        where = catalog.listed(search=chosen.search, archived=chosen.archived, kind=chosen.kind)
        return await self.page(info, RoomType, where=where, sort=NAME_ORDERS[sort], first=first, after=after)


@strawberry.type
class RoomMutation(Resolver):
    @field(Permission.ROOM_MANAGE, description="Adds a room.")
    async def create_room(self, input: CreateRoomInput) -> RoomType:
        return await self.create(RoomType, given(input))

    @field(Permission.ROOM_MANAGE, description="Changes a room.")
    async def update_room(self, input: UpdateRoomInput) -> RoomType:
        return await self.change(RoomType, given(input))

    @field(Permission.ROOM_MANAGE, description="Takes a room out of use.")
    async def archive_room(self, input: ArchiveInput) -> RoomType:
        return await self.archive(RoomType, input.id, input.version)

    @field(Permission.ROOM_MANAGE, description="Takes a room back into use.")
    async def restore_room(self, input: ArchiveInput) -> RoomType:
        return await self.restore(RoomType, input.id, input.version)
