"""Deletes a clinic for good: everything that is its own, and nothing that is anybody else's.

The models say what belongs to a clinic: the registry of documents, and the marked references of the documents above
the clinics. Every step can be repeated, so a deletion that was interrupted is finished by starting it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import pymongo
from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from app.errors import Conflict
from app.services.audit_chain import drain as drain_audit
from app.services.audit_remnants import keep_remnants
from app.services.clinics import clinic_named, deleted_already
from app.services.deletion_plan import any_of, plan_deletion, without_another_hold
from app.services.documents.removal import count_files, delete_all
from app.services.moving.folders import Lock
from app.services.placement import commits
from app.services.placement.leaving import purge_elsewhere
from app.services.placement.provisioning import drop
from app.services.platform_log import note_work
from app.services.platform_places import platform_places
from app.services.removal_notes import note_clinic
from app.services.subscription import settling
from app.services.tenant_export import export_since, export_tenant
from app.services.tenant_traces import find_traces
from app.services.watching import Report, Watching
from app.tenancy.crossing import tenant_scope
from models import SHARED_DOCUMENTS, TENANT_DOCUMENTS, Membership, Tenant, Tombstone, User
from models.base import SharedDocument, TenantDocument
from models.references import WhenGone
from models.tenant import MoveStage, TenantStatus
from models.values import now

BATCH = 1_000
PASSES = 5
SETTLE = timedelta(seconds=15)
"""Requests that were under way when the clinic was closed have ended after this time."""


class TracesLeft(Conflict):
    """Something of the clinic is still stored, so it stays suspended. The text says what and where."""


class Stage(StrEnum):
    """What a deletion is busy with, in words for whoever watches."""

    EXPORT = "Exporting"
    WAIT = "Waiting for requests under way to end"
    DELETE = "Deleting"
    VERIFY = "Verifying that nothing is left"


Watch = Watching[Stage]


@dataclass(frozen=True, slots=True)
class Deleted:
    """A finished deletion. `export` is the folder with the clinic's data, if it was exported."""

    tombstone: Tombstone
    export: Path | None


# --- the deletion -------------------------------------------------------------------------------------------------


async def delete_tenant(
    tenant: Tenant,
    *,
    actor: str,
    exports: Path | None,
    lock: Callable[[], Lock | None] = lambda: None,
    exported_since: datetime | None = None,
    only_if: Mapping[str, Any] | None = None,
    settle: timedelta = SETTLE,
    watch: Watch | None = None,
) -> Deleted:
    """Deletes the clinic, or goes on with a deletion that was interrupted.

    The clinic stops answering first, in every process. Then its data is exported into `exports` (None: not at all),
    sealed by what `lock` makes, unless there is an export from `exported_since` on or an earlier run made one
    elsewhere; purged once `settle` has passed, looked for in everything that is stored, and last its own row goes.
    `only_if` must hold of the clinic's row when it is closed. Raises `TracesLeft` when the look finds something,
    `NoSuchClinic` when another process was faster, and CONFLICT when `only_if` does not hold, or for a clinic from
    which PayPal would go on taking money.
    """
    tell = watch or Watch()
    if tenant.deletion_started_at is None:
        await require_no_agreement(tenant)
    tenant = await _close(tenant, only_if or {}, unexported=exports is None)
    await note_work(actor, "tenant.delete.start", f"deleting the clinic {tenant.subdomain}", tenant.key)
    since = tenant.deletion_started_at or now()
    export = export_since(tenant, exports, exported_since or since) if exports is not None else None
    if exports is not None and export is None and tenant.deletion_exported_at is None:
        tell.stage(Stage.EXPORT)
        export = await export_tenant(tenant, exports, lock=lock(), report=tell.step)
    if export is not None:
        await Tenant.guarded().update_one({"_id": tenant.key}, {"$set": {"deletion_exported_at": now()}})
    if (wait := (since + settle - now()).total_seconds()) > 0:
        tell.stage(Stage.WAIT)
        await asyncio.sleep(wait)
    await drain_audit()  # an anchor of what was done here would come after the purge
    with pymongo.timeout(None):
        await _purge_until_nothing_is_left(tenant, tell)
        if tenant.placement.database is not None:
            await drop(tenant.placement, f"deleted the clinic {tenant.subdomain}")
    return Deleted(await _bury(tenant, actor), export)


async def require_no_agreement(tenant: Tenant) -> None:
    """Raises CONFLICT for a clinic from which PayPal would go on taking money."""
    async with tenant_scope(tenant):
        if await settling.running():
            raise Conflict(
                f"PayPal takes payments of {tenant.subdomain} by an agreement. "
                "End that first, by cancelSubscription or at PayPal."
            )


