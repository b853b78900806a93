"""Moves a clinic that is at work into a database of its own, on this cluster or another one, or back into the shared
one.

Its documents are copied while it works. Then it can be read only for a short while, in which what was changed is copied
and everything is compared; then it works in its new place. Each step is written down in the clinic's own row and can be
repeated, so a run that was killed is finished, or undone, by starting it again: until then the clinic works where it
was, or where it is by then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import uuid4

import pymongo
from bson import ObjectId
from pymongo.errors import PyMongoError

from app.db.migrations.running import shared_is_migrated
from app.db.schema import is_current
from app.errors import Conflict, InvalidState
from app.services.audit import record
from app.services.changes import storable
from app.services.placement import stragglers
from app.services.placement.commits import require_none_left
from app.services.placement.copying import COLLECTIONS, Digest, clear_shared, compare, copy, count
from app.services.placement.provisioning import (
    Goal,
    database_of,
    drop,
    provision,
    require_cluster,
    shared_database,
)
from app.services.platform_log import note_work
from app.services.watching import Watching
from app.tasks import end
from app.tenancy.crossing import system_scope, tenant_scope
from app.tenancy.directory import KEPT_SECONDS
from app.tenancy.places import CONFIRMED_SECONDS, WRITTEN_MEANWHILE
from models import Patient, Tenant
from models.tenant import Move, MoveStage, Placement, PlacementKind
from models.values import now

LEASE = timedelta(seconds=60)
BEAT_SECONDS = 10.0
SURE = timedelta(seconds=20)
"""So much of the lease must be left when the clinic changes its place: clocks differ."""
SETTLE = timedelta(seconds=CONFIRMED_SECONDS + 25)
"""After this time no write is under way that began when the clinic could still be written to: what a process knows is
so old at most, and a command and a transaction each end within ten seconds."""
FORGET = timedelta(seconds=KEPT_SECONDS) + SETTLE
"""After this time nobody reads in the former place any more."""
PASSES = 5
FEW = 50
"""With so few differences left, a pass is short enough to be made while the clinic waits."""

LATE = tuple(name for name in COLLECTIONS if name in WRITTEN_MEANWHILE)
STILL = tuple(name for name in COLLECTIONS if name not in WRITTEN_MEANWHILE)


class Stage(StrEnum):
    """What a move is busy with, in words for whoever watches."""

    PROVISION = "Making the database ready"
    COPY = "Copying while the clinic works"
    SETTLE = "Read-only: waiting for writes under way to end"
    DIFFERENCES = "Read-only: copying what was changed"
    COMPARE = "Read-only: comparing"
    LATE = "In the new place: waiting for latecomers"
    CLEAR = "Clearing the former place"


Watch = Watching[Stage]


@dataclass(frozen=True, slots=True)
class Waits:
    """How long to wait for whoever does not know yet. Shorter ones are for tests."""

    settle: timedelta = SETTLE
    forget: timedelta = FORGET


@dataclass(frozen=True, slots=True)
class Moved:
    """A clinic in its new place. `seconds` is for how long it could be read only; `digests` what was compared; nothing
    of either when an earlier run had come as far. `kept` tells whether the former place still holds its documents."""

    tenant: Tenant
    seconds: float
    digests: Mapping[str, Digest]
    kept: bool


# --- what a caller may ask for ----------------------------------------------------------------------------------------


async def clinic_to_move(subdomain: str) -> Tenant:
    """The clinic, active or not. Raises INVALID_STATE for one that is not there or is being deleted."""
    tenant: Tenant | None = await Tenant.find_one({"subdomain": subdomain.strip().lower()})
    if tenant is None:
        raise InvalidState(f"There is no clinic {subdomain}.")
    if tenant.deletion_started_at is not None:
        raise InvalidState(f"{subdomain} is being deleted.")
    return tenant


async def documents_of(tenant: Tenant) -> int:
    """How many documents a move would copy."""
    async with system_scope(f"plan the move of {tenant.subdomain}"):
        return await count(await database_of(tenant.placement), tenant.key)


async def shared_patients(tenant: Tenant) -> int:
    """How many patients the clinic shares with others."""
    async with system_scope(f"plan the move of {tenant.subdomain}") as system:
        stored = system.raw(Patient, database=await database_of(tenant.placement))
        return await stored.count_documents({"tenant_ids": tenant.key, "tenant_ids.1": {"$exists": True}})


async def move(
    tenant: Tenant,
    goal: Goal,
    *,
    actor: str,
    keep_source: bool = True,
    watch: Watch | None = None,
    waits: Waits | None = None,
) -> Moved:
    """Moves the clinic into such a place, or goes on with a move there that was interrupted.

    With `keep_source` the former place keeps its documents until `clear_source` is called, so that a move back finds
    most of them. Raises INVALID_STATE when it is there already, is on its way elsewhere, or shares patients; CONFLICT
    when another run is at work, or what was copied is not what was there.
    """
    tell, wait = watch or Watch(), waits or Waits()
    await require_cluster(goal, at="cluster")
    held = await _take(tenant, goal.placement(tenant.key))
    seconds = 0.0
    digests: Mapping[str, Digest] = {}
    with pymongo.timeout(None):
        async with _beating(held):
            if held.stage is MoveStage.COPYING:
                said = f"moving {tenant.subdomain} to {_name(held.target)}"
                await note_work(actor, "tenant.move.start", said, tenant.key)
                seconds, digests = await _change_place(tenant, held, tell, wait)
            await _fetch_latecomers(tenant, held, actor, tell, wait)
        present = await clinic_to_move(tenant.subdomain)
        if not keep_source:
            present = await clear_source(present, actor=actor, watch=tell, waits=wait)
    return Moved(present, seconds, digests, present.move is not None)


async def undo(tenant: Tenant, *, actor: str) -> Tenant:
    """Gives up a move that was interrupted before the clinic changed its place: what was copied goes.

    Raises INVALID_STATE when there is nothing to give up, CONFLICT when a run is at work.
    """
    if tenant.move is None or tenant.move.stage not in (MoveStage.COPYING, MoveStage.READ_ONLY):
        raise InvalidState(f"{tenant.subdomain} is on its way nowhere; a move that is done is undone by moving back.")
    held = await _take(tenant, tenant.move.target)
    async with _beating(held):
        await _clear(tenant, held.target, "a move was given up")
        await note_work(actor, "tenant.move.undo", f"{tenant.subdomain} stays where it is", tenant.key)
        await _set(tenant.key, held.holder, {"move": None}, MoveStage.COPYING)
    return await clinic_to_move(tenant.subdomain)


async def clear_source(tenant: Tenant, *, actor: str, watch: Watch | None = None, waits: Waits | None = None) -> Tenant:
    """Takes the clinic's documents out of its former place, once nobody reads there any more.

    Raises INVALID_STATE when no former place holds any, CONFLICT when a run is at work.
    """
    if tenant.move is None or tenant.move.stage is not MoveStage.KEPT:
        raise InvalidState(f"No former place of {tenant.subdomain} holds anything.")
    held = await _take(tenant, tenant.placement)
    async with _beating(held):
        (watch or Watch()).stage(Stage.CLEAR)
        await _wait_until((held.moved_at or now()) + (waits or Waits()).forget)
        await _clear(tenant, held.source, "a clinic has left its former place")
        await note_work(actor, "tenant.move.clear", f"the former place of {tenant.subdomain} is cleared", tenant.key)
        await _set(tenant.key, held.holder, {"move": None}, MoveStage.KEPT)
    return await clinic_to_move(tenant.subdomain)


# --- one run at a time ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Held:
    """A move that this run works on."""

    clinic: ObjectId
    holder: str
    stage: MoveStage
    source: Placement
    target: Placement
    moved_at: datetime | None
    lost: asyncio.Event


async def _take(tenant: Tenant, target: Placement) -> _Held:
    """Takes the clinic's move, a new one or one that was interrupted, in one atomic step."""
    before = tenant.move
    wanted = _next(tenant, target)
    moment, holder = now(), uuid4().hex
    taken = wanted.model_copy(update={"holder": holder, "lease_until": moment + LEASE})
    free = {"move": None} if before is None else {"move.holder": before.holder, "move.lease_until": {"$lte": moment}}
    done = await Tenant.guarded().update_one(
        {"_id": tenant.key, "deletion_started_at": None, **free},
        {"$set": {"move": storable(taken), "updated_at": moment}},
    )
    if not done.matched_count:
        raise Conflict(f"Another run is at work on {tenant.subdomain}; one that was killed is over within a minute.")
    return _Held(tenant.key, holder, taken.stage, taken.source, taken.target, taken.moved_at, asyncio.Event())


