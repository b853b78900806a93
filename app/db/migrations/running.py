"""Runs what is to be done in the shared database and in each clinic's own: some at a time, each by itself.

    reports = await migrate(client, settings, parallel=4)

What a database has behind it is recorded in it, so a run that was killed is finished by running it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pymongo
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from app.config import Settings
from app.db.migrations import MIGRATIONS
from app.db.migrations.lease import Busy, held
from app.db.migrations.step import Migration, Order, Site
from app.db.schema import STATE, SchemaError, apply_schema
from app.errors import AppError
from app.tenancy.away import full_name
from app.tenancy.places import database_at, residence_of
from app.tenancy.scope import POOL, Database, Residence, Scope, open_scope
from models.tenant import Tenant
from models.values import now

SHARED = "shared"
"""By what name the shared database is chosen; the others go by their clinics' subdomains."""
PARALLEL = 4
BUSY = "another run is at work on it"


@dataclass(slots=True)
class SiteReport:
    """What was done in one database, or with a dry run would be: steps by name with how many documents they changed,
    and changes of the schema. `failed` says what ended it."""

    site: str
    database: str
    steps: dict[str, int] = field(default_factory=dict)
    schema: list[str] = field(default_factory=list)
    failed: str | None = None
    seconds: float = 0.0

    @property
    def is_behind(self) -> bool:
        """Whether there was anything to do."""
        return bool(self.steps or self.schema or self.failed)


Done = Callable[[SiteReport], None]


@dataclass(frozen=True, slots=True)
class Place:
    """A database to be brought up to date: the shared one, or the one of its own that a clinic has, or will have once
    it has moved."""

    name: str
    shared: Database
    residence: Residence = POOL
    clinic: ObjectId | None = None

    async def site(self) -> Site:
        """Raises `ClusterUnavailable` for one on a cluster that cannot be used."""
        return Site(self.name, await database_at(self.shared, self.residence), self.shared, self.clinic)


async def all_places(client: AsyncMongoClient[dict[str, Any]], settings: Settings) -> list[Place]:
    """The shared database, then those of clinics by subdomain, the targets of moves under way included."""
    shared = client[settings.mongodb_database]
    found = [Place(SHARED, shared)]
    wanted = {"$or": [{"placement.database": {"$ne": None}}, {"move.target.database": {"$ne": None}}]}
    columns = {"subdomain": 1, "placement": 1, "move.target": 1}
    async for row in shared[Tenant.guarded_name()].find(wanted, columns).sort("subdomain", 1):
        places = {residence_of(row), residence_of({"placement": (row.get("move") or {}).get("target")})}
        own = [residence for residence in sorted(places, key=str) if residence.is_own]
        found += [Place(row["subdomain"], shared, residence, row["_id"]) for residence in own]
    return found


async def migrate(
    client: AsyncMongoClient[dict[str, Any]],
    settings: Settings,
    *,
    only: Collection[str] = (),
    parallel: int = PARALLEL,
    dry: bool = False,
    begun: Callable[[int], None] = lambda _: None,
    done: Done = lambda _: None,
) -> list[SiteReport]:
    """Brings the databases up to date, the shared one first, `parallel` of the others at a time; one that fails stops
    no other.

    `only` names sites. `dry` changes nothing and tells what there is to do. `begun` is told how many databases there
    are, `done` of each when it is dealt with.
    """
    with _past_the_guard():
        chosen = [place for place in await all_places(client, settings) if not only or place.name in only]
    begun(len(chosen))
    free = asyncio.Semaphore(parallel)

    async def one(place: Place) -> SiteReport:
        async with free:
            try:
                report = await migrate_site(await place.site(), dry=dry)
            except AppError as error:
                report = SiteReport(place.name, place.residence.database or "", failed=error.message)
            done(report)
            return report

    first, others = chosen[:1], chosen[1:]
    return [*[await one(place) for place in first], *await asyncio.gather(*(one(place) for place in others))]


async def migrate_site(site: Site, *, dry: bool = False) -> SiteReport:
    """Brings one database up to date; what breaks it is in the report."""
    report, began = SiteReport(site.name, full_name(site.database)), time.monotonic()
    try:
        with _past_the_guard(), pymongo.timeout(None):
            if dry:
                await _look(site, report)
            elif await is_behind(site):
                async with held(site.database, STATE):
                    await _run(site, report)
    except Busy:
        report.failed = BUSY
    except (PyMongoError, SchemaError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        report.failed = f"{type(error).__name__}: {error}"[:500]
    report.seconds = time.monotonic() - began
    return report


def _past_the_guard() -> contextlib.AbstractContextManager[Scope]:
    return open_scope(Scope(request_id=uuid4().hex, system_reason="migrations"))


async def is_behind(site: Site) -> bool:
    """Whether the database lacks a step or differs from the models: two reads."""
    if await due(site):
        return True
    report = await apply_schema(site.database, tenant_id=site.clinic, look_only=True)
    return not report.known


async def due(site: Site) -> list[Migration]:
    """The steps that the database does not have behind it, by number."""
    ended = {row["_id"] async for row in site.database[STATE].find({"ended_at": {"$ne": None}}, {"_id": 1})}
    return [one for one in MIGRATIONS if one.concerns(site) and one.number not in ended]


async def _run(site: Site, report: SiteReport) -> None:
    steps = await due(site)
    for step in (one for one in steps if one.order is Order.BEFORE_SCHEMA):
        await _step(site, step, report)
    report.schema = (await apply_schema(site.database, tenant_id=site.clinic)).changes
    for step in (one for one in steps if one.order is Order.AFTER_SCHEMA):
        await _step(site, step, report)


async def _step(site: Site, step: Migration, report: SiteReport) -> None:
    state = site.database[STATE]
    begun = {"name": step.name, "started_at": now(), "ended_at": None}
    await state.update_one({"_id": step.number}, {"$set": begun, "$inc": {"tries": 1}}, upsert=True)
    changed = await step.run(site)
    report.steps[step.name] = changed
    await state.update_one({"_id": step.number}, {"$set": {"ended_at": now(), "changed": changed}})


async def _look(site: Site, report: SiteReport) -> None:
    for step in await due(site):
        report.steps[step.name] = await step.pending(site)
    found = await apply_schema(site.database, tenant_id=site.clinic, check=True)
    report.schema = [str(one) for one in found.drift if one.problem != "unexpected"]


async def shared_is_migrated(database: Database) -> bool:
    """Whether the shared database has every step behind it: one read."""
    return not await due(Site(SHARED, database, database))


def failed_of(reports: Sequence[SiteReport]) -> list[SiteReport]:
    """Those that ended with a failure."""
    return [one for one in reports if one.failed is not None]
