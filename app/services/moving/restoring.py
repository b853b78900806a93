"""Reads an export back: as a new clinic, which nobody sees before the last of it is there.

Every step can be repeated: an import that was interrupted is finished by starting it again, and called off by deleting
the clinic as others are. What is never exported is made anew: secrets, keys, places of files. People are known by their
e-mail addresses; whoever is known keeps their own password, and whoever is not has none until they ask for a new one.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pymongo
from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from app.errors import InvalidState, ValidationFailed
from app.services.audit import record
from app.services.changes import build
from app.services.documents.recount import count_alone
from app.services.moving import people
from app.services.moving.carried import STORED, batches, checked, parsed, tenant_values
from app.services.moving.folders import ExportBroken, Reader
from app.services.moving.storing import Counts, Storing
from app.services.moving.translating import SHIFT_BYTES, Translation
from app.services.onboarding import subdomain_taken
from app.services.placement.provisioning import Goal, database_of, id_for, own_placement, provisioned, require_cluster
from app.services.platform_log import note_work
from app.services.removal_notes import is_noted
from app.services.watching import Report
from app.tenancy.crossing import system_scope, tenant_scope
from models import SHARED_DOCUMENTS, TENANT_DOCUMENTS, Tenant, Tombstone
from models.tenant import Importing, PlacementKind, TenantStatus
from models.values import Subdomain, Value


class _Name(Value):
    subdomain: Subdomain


@dataclass(slots=True, kw_only=True)
class Imported(Counts):
    """A finished import."""

    tenant: Tenant
    new_people: int = 0
    known_people: int = 0
    ids_kept: bool = True


async def import_tenant(
    export: Reader,
    *,
    actor: str,
    subdomain: str | None = None,
    placement: PlacementKind | None = None,
    active: bool = True,
    report: Report = lambda *_: None,
) -> Imported:
    """Takes an export in as a new clinic, under its own subdomain unless given another one, in the shared database
    unless `placement` says otherwise.

    `active` says whether the clinic answers at the end; else it is suspended. Raises `ExportBroken` for documents that
    are none and VALIDATION_FAILED at `subdomain` before anything is written; INVALID_STATE when that subdomain is being
    imported from another export or into another place.
    """
    with pymongo.timeout(None):
        makers = await checked(export)
        tenant = await _begun(export, subdomain, placement, actor)
        state = tenant.importing
        assert state is not None  # noqa: S101 - it was begun, or found begun
        done = Imported(tenant=tenant, ids_kept=not any(state.shift))
        known = await people.known_here(export, Translation(makers, state.shift, {}))
        done.known_people, done.new_people = known.known, known.new
        told = {**known.here, ObjectId(export.manifest["tenant"]["id"]): tenant.key}
        ids = Translation(makers, state.shift, told)
        await people.bind(export, ids, tenant)
        async with tenant_scope(tenant):
            await Storing(export, ids, state, done, report).all()
            await count_alone()
            await record("clinic.import", subject=tenant)
        await people.store_again(export, ids)
        done.tenant = await _finished(tenant, active, actor)
    return done


# --- the clinic, which nobody sees --------------------------------------------------------------------------------


async def _begun(export: Reader, subdomain: str | None, placement: PlacementKind | None, actor: str) -> Tenant:
    await require_cluster(Goal(placement or PlacementKind.SHARED), at="placement")
    wanted = build(_Name, {"subdomain": subdomain or export.manifest["tenant"]["subdomain"]}, at="").subdomain
    if (found := await Tenant.find_one({"subdomain": wanted, "importing": {"$ne": None}})) is not None:
        if found.importing is None or found.importing.export != export.fingerprint:
            raise InvalidState(f"{wanted} is being imported from another export.")
        if found.deletion_started_at is not None:
            raise InvalidState(f"The import of {wanted} was called off.")
        if placement not in (None, found.placement.kind):
            raise InvalidState(f"{wanted} is being imported into another place: {found.placement.kind.value}.")
        return found
    if await subdomain_taken(wanted):
        raise _taken()
    tenant = await _made(export, wanted, placement or PlacementKind.SHARED)
    tenant.importing = Importing(
        export=export.fingerprint,
        shift=await _shift(export),
        naming=secrets.token_bytes(32),
    )
    async with _placed(tenant, placement or PlacementKind.SHARED):
        await _opened(tenant, actor)
    return tenant


@asynccontextmanager
async def _placed(tenant: Tenant, kind: PlacementKind) -> AsyncIterator[None]:
    """Has the clinic's own database made ready for the block, if it is to have one; it goes again when the block does
    not store the clinic."""
    if kind is PlacementKind.SHARED:
        yield
        return
    async with provisioned(tenant.key, tenant.subdomain, Goal(kind)) as placement:
        tenant.placement = placement
        yield


async def _opened(tenant: Tenant, actor: str) -> None:
    """Stores the clinic's row. Raises VALIDATION_FAILED when its subdomain was taken meanwhile."""
    wanted = tenant.subdomain
    await note_work(actor, "tenant.import.start", f"importing {wanted}", tenant.key)
    try:
        await tenant.insert()
    except DuplicateKeyError:
        raise _taken() from None
    if await Tombstone.guarded().find_one({"subdomain": wanted}, {"_id": 1}) is not None:  # it died at this very moment
        await Tenant.guarded().delete_one({"_id": tenant.key})
        raise _taken()


