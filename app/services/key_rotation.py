"""New keys for clinics that are at work: data keys wrapped anew, and everything sealed anew under a new data key.

Servers go on meanwhile. Each document is changed only if it still is as it was read, so no change is lost, and every
step can be repeated: a run that was killed is finished by running it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pymongo
from bson import ObjectId
from pymongo import UpdateOne
from pymongo.asynchronous.collection import AsyncCollection

from app.errors import Conflict
from app.services.placement.provisioning import database_of
from app.services.tenant_keys import KEPT_SECONDS, TenantKeys, place_of
from app.services.watching import Report
from app.tenancy.crossing import system_scope
from app.tenancy.keyring import Keyring
from app.tenancy.scope import Database
from app.tenancy.seal_marks import Place, outline_of, places
from app.tenancy.sealing import (
    SealBroken,
    blind_values,
    is_sealed,
    key_version,
    open_value,
    seal_value,
    sealed_in,
)
from models import TENANT_DOCUMENTS, Tenant, TenantKey
from models.base import TenantDocument
from models.tenant import MoveStage
from models.tenant_key import KeyState

Row = dict[str, Any]

BATCH = 500
PASSES = 20
LONGEST_WRITE = 60
SETTLE = timedelta(seconds=KEPT_SECONDS + LONGEST_WRITE)
"""After this time no process writes under the former key any more: none knows it alone, and no write takes longer."""


class StillInUse(Conflict):
    """The former key is kept, for something is left under it. The text says what."""


@dataclass(slots=True)
class Sealing:
    """What one look at a clinic's documents found. `stale` need to be sealed anew, `plain` of them held plain values;
    `broken` names some of those that do not open."""

    read: int = 0
    stale: int = 0
    plain: int = 0
    done: int = 0
    broken: list[str] = field(default_factory=list)


# --- the master key ---------------------------------------------------------------------------------------------------


async def live_keys(clinic: ObjectId | None = None) -> list[Row]:
    """The stored keys that can open something, of one clinic or of all."""
    asked: Row = {"state": KeyState.LIVE.value} | ({"clinic_id": clinic} if clinic is not None else {})
    return await TenantKey.rows(asked, sort=[("clinic_id", 1), ("version", 1)])


async def rewrap(keys: TenantKeys, row: Mapping[str, Any]) -> bool:
    """Wraps one stored key under the present master. False when it was changed or destroyed meanwhile.

    Raises `KeyRefused` when no master here opens it.
    """
    place = place_of(row["clinic_id"], row["version"])
    key = await keys.masters.unwrap(row["provider"], row["wrapped"], place)
    provider, wrapped = await keys.masters.wrap(key, place)
    done = await TenantKey.guarded().update_one(
        {"_id": row["_id"], "wrapped": row["wrapped"]}, {"$set": {"provider": provider, "wrapped": wrapped}}
    )
    return bool(done.matched_count)


# --- a clinic's data key ----------------------------------------------------------------------------------------------


async def begin(keys: TenantKeys, tenant: Tenant) -> Row:
    """The newest version, made now unless an earlier run has begun and not ended. Gives its row.

    Raises `KeyRefused` before anything is made when a key that the clinic has cannot be opened here.
    """
    keys.forget(tenant.key)
    await keys.ring(tenant.key, create=False)
    rows = await TenantKey.rows({"clinic_id": tenant.key}, sort=[("version", 1)])
    if sum(row["state"] == KeyState.LIVE.value for row in rows) < 2:
        await keys.add_version(tenant.key, rows[-1]["version"] + 1 if rows else 1)
        rows = await TenantKey.rows({"clinic_id": tenant.key}, sort=[("version", 1)])
    keys.forget(tenant.key)
    return rows[-1]


async def seal_all(keys: TenantKeys, tenant: Tenant, *, dry: bool = False, report: Report = lambda *_: None) -> Sealing:
    """Seals whatever is plain or under a former key with the newest one; `dry` only looks. Changes no version and no
    time of a document, for its content stays as it was."""
    found = Sealing()
    ring = await keys.ring(tenant.key, create=not dry)
    place = await _place(tenant)
    async with system_scope(f"seal the documents of {tenant.subdomain} under its newest key") as system:
        with pymongo.timeout(None):
            for model in TENANT_DOCUMENTS:
                if sealed_in(model.guarded_name()):
                    await _seal_collection(
                        system.raw(model, database=place), model, ring, tenant.key, found, dry, report
                    )
    return found


async def _place(tenant: Tenant) -> Database:
    """Where the clinic's documents are at this moment. Raises CONFLICT while they are on their way to another place."""
    present: Tenant = await Tenant.get(tenant.key) or tenant
    if present.move is not None and present.move.stage is not MoveStage.KEPT:
        raise Conflict(f"{tenant.subdomain} is being moved to another place: run this again afterwards.")
    return await database_of(present.placement)


