"""What belongs to a clinic, and so what its deletion would take away."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pymongo
from bson import ObjectId

from app.services.placement.provisioning import database_of
from app.services.platform_places import platform_places
from app.tenancy.crossing import system_scope, tenant_scope
from app.tenancy.kinds import SHARED_FIELD
from models import SHARED_DOCUMENTS, TENANT_DOCUMENTS, Membership, Tenant, User
from models.references import WhenGone


@dataclass(frozen=True, slots=True)
class Plan:
    """What a deletion would do. `gone` counts documents per collection; `shared_stay` those that other clinics keep.

    `people_stay` are those who work here and have a place elsewhere.
    """

    tenant: Tenant
    gone: dict[str, int]
    shared_stay: dict[str, int]
    people_stay: int

    @property
    def total(self) -> int:
        return sum(self.gone.values()) + sum(self.shared_stay.values())


async def plan_deletion(tenant: Tenant) -> Plan:
    """Counts what belongs to the clinic. Changes nothing."""
    clinic = tenant.key
    with pymongo.timeout(None):
        gone = {**await _count_platform(clinic), **await _count_own(tenant)}
        alone, stay = await _count_shared(tenant)
        people = {row["user_id"] for row in await Membership.rows({"clinic_id": clinic}, projection={"user_id": 1})}
        leaving = await without_another_hold(people, clinic)
    return Plan(tenant, {**gone, **alone, User.guarded_name(): len(leaving)}, stay, len(people - leaving))


async def _count_own(tenant: Tenant) -> dict[str, int]:
    async with tenant_scope(tenant):
        return {model.guarded_name(): await model.guarded().count_documents({}) for model in TENANT_DOCUMENTS}


async def _count_shared(tenant: Tenant) -> tuple[dict[str, int], dict[str, int]]:
    """Documents that the clinic shares with nobody, and those that it does share, per collection."""
    alone: dict[str, int] = {}
    stay: dict[str, int] = {}
    async with system_scope(f"plan the deletion of {tenant.subdomain}") as system:
        place = await database_of(tenant.placement)
        for model in SHARED_DOCUMENTS:
            name, stored = model.guarded_name(), system.raw(model, database=place)
            alone[name] = await stored.count_documents({SHARED_FIELD: [tenant.key]})
            stay[name] = await stored.count_documents({SHARED_FIELD: tenant.key}) - alone[name]
    return alone, stay


async def _count_platform(clinic: ObjectId) -> dict[str, int]:
    places = platform_places("tenants", WhenGone.DELETE)
    return {
        model.guarded_name(): await model.guarded().count_documents(any_of(paths, clinic))
        for model, paths in places.items()
    }


def any_of(paths: Iterable[str], id: Any) -> dict[str, Any]:
    """Filter: the id stands at one of the paths."""
    return {"$or": [{path: id} for path in paths]}


async def without_another_hold(people: Iterable[ObjectId], clinic: ObjectId) -> set[ObjectId]:
    """Those of the people whom nothing holds any more once the clinic is gone: no other clinic, no other office."""
    leaving = set(people)
    going = platform_places("tenants", WhenGone.DELETE)
    for model, paths in platform_places("users", WhenGone.HOLD).items():
        elsewhere = {"$nor": [{path: clinic} for path in going[model]]} if model in going else {}
        for path in paths:
            held = {path: {"$in": list(leaving)}, **elsewhere}
            leaving -= set(await model.guarded().distinct(path, held))
    return leaving
