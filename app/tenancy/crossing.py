"""Opening a clinic's scope by name, and the few, audited ways across clinics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection

from app.errors import TenantGuardRefused
from app.tenancy.clusters import clusters
from app.tenancy.criteria import tenant_clause
from app.tenancy.directory import ref_of
from app.tenancy.kinds import SHARED_FIELD, Kind
from app.tenancy.operations import claim_session, passed_to
from app.tenancy.pipelines import BUSY_CLAIMS, busy_claims_pipeline
from app.tenancy.places import database_of
from app.tenancy.scope import Actor, Database, Scope, TenantId, TenantRef, current_scope, open_scope, scope_or_none
from models.base import PATIENTS, GuardedDocument
from models.platform_audit import PlatformAudit
from models.tenant import Tenant, TenantStatus


@asynccontextmanager
async def tenant_scope(
    tenant: TenantRef | Tenant, *, actor: Actor | None = None, database: Database | None = None
) -> AsyncIterator[Scope]:
    """Opens one clinic for a job or a script, where it lives; `database` names another place.

    Raises `ClusterUnavailable` when it lives on a cluster that cannot be used.
    """
    ref = tenant if isinstance(tenant, TenantRef) else ref_of(tenant)
    outer = scope_or_none()
    if outer is not None and outer.trail is not None and (outer.actor or outer.patient):
        outer.trail.asker = outer  # whoever crosses over is told of at both clinics
    scope = Scope(
        request_id=outer.request_id if outer else uuid4().hex,
        tenant=ref,
        actor=actor,
        database=database,
        address=outer.address if outer else "",
        trail=outer.trail if outer else None,
    )
    if database is None:
        await clusters.ready(ref.residence)
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
    places = {home, database_of(scope, PlatformAudit.home_database) if scope is not None else home}
    pipeline = busy_claims_pipeline(prefix + start, prefix + end)
    found: set[str] = set()
    for place in places:
        cursor = await place[BUSY_CLAIMS].aggregate(pipeline)
        found.update([row["_id"] for row in await cursor.to_list()])
    return found


@asynccontextmanager
async def neighbour_scope(
    tenant_id: ObjectId, *, action: str, session: AsyncClientSession | None = None
) -> AsyncIterator[Scope | None]:
    """One step at another clinic that shares a patient with the clinic in scope; yields None when it is not active.

    None too unless both live in the shared database: nobody else can share a patient.

    For `app.services.sharing` alone, which judges what lets the step across: a share code, a live consent, a broken
    glass. The platform's audit row is written first, and nobody acts inside with rights of their own. `session` is a
    transaction of the clinic in scope, in which the step takes part.
    """
    outer = current_scope()
    tenant = await Tenant.find_one({"_id": tenant_id, "status": TenantStatus.ACTIVE.value})
    if tenant is None or outer.tenant is None or tenant.placement.database or outer.tenant.residence.is_own:
        yield None
        return
    await PlatformAudit(
        actor=str(outer.actor.user_id) if outer.actor else "system",
        action=action,
        reason=f"a patient whom {outer.tenant.subdomain} shares",
        tenant=tenant.key,
        request_id=outer.request_id,
        address=outer.address,
    ).insert()
    async with tenant_scope(tenant, database=outer.database) as scope:
        with passed_to(session, scope.tenant_id):
            yield scope


async def other_clinics(patient_id: ObjectId, *, session: AsyncClientSession | None = None) -> list[TenantId]:
    """The other clinics of a patient whom the clinic in scope has; none for a patient whom it has not.

    Who shares a patient is never told to a clinic: the answer only says to whom a step must be taken.
    """
    scope = current_scope()
    claim_session(session, scope.tenant_id)
    home = database_of(scope, PlatformAudit.home_database)
    mine = {"_id": patient_id, **tenant_clause(Kind.SHARED, scope.tenant_id)}
    row = await home[PATIENTS].find_one(mine, {SHARED_FIELD: 1}, session=session)
    return [one for one in (row or {}).get(SHARED_FIELD, ()) if one != scope.tenant_id]
