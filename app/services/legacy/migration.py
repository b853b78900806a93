"""Gives the documents of an old database to clinics, and keeps apart what cannot be given.

All that has no clinic is moved into the quarantine first, then the schema is put on the database, then what can be
assigned comes back under the rules of that schema. Each part is moved by one transaction, so a run that was killed is
finished by running it again, and one that has nothing to do does nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import bson
import pymongo
from bson import ObjectId
from pymongo import AsyncMongoClient, ReturnDocument
from pymongo.errors import DuplicateKeyError

from app.config import Settings
from app.db.schema import apply_schema
from app.errors import NotFound, ValidationFailed
from app.services.audit import record
from app.services.clinics import unknown
from app.services.legacy.completing import complete_clinic
from app.services.legacy.looking import BY_NAME, Look, look, quarantined
from app.services.legacy.moving import Moving
from app.services.legacy.plan import Decision, Key, Said, decide
from app.services.legacy.uniques import note_conflicts
from app.services.watching import Report, Watching
from app.tenancy.crossing import system_scope, tenant_scope
from app.tenancy.scope import current_scope
from models import LegacyDocument, LegacyRun, PlatformAudit, Tenant
from models.values import now

Row = dict[str, Any]
EXAMPLES = 5


class Stage(StrEnum):
    """What a migration is busy with, in words for whoever watches."""

    LOOK = "Looking for documents without a clinic"
    TAKE = "Taking them out"
    SCHEMA = "Putting the schema on the database"
    ASSIGN = "Assigning"
    COMPLETE = "Completing patients' records"
    RESTORE = "Putting back"


Watch = Watching[Stage]


@dataclass(slots=True)
class Kept:
    """Documents that stay apart for one reason: how many, and the ids of some, as text."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, id: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(id)


@dataclass(slots=True)
class Fate:
    """What becomes of one collection's documents without a clinic: subdomain → rule → how many, and reason → which."""

    found: int = 0
    in_quarantine: int = 0
    assigned: dict[str, dict[str, int]] = field(default_factory=dict)
    quarantined: dict[str, Kept] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """`collections` is the plan; `run` what was done, None for a look. `unmatched` are lines of the map that named
    documents which are not there, or have a clinic."""

    collections: dict[str, Fate]
    unmatched: list[str] = field(default_factory=list)
    run: Row | None = None
    left: dict[str, int] = field(default_factory=dict)
    """Documents that are too large to be moved."""
    staying: dict[str, dict[str, Kept]] = field(default_factory=dict)
    """What the quarantine holds at the end: collection → reason → which."""


async def read_said(of_one: Mapping[tuple[str, str], set[str]], of_all: str | None) -> Said:
    """What was said with subdomains, as ids. Raises NOT_FOUND, or VALIDATION_FAILED for an unknown collection."""
    rows = await Tenant.rows({}, projection={"subdomain": 1, "deletion_started_at": 1})
    known = {row["subdomain"]: row["_id"] for row in rows if row.get("deletion_started_at") is None}
    wanted = {name for names in of_one.values() for name in names} | ({of_all} if of_all is not None else set())
    if missing := sorted(wanted - known.keys()):
        raise unknown(missing[0])
    if strange := sorted({collection for collection, _ in of_one} - BY_NAME.keys()):
        raise ValidationFailed.at("map", f"{strange[0]} is not a collection of clinics")
    mapped = {key: frozenset(known[name] for name in names) for key, names in of_one.items()}
    return Said(mapped, known[of_all] if of_all is not None else None)


async def plan_migration(said: Said, *, watch: Watch | None = None) -> Outcome:
    """What a migration would do. Changes nothing."""
    tell = watch or Watch()
    tell.stage(Stage.LOOK)
    async with system_scope("look for documents without a clinic") as system:
        with pymongo.timeout(None):
            seen = await look(system, report=tell.step)
    return await _outcome(seen, _decided(seen, said), said)


def _decided(seen: Look, said: Said) -> dict[Key, Decision]:
    """What becomes of each document, those foreseen that a unique index would refuse."""
    decisions = decide(seen.found, seen.owners, seen.pointed, said)
    if note_conflicts(seen.found, decisions, seen.taken):
        decisions = decide(seen.found, seen.owners, seen.pointed, said)
    return decisions


async def migrate(
    client: AsyncMongoClient[Row],
    settings: Settings,
    said: Said,
    *,
    actor: str,
    reason: str,
    watch: Watch | None = None,
) -> Outcome:
    """Assigns what can be assigned and quarantines the rest, or goes on with a migration that was interrupted.

    Raises `SchemaError` when documents that do have clinics keep the schema off the database.
    """
    tell = watch or Watch()
    run_id: ObjectId | None = None
    tell.stage(Stage.LOOK)
    async with system_scope("assign documents without a clinic", action="legacy.migrate") as system:
        with pymongo.timeout(None):
            seen = await look(system, report=tell.step)
            decisions = _decided(seen, said)
            outcome = await _outcome(seen, decisions, said)
            if await _is_work(seen, decisions):
                run_id = await _begin(actor, reason)
                moving = Moving(system, run_id, tell.step)
                await _move(client, settings, moving, seen, decisions, tell)
                outcome.left = moving.left
    if run_id is not None:
        tell.stage(Stage.COMPLETE)
        outcome.run = await _finish(run_id, tell.step)
    outcome.staying = await _staying()
    return outcome


