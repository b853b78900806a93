"""Finds the clinic of a subdomain: a small cache that every process drops when a tenant changes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from typing import Any

import structlog
from pymongo.errors import PyMongoError

from app.tenancy.scope import Database, TenantId, TenantRef
from models import Tenant
from models.tenant import TenantStatus

log = structlog.get_logger(__name__)

CACHE_SIZE = 2_000
KEPT_SECONDS = 30.0
RETRY_SECONDS = 1.0


def ref_of(tenant: Tenant) -> TenantRef:
    """What a scope carries of a tenant."""
    return TenantRef(
        id=TenantId(tenant.key),
        subdomain=tenant.subdomain,
        name=tenant.display_name or tenant.name,
        timezone=tenant.settings.timezone,
        currency=tenant.settings.currency,
    )


class Directory:
    """Active clinics by subdomain. Answers from the cache only while the watch on `tenants` is alive."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cache: OrderedDict[str, tuple[float, TenantRef | None]] = OrderedDict()
        self._generation = 0
        self._watching = False
        self._task: asyncio.Task[None] | None = None

    async def by_subdomain(self, subdomain: str) -> TenantRef | None:
        """The active clinic of that name, or None for one that is unknown, inactive or suspended."""
        kept = self._cache.get(subdomain)
        if kept is not None and self._watching and kept[0] > time.monotonic():
            return kept[1]
        generation = self._generation
        tenant = await Tenant.find_one({"subdomain": subdomain, "status": TenantStatus.ACTIVE.value})
        found = ref_of(tenant) if tenant else None
        if generation == self._generation:
            self._keep(subdomain, found)
        return found

    def database_for(self, tenant: TenantRef) -> Database:
        """Where the clinic's documents live."""
        return self._database

    def _keep(self, subdomain: str, found: TenantRef | None) -> None:
        self._cache[subdomain] = (time.monotonic() + KEPT_SECONDS, found)
        self._cache.move_to_end(subdomain)
        if len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)

    def forget(self) -> None:
        """Drops everything known; reads that are under way keep their answer to themselves."""
        self._generation += 1
        self._cache.clear()

    async def start(self) -> None:
        """Begins to watch for changed tenants."""
        self._task = asyncio.create_task(self._watch(), name="tenant-directory")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _watch(self) -> None:
        while True:
            try:
                await self._follow_changes()
            except PyMongoError as error:
                log.warning("the watch on tenants broke; reading them one by one", error=type(error).__name__)
            self._watching = False
            self.forget()
            await asyncio.sleep(RETRY_SECONDS)

    async def _follow_changes(self) -> None:
        pipeline: list[dict[str, Any]] = [{"$project": {"_id": 1}}]
        async with await self._database["tenants"].watch(pipeline, max_await_time_ms=1_000) as stream:
            self.forget()
            self._watching = True
            while stream.alive:
                if await stream.try_next() is not None:
                    self.forget()
