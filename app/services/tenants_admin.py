"""Clinics as those see them who run the system: their names, their status, and how many people work there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError

from app.db.migrations.running import SHARED, is_behind
from app.db.migrations.step import Site
from app.db.transactions import in_transaction
from app.errors import FieldError, InvalidState, NotFound, Unavailable, ValidationFailed
from app.services.changes import another_version
from app.services.onboarding import onboard, read_form
from app.services.placement.provisioning import Goal, shared_database
from app.services.platform_log import note_act, reason_of
from app.services.search import searched, starts_with
from app.tenancy.places import database_at, residence_of
from app.tenancy.scope import Database, Residence
from models import Membership, Tenant
from models.tenant import PlacementKind, TenantStatus
from models.user import MembershipStatus

ACTS: Mapping[TenantStatus, str] = {
    TenantStatus.ACTIVE: "tenant.activate",
    TenantStatus.INACTIVE: "tenant.deactivate",
    TenantStatus.SUSPENDED: "tenant.suspend",
}


def listed(
    *, status: TenantStatus | None, search: str | None, placement: PlacementKind | None = None
) -> dict[str, Any]:
    """The filter of the list of clinics. Raises VALIDATION_FAILED at `filter.search`."""
    where: dict[str, Any] = {"status": status.value} if status else {}
    if placement is not None:
        where["placement.kind"] = placement.value
    if wanted := searched(search):
        where["$or"] = [starts_with("subdomain", wanted.lower()), {"$expr": _begins("$name", wanted)}]
    return where


def _begins(column: str, text: str) -> dict[str, Any]:
    """Whether a column begins with a text in any case; what was typed stands as a literal, whatever it holds."""
    return {"$eq": [{"$indexOfCP": [{"$toLower": column}, {"$toLower": {"$literal": text}}]}, 0]}


async def set_status(tenant_id: ObjectId, version: int, status: TenantStatus, reason: str) -> None:
    """Lets a clinic answer on its host or not; every process follows the change.

    Raises NOT_FOUND at `input.tenantId`, CONFLICT at `input.version`, INVALID_STATE for a clinic that is on its way in
    or out, or has that status already.
    """
    said = reason_of(reason)

    async def work(session: AsyncClientSession) -> None:
        tenant = await Tenant.find_one({"_id": tenant_id}, session=session)
        if tenant is None:
            raise NotFound.at("input.tenantId")
        require_at_rest(tenant)
        if tenant.version != version:
            raise another_version()
        if tenant.status is status:
            raise InvalidState(f"This clinic is {status.value} already.")
        await note_act(ACTS[status], said, clinic_id=tenant_id, session=session)
        await Tenant.change(tenant_id, version, {"status": status.value}, filter=AT_REST, session=session)

    await in_transaction(work)


AT_REST: Mapping[str, Any] = {"deletion_started_at": None, "importing": None, "offboarding": None}
"""A clinic that is neither on its way in nor on its way out."""


def require_at_rest(tenant: Tenant) -> None:
    """Raises INVALID_STATE for a clinic that is being deleted or imported, or is to be deleted."""
    if tenant.deletion_started_at is not None:
        raise InvalidState("This clinic is being deleted.")
    if tenant.importing is not None:
        raise InvalidState("This clinic is being imported.")
    if tenant.offboarding is not None:
        raise InvalidState("This clinic is to be deleted: call that off first.")


async def open_tenant(body: Mapping[str, Any], goal: Goal, reason: str) -> Tenant:
    """Opens a clinic for whoever is to run it, in such a place. `body` is the onboarding form.

    Raises VALIDATION_FAILED at `input.…`.
    """
    said = reason_of(reason)

    async def noted(tenant: Tenant, session: AsyncClientSession) -> None:
        await note_act("tenant.open", said, clinic_id=tenant.key, session=session)

    try:
        return (await onboard(read_form(body), goal, also=noted)).tenant
    except ValidationFailed as error:
        raise ValidationFailed(fields=[FieldError(f"input.{one.path}", one.message) for one in error.fields]) from None


async def with_migrations(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of clinics with `up_to_date`: whether the database where each lives is as this version expects; None
    while its cluster cannot be reached."""
    shared = shared_database()
    asked = {"_id": {"$in": [row["_id"] for row in rows]}}
    known = {row["_id"]: row for row in await Tenant.rows(asked, projection=["subdomain", "placement"])}
    places = {residence_of(row): row for row in known.values()}
    looks = (_is_current(shared, residence, row) for residence, row in places.items())
    current = dict(zip(places, await asyncio.gather(*looks), strict=True))
    return [{**row, "up_to_date": current[residence_of(known[row["_id"]])]} for row in rows]


async def _is_current(shared: Database, residence: Residence, row: Mapping[str, Any]) -> bool | None:
    if not residence.is_own:
        return not await is_behind(Site(SHARED, shared, shared))
    try:
        return not await is_behind(Site(row["subdomain"], await database_at(shared, residence), shared, row["_id"]))
    except (Unavailable, PyMongoError):
        if residence.cluster is None:
            raise
        return None


async def with_members(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of clinics with `members`: how many people may enter each at present."""
    counts = await _members([row["_id"] for row in rows])
    return [{**row, "members": counts.get(row["_id"], 0)} for row in rows]


async def _members(clinic_ids: Sequence[ObjectId]) -> dict[ObjectId, int]:
    cursor = await Membership.guarded().aggregate(
        [
            {"$match": {"clinic_id": {"$in": list(clinic_ids)}, "status": MembershipStatus.ACTIVE.value}},
            {"$group": {"_id": "$clinic_id", "count": {"$sum": 1}}},
        ]
    )
    return {row["_id"]: row["count"] for row in await cursor.to_list()}