def _next(tenant: Tenant, target: Placement) -> Move:
    """The move that leads there. Raises INVALID_STATE when none does."""
    before, here = tenant.move, tenant.placement
    nobody: dict[str, Any] = {"holder": "", "lease_until": now()}
    if before is None or (before.stage is MoveStage.KEPT and target != here):
        if target == here:
            raise InvalidState(f"{tenant.subdomain} is there already.")
        if before is not None and before.source != target:
            raise InvalidState(
                f"What {tenant.subdomain} has left {before.source.words} must be cleared before: --clear."
            )
        return Move(source=here, target=target, **nobody)
    if before.target != target:
        raise InvalidState(f"{tenant.subdomain} is on its way elsewhere: finish that move, or undo it.")
    if before.stage is MoveStage.READ_ONLY:  # whoever held it is gone, and the clinic was written to since
        return before.model_copy(update={"stage": MoveStage.COPYING})
    return before


@asynccontextmanager
async def _beating(held: _Held) -> AsyncIterator[None]:
    """Renews the lease while the block lasts, and gives it back at its end: the clinic can be written to again."""
    beating = asyncio.create_task(_beat(held), name=f"move of {held.clinic}")
    try:
        yield
    finally:
        await end(beating)
        mine = {"_id": held.clinic, "move.holder": held.holder}
        await Tenant.guarded().update_one(
            {**mine, "move.stage": MoveStage.READ_ONLY.value}, {"$set": {"move.stage": MoveStage.COPYING.value}}
        )
        await Tenant.guarded().update_one(mine, {"$set": {"move.lease_until": now()}})