async def _close(tenant: Tenant, only_if: Mapping[str, Any], *, unexported: bool) -> Tenant:
    """Suspends the clinic for good, and notes what it held, once, and whether it is deleted without an export.

    Raises CONFLICT while it is being moved, and when `only_if` does not hold of it.
    """
    closed = await Tenant.guarded().update_one(
        {"_id": tenant.key, "move.stage": {"$in": [None, MoveStage.KEPT.value]}, **only_if},
        [
            {
                "$set": {
                    "status": TenantStatus.SUSPENDED.value,
                    "deletion_started_at": {"$ifNull": ["$deletion_started_at", now()]},
                    "deletion_unexported": unexported,
                    "updated_at": now(),
                    "version": {"$add": ["$version", 1]},
                }
            }
        ],
    )
    if not closed.matched_count:
        fresh = await Tenant.get(tenant.key)
        if only_if and (fresh is None or fresh.move is None):
            raise Conflict
        raise Conflict(f"{tenant.subdomain} is being moved: finish that, or undo it, with scripts.move_tenant.")
    counts = (await plan_deletion(tenant)).gone
    await Tenant.guarded().update_one(
        {"_id": tenant.key, "deletion_counts": {"$in": [None, {}]}}, {"$set": {"deletion_counts": counts}}
    )
    return await clinic_named(tenant.subdomain)


async def _purge_until_nothing_is_left(tenant: Tenant, tell: Watch) -> None:
    """Purges and looks; what a request that was still under way has added meanwhile goes with the next pass."""
    traces: dict[str, int] = {}
    for _ in range(PASSES):
        tell.stage(Stage.DELETE)
        await _purge(tenant, tell.step)
        tell.stage(Stage.VERIFY)
        traces = await find_traces(tenant.key, report=tell.step)
        if files := await count_files(tenant.key):
            traces["files"] = files
        if not traces:
            return
    listed = ", ".join(f"{count} in {name}" for name, count in traces.items())
    raise TracesLeft(f"Documents or files of {tenant.subdomain} are left: {listed}. It stays suspended.")


async def _purge(tenant: Tenant, report: Report) -> None:
    await commits.follow({"subdomain": tenant.subdomain, "placement": tenant.placement.model_dump()}, sure=timedelta(0))
    async with tenant_scope(tenant):
        await keep_remnants()
        for model in TENANT_DOCUMENTS:
            await _purge_own(model, report)
        for shared in SHARED_DOCUMENTS:
            await _leave_all(shared, report)
    await purge_elsewhere(tenant)
    await delete_all(tenant.key, report)
    await _purge_people(tenant.key, report)
    await _purge_platform(tenant.key, report)


async def _purge_own(model: type[TenantDocument], report: Report) -> None:
    while rows := await model.rows({}, projection={"_id": 1}, limit=BATCH):
        done = await model.guarded().delete_many({"_id": {"$in": [row["_id"] for row in rows]}})
        report(model.guarded_name(), done.deleted_count)


async def _leave_all(model: type[SharedDocument], report: Report) -> None:
    """Takes the clinic off each shared document; those that it shared with nobody go."""
    while rows := await model.rows({}, projection={"_id": 1}, limit=BATCH):
        report(model.guarded_name(), await model.guarded().leave_all([row["_id"] for row in rows]))


async def _purge_people(clinic: ObjectId, report: Report) -> None:
    """Ends the memberships; a person goes before the last of theirs does, so that no interruption forgets anybody."""
    while rows := await Membership.rows({"clinic_id": clinic}, limit=BATCH):
        leaving = list(await without_another_hold({row["user_id"] for row in rows}, clinic))
        people = await User.guarded().delete_many({"_id": {"$in": leaving}})
        report(User.guarded_name(), people.deleted_count)
        for model, paths in platform_places("users", WhenGone.DELETE).items():
            await model.guarded().delete_many(any_of(paths, {"$in": leaving}))
        ended = await Membership.guarded().delete_many({"_id": {"$in": [row["_id"] for row in rows]}})
        report(Membership.guarded_name(), ended.deleted_count)


async def _purge_platform(clinic: ObjectId, report: Report) -> None:
    for model, paths in platform_places("tenants", WhenGone.DELETE).items():
        while rows := await model.rows(any_of(paths, clinic), projection={"_id": 1}, limit=BATCH):
            done = await model.guarded().delete_many({"_id": {"$in": [row["_id"] for row in rows]}})
            report(model.guarded_name(), done.deleted_count)
    for model, paths in platform_places("tenants", WhenGone.PULL).items():
        for path in paths:
            await model.guarded().update_many({path: clinic}, {"$pull": {path: clinic}})


async def _bury(tenant: Tenant, actor: str) -> Tombstone:
    """The tombstone comes, then the clinic's row goes: at no moment is the name free.

    No transaction: one that a killed process leaves open would keep the next run waiting for a minute.
    """
    await note_clinic(tenant)
    tombstone = Tombstone(
        id=ObjectId(),
        subdomain=tenant.subdomain,
        tenant_id_was=tenant.key,
        name=tenant.name,
        counts=tenant.deletion_counts,
    )
    with suppress(DuplicateKeyError):  # an earlier run came as far as this
        await tombstone.insert()
    await note_work(actor, "tenant.delete.end", f"deleted the clinic {tenant.subdomain}", tenant.key)
    if not (await Tenant.guarded().delete_one({"_id": tenant.key})).deleted_count:
        raise deleted_already(tenant.subdomain)
    return tombstone