def _taken() -> ValidationFailed:
    return ValidationFailed.at("subdomain", "is already taken")


async def _made(export: Reader, subdomain: str, kind: PlacementKind) -> Tenant:
    """The clinic's row, suspended and under its former id where that is free; with a database of its own, else under
    the id that its subdomain has, so that the next run finds what a killed one left."""
    rows = [parsed(line) async for line in export.lines("tenants.ndjson")]
    if len(rows) != 1:
        raise ExportBroken("The export holds no clinic.")
    former = ObjectId(export.manifest["tenant"]["id"])
    made: Tenant = build(Tenant, {**tenant_values(rows[0]), "subdomain": subdomain}, at="tenants.ndjson")
    anew = id_for(subdomain) if kind is PlacementKind.OWN_DATABASE else ObjectId()
    free = await _is_free(former) and not (kind is PlacementKind.OWN_DATABASE and await _holds_anything(former))
    made.id = former if free else anew  # type: ignore[assignment]
    made.status = TenantStatus.SUSPENDED
    return made


async def _is_free(former: ObjectId) -> bool:
    """Whether a clinic may have that id: it was never given to another or to a dead one."""
    if await Tenant.guarded().find_one({"_id": former}, {"_id": 1}) is not None:
        return False
    if await Tombstone.guarded().find_one({"tenant_id_was": former}, {"_id": 1}) is not None:
        return False
    return not await is_noted(former)


async def _holds_anything(clinic: ObjectId) -> bool:
    """Whether a database of that clinic's is there already, of which nobody here knows, and not as empty as a killed
    run leaves it."""
    place = await database_of(own_placement(clinic))
    async with system_scope("see whether the database of a clinic that is imported is empty") as system:
        for model in (*SHARED_DOCUMENTS, *TENANT_DOCUMENTS):
            if await system.raw(model, database=place).find_one({}, {"_id": 1}) is not None:
                return True
    return False


async def _shift(export: Reader) -> bytes:
    """Zeros where every id of the export is free here, else random bytes."""
    async with system_scope("see whether the ids of an export are free") as system:
        for model in STORED:
            stored = system.raw(model)
            async for rows in batches(export, model.guarded_name()):
                ids = [row["_id"] for row in rows]
                if await stored.find_one({"_id": {"$in": ids}}, {"_id": 1}) is not None:
                    return secrets.token_bytes(SHIFT_BYTES)
    return bytes(SHIFT_BYTES)


async def _finished(tenant: Tenant, active: bool, actor: str) -> Tenant:
    """The last act: from here on the clinic is there. Raises CONFLICT when it was called off meanwhile."""
    status = TenantStatus.ACTIVE if active else TenantStatus.SUSPENDED
    await note_work(actor, "tenant.import.end", f"imported {tenant.subdomain}, {status.value}", tenant.key)
    there = {"importing": {"$ne": None}, "deletion_started_at": None}
    return await Tenant.change(tenant.key, None, {"status": status.value, "importing": None}, filter=there)