async def _beat(held: _Held) -> None:
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        try:
            kept = await Tenant.guarded().update_one(
                {"_id": held.clinic, "move.holder": held.holder}, {"$set": {"move.lease_until": now() + LEASE}}
            )
        except PyMongoError:
            continue
        if not kept.matched_count:
            held.lost.set()
            return


async def _set(
    clinic: ObjectId, holder: str, values: Mapping[str, Any], at: MoveStage, *, sure: timedelta = timedelta(0)
) -> None:
    """Changes the clinic's row while this run holds its move at that stage. Raises CONFLICT when it does not."""
    mine = {"_id": clinic, "move.holder": holder, "move.stage": at.value, "move.lease_until": {"$gt": now() + sure}}
    update = {"$set": {**values, "updated_at": now()}, "$inc": {"version": 1}}
    if not (await Tenant.guarded().update_one(mine, update)).matched_count:
        raise Conflict("Another run has taken this move over.")


# --- the stages -------------------------------------------------------------------------------------------------------


async def _change_place(tenant: Tenant, held: _Held, tell: Watch, wait: Waits) -> tuple[float, Mapping[str, Digest]]:
    """From the first copy to the new place; for how long the clinic could only be read, and what was compared."""
    source, target = await database_of(held.source), await database_of(held.target)
    await _may_move(tenant, held)
    tell.stage(Stage.PROVISION)
    await provision(tenant.key, held.target, tenant.subdomain)
    async with system_scope(f"copy {tenant.subdomain} to {target.name}", action="tenant.move.copy"):
        tell.stage(Stage.COPY)
        for _ in range(PASSES):
            if await copy(source, target, tenant.key, COLLECTIONS, tell.step) <= FEW:
                break
    began = now()
    until = {"move.stage": MoveStage.READ_ONLY.value, "move.lease_until": began + LEASE}
    await _set(tenant.key, held.holder, until, MoveStage.COPYING)
    tell.stage(Stage.SETTLE)
    await _wait_until(began + wait.settle)
    await _may_move(tenant, held)
    async with system_scope(f"compare {tenant.subdomain} with its copy", action="tenant.move.compare"):
        tell.stage(Stage.DIFFERENCES)
        await require_none_left({"subdomain": tenant.subdomain, "placement": held.source.model_dump()})
        await copy(source, target, tenant.key, STILL, tell.step)
        tell.stage(Stage.COMPARE)
        digests = await compare(source, target, tenant.key, STILL)
        await copy(source, target, tenant.key, LATE, tell.step)
        digests |= await stragglers.compare_chains(source, target, tenant.key)
    moved = {
        "placement": held.target.model_dump(mode="json"),
        "move.stage": MoveStage.MOVED.value,
        "move.moved_at": now(),
    }
    await _set(tenant.key, held.holder, moved, MoveStage.READ_ONLY, sure=SURE)
    held.stage, held.moved_at = MoveStage.MOVED, now()
    return (now() - began).total_seconds(), digests


async def _may_move(tenant: Tenant, held: _Held) -> None:
    """Raises INVALID_STATE when the clinic shares patients, for which both clinics must be in the shared database, or
    a database is not up to date."""
    if held.target.kind is not PlacementKind.SHARED and (many := await shared_patients(tenant)):
        raise InvalidState(
            f"{tenant.subdomain} shares {many} patient{'s' if many > 1 else ''} with other clinics: for that, all of "
            "them must be in the shared database."
        )
    shared = shared_database()
    if not (await is_current(shared) and await shared_is_migrated(shared)):
        raise InvalidState("The shared database is not up to date: run scripts.migrate first.")


async def _fetch_latecomers(tenant: Tenant, held: _Held, actor: str, tell: Watch, wait: Waits) -> None:
    """What reading still wrote into the former place, while not everybody knew of the new one."""
    if held.stage is not MoveStage.MOVED:
        return
    tell.stage(Stage.LATE)
    await _wait_until((held.moved_at or now()) + wait.settle)
    present = await clinic_to_move(tenant.subdomain)
    await stragglers.fetch(present, await database_of(held.source), await database_of(held.target))
    async with tenant_scope(present):
        await record("clinic.moved", subject=present)
    await note_work(actor, "tenant.move.end", f"{tenant.subdomain} is at {_name(held.target)}", tenant.key)
    await _set(tenant.key, held.holder, {"move.stage": MoveStage.KEPT.value}, MoveStage.MOVED)


async def _clear(tenant: Tenant, place: Placement, reason: str) -> None:
    if place.database is not None:
        await drop(place, f"{reason}: {tenant.subdomain}")
        return
    async with system_scope(f"{reason}: {tenant.subdomain}", action="tenant.move.clear"):
        await clear_shared(shared_database(), tenant.key)


def _name(place: Placement) -> str:
    return place.kind.value if place.cluster is None else f"{place.kind.value} {place.cluster}"


async def _wait_until(moment: datetime) -> None:
    if (left := (moment - now()).total_seconds()) > 0:
        await asyncio.sleep(left)
