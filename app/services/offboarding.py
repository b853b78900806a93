"""A clinic on its way out: suspended, written out, and deleted when its grace is over; until then it can be kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure

from app.db.transactions import in_transaction
from app.errors import InvalidState, NotFound, Unavailable, ValidationFailed
from app.services.changes import another_version, storable
from app.services.deletion import SETTLE, Watch, delete_tenant, require_no_agreement
from app.services.moving.folders import Lock
from app.services.platform_log import COMMAND, note_act, note_work, reason_of
from app.services.tenant_export import DeletionInProgress, export_since, export_tenant, sole
from app.services.tenants_admin import require_at_rest
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import current_scope
from models import AuditEntry, Tenant
from models.tenant import Offboarding, TenantStatus
from models.values import now

log = structlog.get_logger(__name__)

USUAL_DAYS = 30
MOST_DAYS = 365
_UNAUTHORIZED = 13


@dataclass(frozen=True, slots=True)
class Exports:
    """Where clinics are written out to, and what seals them there; `lock` makes one for each export, or None for a
    plain one."""

    folder: Path
    lock: Callable[[], Lock | None]


@dataclass(slots=True)
class Done:
    """What was due and is done, and what could not be: subdomains with the reason, in words."""

    exported: list[str]
    deleted: list[str]
    failed: dict[str, str]


async def schedule(tenant_id: ObjectId, version: int, reason: str, days: int) -> Tenant:
    """Suspends a clinic at once and has it deleted in so many days; answers with it as it is then.

    Raises NOT_FOUND at `input.tenantId`, CONFLICT at `input.version`, VALIDATION_FAILED at `input.reason` or
    `input.days`, INVALID_STATE for a clinic that is on its way in or out already, and CONFLICT for one from which
    PayPal would go on taking money: once it is suspended, it cannot end that itself.
    """
    said = reason_of(reason)
    if not 0 <= days <= MOST_DAYS:
        raise ValidationFailed.at("input.days", f"must be between 0 and {MOST_DAYS}")

    if (known := await Tenant.get(tenant_id)) is not None:
        await require_no_agreement(known)

    async def work(session: AsyncClientSession) -> Tenant:
        tenant = await _present(tenant_id, version, session)
        require_at_rest(tenant)
        moment = now()
        offboarding = Offboarding(
            reason=said,
            requested_by=_who(),
            scheduled_at=moment,
            due_at=moment + timedelta(days=days),
            status_before=tenant.status,
        )
        await note_act("tenant.offboard.schedule", said, clinic_id=tenant_id, session=session)
        values = {"status": TenantStatus.SUSPENDED.value, "offboarding": storable(offboarding)}
        return await Tenant.change(tenant_id, version, values, session=session)

    return await in_transaction(work)


async def cancel(tenant_id: ObjectId, version: int, reason: str) -> Tenant:
    """Keeps a clinic that was to be deleted; it has the status that it had before.

    Raises NOT_FOUND, CONFLICT and VALIDATION_FAILED as `schedule` does, and INVALID_STATE when it was not to be
    deleted, or its deletion has begun.
    """
    said = reason_of(reason)

    async def work(session: AsyncClientSession) -> Tenant:
        tenant = await _present(tenant_id, version, session)
        if tenant.deletion_started_at is not None:
            raise InvalidState("Its deletion has begun and cannot be called off.")
        if tenant.offboarding is None:
            raise InvalidState("This clinic is not to be deleted.")
        await note_act("tenant.offboard.cancel", said, clinic_id=tenant_id, session=session)
        values = {"status": tenant.offboarding.status_before.value, "offboarding": None}
        return await Tenant.change(tenant_id, version, values, filter={"deletion_started_at": None}, session=session)

    return await in_transaction(work)


async def _present(tenant_id: ObjectId, version: int, session: AsyncClientSession) -> Tenant:
    tenant: Tenant | None = await Tenant.find_one({"_id": tenant_id}, session=session)
    if tenant is None:
        raise NotFound.at("input.tenantId")
    if tenant.version != version:
        raise another_version()
    return tenant


def _who() -> str:
    actor = current_scope().actor
    return str(actor.user_id) if actor is not None else COMMAND


async def leaving() -> list[Tenant]:
    """The clinics that are to be deleted or whose deletion was begun, the first due first."""
    where = {"$or": [{"offboarding": {"$ne": None}}, {"deletion_started_at": {"$ne": None}}]}
    found = await Tenant.find(where).to_list()
    return sorted(found, key=lambda one: one.offboarding.due_at if one.offboarding else one.updated_at)


# --- what is due --------------------------------------------------------------------------------------------------


async def run_due(
    exports: Exports,
    *,
    settle: timedelta = SETTLE,
    watch: Watch | None = None,
    patience: timedelta = timedelta(0),
) -> Done:
    """Writes out the clinics that wait for it, and deletes those whose grace is over, one after another; goes on with
    deletions that were begun by a command longer than `patience` ago.

    Whatever breaks one stays with it. What is interrupted is finished by the next run.
    """
    done = Done([], [], {})
    for tenant in await leaving():
        try:
            with sole(exports.folder, tenant.subdomain):
                await _one(tenant, exports, settle, watch, patience, done)
        except DeletionInProgress:
            continue
        except Exception as error:
            log.error("a clinic could not be offboarded", tenant=tenant.subdomain, exc_info=error)
            done.failed[tenant.subdomain] = str(error) or type(error).__name__
    return done


async def _one(
    tenant: Tenant, exports: Exports, settle: timedelta, watch: Watch | None, patience: timedelta, done: Done
) -> None:
    plan, began = tenant.offboarding, tenant.deletion_started_at
    if plan is not None and plan.exported_at is None and plan.scheduled_at + settle <= now() and began is None:
        await _write_out(tenant, plan, exports)
        done.exported.append(tenant.subdomain)
    if not _is_due(tenant, patience):
        return
    await require_right_to_purge(tenant)
    fresh = await Tenant.get(tenant.key)
    if fresh is None or fresh.offboarding != tenant.offboarding:
        return  # it was called off, or another process was faster
    await delete_tenant(
        fresh,
        actor=plan.requested_by if plan is not None else _who(),
        exports=None if fresh.deletion_unexported else exports.folder,
        lock=exports.lock,
        exported_since=plan.scheduled_at if plan is not None else None,
        only_if={"offboarding.due_at": plan.due_at} if plan is not None else None,
        settle=settle,
        watch=watch,
    )
    done.deleted.append(tenant.subdomain)


def _is_due(tenant: Tenant, patience: timedelta) -> bool:
    """Whether its grace is over; or, where the command deletes it at once, whether that was interrupted."""
    if tenant.offboarding is not None:
        return tenant.offboarding.due_at <= now()
    began = tenant.deletion_started_at
    return began is not None and began + patience <= now()


async def _write_out(tenant: Tenant, plan: Offboarding, exports: Exports) -> None:
    folder = export_since(tenant, exports.folder, plan.scheduled_at)
    if folder is None:
        folder = await export_tenant(tenant, exports.folder, lock=exports.lock())
    said = f"written out as {folder.name}"
    await note_work(plan.requested_by, "tenant.offboard.export", said, tenant.key)
    plan.exported_at = now()
    await Tenant.guarded().update_one(
        {"_id": tenant.key, "offboarding.scheduled_at": plan.scheduled_at},
        {"$set": {"offboarding.exported_at": plan.exported_at}},
    )


async def require_right_to_purge(tenant: Tenant) -> None:
    """Raises UNAVAILABLE when this process's database user may not delete what a deletion deletes, before any of it is
    gone: the role of servers cannot delete from the audit."""
    async with tenant_scope(tenant):
        nothing: dict[str, Any] = {"seq": -1}
        try:
            await AuditEntry.guarded().delete_many(nothing)
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:
                raise
            raise Unavailable("This database user may not delete a clinic's log: run it as one who may.") from None