async def _seal_collection(
    stored: AsyncCollection[Row],
    model: type[TenantDocument],
    ring: Keyring,
    own: ObjectId,
    found: Sealing,
    dry: bool,
    report: Report,
) -> None:
    name = model.guarded_name()
    async for rows in _batches(stored, own):
        changes = [change for row in rows if (change := _change(ring, own, name, row, found, dry)) is not None]
        found.read += len(rows)
        found.stale += len(changes)
        if changes and not dry:
            done = await stored.bulk_write(changes, ordered=False)
            found.done += done.matched_count
        report(name, len(rows))


async def _batches(stored: AsyncCollection[Row], own: ObjectId) -> AsyncIterator[list[Row]]:
    """The clinic's documents that hold anything marked, as they are stored."""
    marks = sealed_in(stored.name)
    tops = {path.partition(".")[0] for path in marks}
    columns = tops | {mark.blind for mark in marks.values() if mark.blind}
    asked = {"tenant_id": own, "$or": [{top: {"$ne": None}} for top in sorted(tops)]}
    async with stored.find(asked, dict.fromkeys(columns, 1), batch_size=BATCH) as cursor:
        while rows := await cursor.to_list(BATCH):
            yield rows


def _change(ring: Keyring, own: ObjectId, name: str, row: Row, found: Sealing, dry: bool) -> UpdateOne | None:
    """What to write into a document that was read, if anything; it applies only while its sealed fields stay so."""
    current = ring.current if len(ring) else 0
    held = list(places(outline_of(name), row))
    stale = [place for place in held if not is_sealed(place.value) or key_version(place.value) != current]
    unfound = [place for place in held if (column := sealed_in(name)[place.path].blind) and column not in row]
    found.plain += any(not is_sealed(place.value) for place in stale)
    if not stale and not unfound:
        return None
    if dry:
        return UpdateOne({"_id": row["_id"]}, {}) if stale else None
    before = {(top := place.path.partition(".")[0]): _copy(row[top]) for place in stale + unfound}
    try:
        blinds = _seal_places(ring, own, name, row["_id"], stale, unfound)
    except SealBroken as error:
        found.broken.append(str(error))
        return None
    if not stale and not blinds:
        return None
    after = {top: row[top] for top in before}
    return UpdateOne({"_id": row["_id"], "tenant_id": own, **before}, {"$set": {**after, **blinds}})


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copy(inner) for name, inner in value.items()}
    return [_copy(inner) for inner in value] if isinstance(value, list) else value


def _seal_places(
    ring: Keyring, own: ObjectId, name: str, id: Any, stale: list[Place], unfound: list[Place]
) -> dict[str, list[bytes]]:
    """Seals the stale places in the row itself; gives the blind columns that go with them."""
    blinds: dict[str, list[bytes]] = {}
    for place in [*stale, *(one for one in unfound if one not in stale)]:
        field_ = f"{name}.{place.path}"
        value = place.value
        plain = open_value(ring, own, field_, id, value) if is_sealed(value) else value
        mark = sealed_in(name)[place.path]
        if mark.blind and (indexed := blind_values(ring, name, place.path, mark, plain)):
            blinds[mark.blind] = indexed
        if place in stale:
            place.holder[place.name] = seal_value(ring, own, field_, id, plain)
    return blinds


async def finish(keys: TenantKeys, tenant: Tenant, newest: Row, *, report: Report = lambda *_: None) -> list[int]:
    """Once nothing is left under former keys, destroys them; gives their versions. Call it `SETTLE` after the newest
    was made. Raises `StillInUse` when something stays under one."""
    keys.forget(tenant.key)
    for _ in range(PASSES):
        found = await seal_all(keys, tenant, report=report)
        if found.broken:
            some = "; ".join(found.broken[:3])
            raise StillInUse(f"{tenant.subdomain}: {len(found.broken)} documents do not open, its keys stay: {some}.")
        if not found.stale:
            return await _destroy_before(keys, tenant, newest["version"])
    raise StillInUse(f"{tenant.subdomain}: documents kept being written under a former key. Run this again.")


async def _destroy_before(keys: TenantKeys, tenant: Tenant, version: int) -> list[int]:
    former = {"clinic_id": tenant.key, "state": KeyState.LIVE.value, "version": {"$lt": version}}
    versions = [row["version"] for row in await TenantKey.rows(former, projection={"version": 1})]
    await TenantKey.guarded().update_many(
        {"clinic_id": tenant.key, "version": {"$in": versions}},
        {"$set": {"state": KeyState.DESTROYED.value, "wrapped": None}},
    )
    keys.forget(tenant.key)
    return versions


async def settle(newest: Row, now: Any, wait: timedelta) -> None:
    """Waits until no process can write under a former key any more."""
    left = (newest["created_at"] + wait - now).total_seconds()
    if left > 0:
        await asyncio.sleep(left)
