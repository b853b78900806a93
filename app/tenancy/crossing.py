"""Opening a clinic's scope by name, and the few, audited ways across clinics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from pymongo.asynchronous.collection import AsyncCollection

from app.errors import TenantGuardRefused
from app.tenancy.directory import ref_of
from app.tenancy.pipelines import BUSY_CLAIMS, busy_claims_pipeline
from app.tenancy.scope import Actor, Database, Scope, TenantRef, current_scope, open_scope, scope_or_none
from models.base import GuardedDocument
from models.platform_audit import PlatformAudit
from models.tenant import Tenant


@asynccontextmanager
async def tenant_scope(
    tenant: TenantRef | Tenant, *, actor: Actor | None = None, database: Database | None = None
) -> AsyncIterator[Scope]:
    """Opens one clinic for a job or a script. `database` is the clinic's own one; None means the shared one."""
    ref = tenant if isinstance(tenant, TenantRef) else ref_of(tenant)
    outer = scope_or_none()
    scope = Scope(
        request_id=outer.request_id if outer else uuid4().hex,
        tenant=ref,
        actor=actor,
        database=database,
        address=outer.address if outer else "",
    )
    with open_scope(scope):
        yield scope


class SystemHandle:
    """The only unfiltered access to clinics' collections, good until its `system_scope` ends."""

    def raw(
        self, document: type[GuardedDocument], *, database: Database | None = None
    ) -> AsyncCollection[dict[str, Any]]:
        """The driver's own collection. Raises `TenantGuardRefused` outside of a system scope."""
        if not current_scope().system_reason:
            raise TenantGuardRefused("raw collections are for system scopes")
        place = database if database is not None else document.home_database()
        return place[document.guarded_name()]

    @property
    def database(self) -> Database:
        """The shared database itself, to walk what is stored. Raises `TenantGuardRefused` outside of a system scope."""
        if not current_scope().system_reason:
            raise TenantGuardRefused("raw collections are for system scopes")
        return PlatformAudit.home_database()


@asynccontextmanager
async def system_scope(reason: str, *, action: str = "system_scope") -> AsyncIterator[SystemHandle]:
    """Crosses clinics, for `reason`; the audit row is written first, and without it nothing opens.

    Inside, guarded collections still need a clinic (`tenant_scope`); `handle.raw(Model)` does not.
    """
    if not reason.strip():
        raise ValueError("a system scope needs a reason")
    outer = scope_or_none()
    actor = outer.actor if outer else None
    scope = Scope(
        request_id=outer.request_id if outer else uuid4().hex,
        actor=actor,
        address=outer.address if outer else "",
        system_reason=reason,
    )
    await PlatformAudit(
        actor=str(actor.user_id) if actor else "system",
        action=action,
        reason=reason,
        tenant=outer.tenant.id if outer and outer.tenant else None,
        request_id=scope.request_id,
        address=scope.address,
    ).insert()
    with open_scope(scope):
        yield SystemHandle()


async def busy_claims(prefix: str, start: str, end: str) -> set[str]:
    """The claims `prefix…` from `prefix + start` up to, not including, `prefix + end`, at any clinic.

    Booking's one look across clinics: it tells that a person is busy, not where, nor with whom. Reads where the
    clinic in scope keeps its appointments, and the shared database.
    """
    scope = scope_or_none()
    home = PlatformAudit.home_database()
    places = {home, scope.database if scope is not None and scope.database is not None else home}
    pipeline = busy_claims_pipeline(prefix + start, prefix + end)
    found: set[str] = set()
    for place in places:
        cursor = await place[BUSY_CLAIMS].aggregate(pipeline)
        found.update([row["_id"] for row in await cursor.to_list()])
    return found
