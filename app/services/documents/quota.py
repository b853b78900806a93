"""How much room a clinic's files take: reserved before an upload, in one atomic step, and given back when it fails."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.errors import QuotaExceeded, Unavailable
from app.services.changes import Row, storable
from models import StorageUsage
from models.document import Reservation, Room, StorageKind
from models.values import now

LASTS = timedelta(minutes=15)
"""An upload takes less time than this, or is cut off."""
NAME_BYTES = 32
AHEAD = 1024 * 1024
"""So much is reserved at once for an upload that does not say how long it is."""
MOST_AT_ONCE = 64
"""Uploads of one clinic that may be under way."""
TURN = "storage"
"""Transactions that change the clinic's one document take turns under this name, as far as they are of one process."""


async def reserve(size: int, limit: int) -> Reservation:
    """Takes room for `size` bytes, if that leaves the clinic within `limit` bytes; however many ask at once.

    Raises QUOTA_EXCEEDED, or UNAVAILABLE when too many uploads are under way.
    """
    await _make()
    taken = Reservation(id=secrets.token_hex(NAME_BYTES), size=size, until=now() + LASTS)
    asked = {"used": {"$lte": limit - size}, f"reserved.{MOST_AT_ONCE - 1}": {"$exists": False}}
    change = {"$inc": {"used": size}, "$push": {"reserved": storable(taken)}}
    if (await StorageUsage.guarded().update_one(asked, change)).matched_count:
        return taken
    if await StorageUsage.guarded().count_documents({"used": {"$lte": limit - size}}):
        raise Unavailable("Too many uploads are under way. Try again shortly.")
    raise _exceeded()


async def grow(taken: Reservation, least: int, limit: int) -> None:
    """Takes room for `least` bytes more, and for some to come where there is so much. Raises QUOTA_EXCEEDED."""
    for more in (max(least, AHEAD), least):
        asked = {"reserved.id": taken.id, "used": {"$lte": limit - more}}
        change = {"$inc": {"used": more, "reserved.$.size": more}}
        if (await StorageUsage.guarded().update_one(asked, change)).matched_count:
            taken.size += more
            return
    raise _exceeded()


def _exceeded() -> QuotaExceeded:
    return QuotaExceeded("The clinic has used up the room that it has for files.")


async def settle(taken: Reservation, size: int, kind: StorageKind, session: AsyncClientSession) -> None:
    """Makes `size` bytes of a reservation last as a file of that kind, in the transaction that stores what they are
    of; the rest goes back.

    Raises UNAVAILABLE when the reservation was given back meanwhile, because the upload took too long.
    """
    change = {
        "$inc": {"used": size - taken.size, **_counted(kind, size, 1)},
        "$pull": {"reserved": {"id": taken.id}},
    }
    done = await StorageUsage.guarded().update_one({"reserved.id": taken.id}, change, session=session)
    if not done.matched_count:
        raise Unavailable("The upload took too long. Try again.")


async def release(taken: Reservation, paths: Sequence[str]) -> bool:
    """Gives all of a reservation back and dooms its files, in one step. False when it is none any more: it was settled,
    or given back before, and its files are none of ours."""
    change: Row = {
        "$inc": {"used": -taken.size},
        "$pull": {"reserved": {"id": taken.id}},
        "$push": {"doomed": {"$each": list(paths)}},
    }
    return bool((await StorageUsage.guarded().update_one({"reserved.id": taken.id}, change)).matched_count)


def _counted(kind: StorageKind, size: int, files: int) -> Row:
    return {f"kept.{kind.value}.bytes": size, f"kept.{kind.value}.files": files}


async def usage() -> StorageUsage:
    """What the clinic's files take: `used` bytes, uploads under way among them; `kept` by kind."""
    found: StorageUsage | None = await StorageUsage.find_one({})
    return found or StorageUsage()


async def doom(paths: Sequence[str], room: Mapping[StorageKind, Room], session: AsyncClientSession | None) -> None:
    """Notes files that must go once the transaction is committed, and gives back the room that they took."""
    freed: Row = {"used": -sum(one.bytes for one in room.values())}
    for kind, one in room.items():
        freed |= _counted(kind, -one.bytes, -one.files)
    change = {"$inc": freed, "$push": {"doomed": {"$each": list(paths)}}}
    await StorageUsage.guarded().update_one({}, change, session=session)


async def overdue() -> list[Reservation]:
    """Reservations whose uploads must be dead."""
    rows = await StorageUsage.rows({}, projection={"reserved": 1}, limit=1)
    found = [Reservation(**one) for row in rows for one in row.get("reserved") or ()]
    return [one for one in found if one.until < now()]


async def doomed() -> list[str]:
    """Files that must go."""
    rows = await StorageUsage.rows({}, projection={"doomed": 1}, limit=1)
    return [path for row in rows for path in row.get("doomed") or ()]


async def gone(paths: Sequence[str]) -> None:
    """Forgets files that have gone."""
    await StorageUsage.guarded().update_one({}, {"$pull": {"doomed": {"$in": list(paths)}}})


async def _make() -> None:
    """The clinic's one document, at its first upload."""
    if await StorageUsage.rows({}, projection={"_id": 1}, limit=1):
        return
    try:
        await StorageUsage(id=ObjectId()).insert()
    except DuplicateKeyError:  # another first upload was faster
        return
