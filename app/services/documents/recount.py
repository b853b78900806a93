"""Whether the room that is counted is the room that is taken: counted anew from what is stored, and put right."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import in_turn
from app.services.changes import storable
from app.services.documents.quota import TURN
from models import DocumentContent, StorageUsage
from models.document import Room, RoomByKind, StorageKind

KIND = {"$ifNull": ["$kind", StorageKind.DOCUMENTS.value]}
"""The kind of a content; those from before there were kinds are the clinic's papers."""
BY_KIND = [{"$group": {"_id": KIND, "bytes": {"$sum": "$size"}, "files": {"$sum": 1}}}]
"""Of contents: the room of each kind."""


@dataclass(frozen=True, slots=True)
class Recount:
    """What was counted for the clinic and what it comes to: `used` in bytes, uploads under way among them."""

    counted: RoomByKind
    counted_used: int
    found: RoomByKind
    found_used: int

    @property
    def differs(self) -> bool:
        return (self.counted, self.counted_used) != (self.found, self.found_used)


async def recount(*, repair: bool) -> Recount:
    """Counts the room of the clinic in scope from its contents and, with `repair`, puts the count right.

    In one transaction, and all that changes contents changes the count in theirs: uploads and erasures that come in
    between make this one start anew, and nothing of them is lost.
    """

    async def work(session: AsyncClientSession) -> Recount:
        usage = await StorageUsage.find_one({}, session=session)
        found = await _found(session)
        stored = usage or StorageUsage(id=ObjectId())
        reserved = sum(one.size for one in stored.reserved)
        told = Recount(stored.kept, stored.used, found, reserved + total(found).bytes)
        if repair and told.differs:
            if usage is None:
                await stored.insert(session=session)
            right = {"kept": storable(found), "used": told.found_used}
            await StorageUsage.guarded().update_one({"_id": stored.id}, {"$set": right}, session=session)
        return told

    return await in_turn(TURN, work)


async def count_alone() -> None:
    """Counts the room of a clinic in which nobody does anything else. Without a transaction: one that a killed process
    leaves open would keep the next run waiting for a minute."""
    found = await _found(None)
    with suppress(DuplicateKeyError):
        await StorageUsage(id=ObjectId()).insert()
    right = {"kept": storable(found), "used": total(found).bytes, "reserved": []}
    await StorageUsage.guarded().update_one({}, {"$set": right})


async def _found(session: AsyncClientSession | None) -> RoomByKind:
    cursor = await DocumentContent.guarded().aggregate(BY_KIND, session=session)
    return by_kind({row["_id"]: Room(bytes=row["bytes"], files=row["files"]) for row in await cursor.to_list()})


def by_kind(rooms: dict[str, Room]) -> RoomByKind:
    """The rooms that are there, by the names of their kinds; nothing for the others."""
    return RoomByKind(**{kind.value: rooms.get(kind.value, Room()) for kind in StorageKind})


def total(kept: RoomByKind) -> Room:
    """All kinds together."""
    rooms = [getattr(kept, kind.value) for kind in StorageKind]
    return Room(bytes=sum(one.bytes for one in rooms), files=sum(one.files for one in rooms))
