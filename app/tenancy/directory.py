"""Finds the clinic of a subdomain: a small cache that every process drops when a tenant changes."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog
from bson import ObjectId
from pymongo.errors import PyMongoError

from app.errors import TenantNotFound
from app.plans import GRACE, PLANS, PlanName, Standing, plans_are_required
from app.shared_commands import SharedCommands
from app.tasks import end
from app.tenancy.clusters import clusters
from app.tenancy.places import COLUMNS, database_at, standings
from app.tenancy.scope import Database, Residence, Scope, SignInPolicy, TenantId, TenantRef
from models import Tenant
from models.tenant import SubscriptionStatus, TenantStatus

log = structlog.get_logger(__name__)

CACHE_SIZE = 2_000
KEPT_SECONDS = 30.0
RETRY_SECONDS = 1.0


LIVE_COLUMNS = {
    "status": 1,
    "security": 1,
    "catalog_version": 1,
    "subscription.plan": 1,
    "subscription.status": 1,
    "subscription.expires_at": 1,
    **COLUMNS,
}
"""What of a stored clinic decides about those who are signed in there, about what may be shown from memory, and about
where it is."""


def ref_of(tenant: Tenant) -> TenantRef:
    """What a scope carries of a tenant."""
    return TenantRef(
        id=TenantId(tenant.key),
        subdomain=tenant.subdomain,
        name=tenant.display_name or tenant.name,
        timezone=tenant.settings.timezone,
        currency=tenant.settings.currency,
        policy=_policy_of(tenant.security.model_dump()),
        residence=Residence(tenant.placement.database, tenant.placement.cluster),
        standing=standing_of(tenant.subscription.model_dump(include={"plan", "status", "expires_at"})),
    )


def _policy_of(security: Mapping[str, Any]) -> SignInPolicy:
    """A clinic's policy, from its stored document or a model's values."""
    return SignInPolicy(
        second_factor=security.get("second_factor_required", False),
        session_hours=security.get("session_hours"),
        idle_minutes=security.get("idle_minutes"),
        email_domains=tuple(security.get("email_domains", ())),
    )


def standing_of(subscription: Mapping[str, Any]) -> Standing:
    """What a clinic has by its stored subscription. Its end is judged by its dates, whether or not a job noted it."""
    if not plans_are_required():
        return Standing()
    plan = PLANS[PlanName(subscription.get("plan", PlanName.TRIAL))]
    status = SubscriptionStatus(subscription.get("status", SubscriptionStatus.TRIAL))
    ends: datetime | None = subscription.get("expires_at")
    if status is SubscriptionStatus.EXPIRED:
        return Standing(plan, _LONG_AGO)
    if ends is None:
        return Standing(plan)
    graced = status in (SubscriptionStatus.ACTIVE, SubscriptionStatus.PAST_DUE)
    return Standing(plan, min(ends, _LATEST) + GRACE if graced else ends)


_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC) - GRACE


def as_it_is(clinic: TenantRef, row: Mapping[str, Any] | None) -> TenantRef:
    """The clinic with the policy, the plan, the catalog's version and the residence of its row, which was just read
    with `LIVE_COLUMNS`: the directory may hear of a change some milliseconds after whoever made it was answered.

    Raises TENANT_NOT_FOUND when the clinic is not active (any more).
    """
    if row is None or row.get("status") != TenantStatus.ACTIVE:
        raise TenantNotFound
    policy = _policy_of(row.get("security", {}))
    standing = standing_of(row.get("subscription", {}))
    residence = standings.confirm(clinic.id, row).residence
    version = row.get("catalog_version", 0)
    return replace(clinic, policy=policy, standing=standing, residence=residence, catalog_version=version)


async def at_clinic(scope: Scope, clinic: TenantRef | None) -> Scope:
    """The scope at the clinic as it was just read, and at its database if that is another one by now. Raises
    `ClusterUnavailable`."""
    before = scope.tenant.residence if scope.tenant is not None else None
    stays = clinic is not None and clinic.residence == before
    if clinic is not None and not stays:
        await clusters.ready(clinic.residence)
    return replace(scope, tenant=clinic, database=scope.database if stays else None)


async def live_clinic(clinic: TenantRef) -> TenantRef:
    """The clinic as it is stored at this moment; see `as_it_is`. Read together with all clinics asked for meanwhile."""
    return as_it_is(clinic, await _tenants.get(clinic.id))


async def _read_tenants(_: Any, ids: Sequence[ObjectId]) -> Mapping[ObjectId, dict[str, Any]]:
    rows = await Tenant.rows({"_id": {"$in": list(ids)}}, projection=LIVE_COLUMNS)
    return {row["_id"]: row for row in rows}


_tenants: SharedCommands[ObjectId, dict[str, Any]] = SharedCommands(_read_tenants)


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

    async def database_for(self, tenant: TenantRef) -> Database:
        """Where the clinic's documents live. Raises `ClusterUnavailable`."""
        return await database_at(self._database, tenant.residence)

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
            await end(self._task)
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
