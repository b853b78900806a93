"""What transactions over two clusters have left to do at home: done once it is sure that nobody is at it any more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import bson
import structlog
from bson import ObjectId
from pymongo.errors import PyMongoError

from app.errors import AppError, InvalidState, NotFound
from app.services.placement.provisioning import shared_database
from app.tenancy.away import AwayDatabase
from app.tenancy.places import database_at, residence_of
from app.tenancy.spanning import COMMIT_LOG, Settled, doubt, settle
from models import Tenant
from models.cluster import MARKS_KEPT_DAYS
from models.values import now

Row = dict[str, Any]

SURE = timedelta(minutes=2)
"""No transaction is open for so long."""
TOO_OLD = timedelta(days=MARKS_KEPT_DAYS - 5)
"""After this time nothing tells any more whether it was done at home."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Doubt:
    """What is left to do and no longer fits: of which clinic, since when, why, and by which commands, without what
    these say."""

    id: ObjectId
    clinic: str
    at: Any
    why: str
    commands: tuple[str, ...]


async def follow_all() -> dict[str, int]:
    """Brings home after the clinics of other clusters; a cluster that is away holds up nobody."""
    counts = {"done": 0, "in_doubt": 0, "unreachable": 0}
    for tenant in await Tenant.rows({"placement.cluster": {"$ne": None}}, projection=["subdomain", "placement"]):
        try:
            done = await follow(tenant)
        except (AppError, PyMongoError) as error:
            counts["unreachable"] += 1
            log.warning("a cluster cannot be looked at", tenant=tenant["subdomain"], error=type(error).__name__)
            continue
        counts["done"] += done.count(Settled.DONE_NOW)
        counts["in_doubt"] += done.count(Settled.IN_DOUBT)
    return counts


async def follow(tenant: Row, *, sure: timedelta = SURE) -> list[Settled]:
    """Does at home what transactions with one clinic (its row) have left to do there for longer than `sure`."""
    place = await _place(tenant)
    if place is None:
        return []
    settled = []
    async for left in place[COMMIT_LOG].find({"at": {"$lte": now() - sure}, "doubt": None}, sort=[("_id", 1)]):
        if left["at"] < now() - TOO_OLD:
            await doubt(place, left["_id"], "it is too old to tell whether it was done")
            settled.append(Settled.IN_DOUBT)
            continue
        settled.append(await settle(shared_database(), place, left))
    return settled


async def require_none_left(tenant: Row) -> None:
    """Settles all that there is. Raises INVALID_STATE when something is in doubt, or is being settled just now."""
    await follow(tenant, sure=timedelta(0))
    place = await _place(tenant)
    if place is not None and (count := await place[COMMIT_LOG].count_documents({})):
        raise InvalidState(
            f"{count} transactions of {tenant['subdomain']} are not settled: see python -m scripts.clusters doubts."
        )


async def doubts(tenant: Row) -> list[Doubt]:
    """What somebody has to judge, of one clinic (its row)."""
    place = await _place(tenant)
    if place is None:
        return []
    rows = await place[COMMIT_LOG].find({"doubt": {"$ne": None}}, sort=[("_id", 1)]).to_list()
    return [Doubt(row["_id"], tenant["subdomain"], row["at"], row["doubt"], _commands(row)) for row in rows]


async def all_doubts() -> AsyncIterator[Doubt]:
    """Those of all clinics on other clusters. Raises `ClusterUnavailable` at one that is away."""
    for tenant in await Tenant.rows({"placement.cluster": {"$ne": None}}, projection=["subdomain", "placement"]):
        for one in await doubts(tenant):
            yield one


async def judge(subdomain: str, id: ObjectId, *, again: bool) -> Settled | None:
    """Tries once more what was in doubt or, without `again`, takes the note away undone. Raises NOT_FOUND."""
    found = await Tenant.rows({"subdomain": subdomain}, projection=["subdomain", "placement"])
    place = await _place(found[0]) if found else None
    left = await place[COMMIT_LOG].find_one({"_id": id, "doubt": {"$ne": None}}) if place is not None else None
    if place is None or left is None:
        raise NotFound(f"There is nothing in doubt of that id at {subdomain}.")
    if again:
        return await settle(shared_database(), place, left)
    await place[COMMIT_LOG].delete_one({"_id": id})
    return None


async def _place(tenant: Row) -> AwayDatabase | None:
    """The clinic's database, if it is on another cluster."""
    place = await database_at(shared_database(), residence_of(tenant))
    return place if isinstance(place, AwayDatabase) else None


def _commands(left: Row) -> tuple[str, ...]:
    commands = [bson.decode(one["command"]) for one in left["writes"]]
    return tuple(f"{(name := next(iter(one)))} on {one[name]}" for one in commands)