async def _is_work(seen: Look, decisions: Mapping[Key, Decision]) -> bool:
    """Whether there is anything to move, or a run to end."""
    moves = (not one.quarantined or decisions[key].reason is None for key, one in seen.found.items())
    return any(moves) or await _under_way()


async def _move(
    client: AsyncMongoClient[Row],
    settings: Settings,
    moving: Moving,
    seen: Look,
    decisions: Mapping[Key, Decision],
    tell: Watch,
) -> None:
    tell.stage(Stage.TAKE)
    for collection in BY_NAME:
        await moving.take_out(collection)
    tell.stage(Stage.SCHEMA)
    await apply_schema(client[settings.mongodb_database])
    tell.stage(Stage.ASSIGN)
    await moving.assign(seen, decisions)


async def restore(*, actor: str, reason: str, watch: Watch | None = None) -> Outcome:
    """Puts everything in quarantine back where it was, where servers do not see it, for instance to mend it there."""
    tell = watch or Watch()
    run_id: ObjectId | None = None
    async with system_scope("put quarantined documents back", action="legacy.restore") as system:
        with pymongo.timeout(None):
            if await _under_way() or await LegacyDocument.rows({}, projection={"_id": 1}, limit=1):
                run_id = await _begin(actor, reason)
                tell.stage(Stage.RESTORE)
                await Moving(system, run_id, tell.step).restore()
    run = await _finish(run_id, tell.step) if run_id is not None else None
    return Outcome({}, run=run, staying=await _staying())


# --- runs -------------------------------------------------------------------------------------------------------------


async def _under_way() -> bool:
    return bool(await LegacyRun.rows({"ended_at": None}, projection={"_id": 1}, limit=1))


async def _begin(actor: str, reason: str) -> ObjectId:
    """The run that is under way, or a new one, which the platform's audit tells of first."""
    await _tell(actor, "legacy.begin", reason)
    fresh = LegacyRun(actor=actor, reason=reason)
    wanted = fresh.model_dump(exclude={"id", "revision_id", "ended_at"})
    for _ in range(2):
        try:
            row = await LegacyRun.guarded().find_one_and_update(
                {"ended_at": None}, {"$setOnInsert": wanted}, upsert=True, return_document=ReturnDocument.AFTER
            )
        except DuplicateKeyError:  # another process has just begun one
            continue
        assert row is not None  # noqa: S101 - an upsert always answers with a document
        id: ObjectId = row["_id"]
        return id
    raise NotFound("The run that was under way has just ended. Run this again.")


async def _finish(run_id: ObjectId, report: Report) -> Row:
    """Completes what the run gave to clinics, tells their audit and the platform's, and ends the run."""
    [run] = await LegacyRun.rows({"_id": run_id})
    document = await LegacyRun.get(run_id)
    for tenant in await Tenant.find({"_id": {"$in": run["clinic_ids"]}}).to_list():
        async with tenant_scope(tenant):
            await complete_clinic(report)
            await record("legacy.assign", subject=document)
    counts = [f"{sum(run[name].values())} {name}" for name in ("taken", "assigned", "restored") if run[name]]
    await _tell(run["actor"], "legacy.end", ", ".join(counts) or "nothing was moved", f"legacy_runs/{run_id}")
    await LegacyRun.guarded().update_one({"_id": run_id}, {"$set": {"ended_at": now()}})
    [run] = await LegacyRun.rows({"_id": run_id})
    return run


async def _tell(actor: str, action: str, reason: str, subject: str | None = None) -> None:
    scope = current_scope()
    await PlatformAudit(
        actor=actor, action=action, reason=reason, subject=subject, request_id=scope.request_id, address=scope.address
    ).insert()


# --- what is told -----------------------------------------------------------------------------------------------------


async def _outcome(seen: Look, decisions: Mapping[Key, Decision], said: Said) -> Outcome:
    rows = await Tenant.rows({}, projection={"subdomain": 1})
    names = {row["_id"]: row["subdomain"] for row in rows}
    fates: dict[str, Fate] = {}
    for key, one in seen.found.items():
        fate = fates.setdefault(key.collection, Fate())
        fate.found += not one.quarantined
        fate.in_quarantine += one.quarantined
        decision = decisions[key]
        if decision.reason is not None:
            fate.quarantined.setdefault(decision.reason, Kept()).add(one.text)
            continue
        where = fate.assigned.setdefault("+".join(sorted(names[clinic] for clinic in decision.clinics)), {})
        where[str(decision.rule)] = where.get(str(decision.rule), 0) + 1
    there = {(key.collection, one.text) for key, one in seen.found.items()}
    unmatched = [f"{collection} {id}" for collection, id in said.of_one if (collection, id) not in there]
    return Outcome(dict(sorted(fates.items())), unmatched)


async def _staying() -> dict[str, dict[str, Kept]]:
    found: dict[str, dict[str, Kept]] = {}
    async for row in quarantined():
        kept = found.setdefault(row["collection"], {}).setdefault(row["reason"], Kept())
        kept.add(str(bson.decode(row["content"]).get("_id")))
    return found
