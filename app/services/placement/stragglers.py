"""What reading wrote into a clinic's former place in the seconds in which not everybody knew of the new one: entries
of the audit, and when patients were last seen or signed out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import ObjectId

from app.services.audit import sweep
from app.services.audit_chain import append
from app.services.placement.copying import Differs, Digest, digest, of_clinic
from app.tenancy.crossing import system_scope, tenant_scope
from app.tenancy.scope import Database
from models import AuditEntry, AuditPending, PortalSession, Tenant

Row = dict[str, Any]

ENTRIES, PENDING, SESSIONS = AuditEntry.guarded_name(), AuditPending.guarded_name(), PortalSession.guarded_name()
LINKS = ("tenant_id", "seq", "mac", "key_id")
"""What an entry gets by its place in a chain."""
BATCH = 200


async def compare_chains(source: Database, target: Database, clinic: ObjectId) -> Mapping[str, Digest]:
    """That of the audit's chain as far as it was copied; it may grow meanwhile. Raises `Differs`."""
    row = await target[ENTRIES].find_one(of_clinic(ENTRIES, clinic), {"seq": 1}, sort=[("seq", -1)])
    copied = {"seq": {"$lte": row["seq"] if row else 0}}
    there, here = await digest(source, ENTRIES, clinic, copied), await digest(target, ENTRIES, clinic, copied)
    if there != here:
        raise Differs(f"{ENTRIES} differs from what was copied: {there.count} entries, {here.count} are copied.")
    return {ENTRIES: here}


async def fetch(tenant: Tenant, source: Database, target: Database) -> int:
    """Brings the latecomers after the clinic, each once; how many entries there were. Safe to repeat."""
    clinic = tenant.key
    async with system_scope(f"fetch what came late of {tenant.subdomain}", action="tenant.move.late"):
        late = await _late_entries(source, target, clinic)
        pending = await _late_pending(source, target, clinic)
        await _sessions(source, target, clinic)
    async with tenant_scope(tenant) as scope:
        for at in range(0, len(late), BATCH):
            await append(scope, late[at : at + BATCH])
        for row in pending:
            await append(scope, [{"_id": row["_id"], **row["entry"]}])
        await sweep()
    return len(late) + len(pending)


async def _late_entries(source: Database, target: Database, clinic: ObjectId) -> list[Row]:
    """Entries at the end of the former chain that the present one has not, in their order."""
    late: list[Row] = []
    async with source[ENTRIES].find(of_clinic(ENTRIES, clinic), sort=[("seq", -1)], batch_size=BATCH) as cursor:
        while rows := await cursor.to_list(BATCH):
            there = await _present(target, ENTRIES, rows)
            missing = [row for row in rows if row["_id"] not in there]
            late += [{name: value for name, value in row.items() if name not in LINKS} for row in missing]
            if not missing:
                break
    return late[::-1]


async def _late_pending(source: Database, target: Database, clinic: ObjectId) -> list[Row]:
    rows = await source[PENDING].find(of_clinic(PENDING, clinic)).to_list()
    there = await _present(target, PENDING, rows) | await _present(target, ENTRIES, rows)
    return [row for row in rows if row["_id"] not in there]


async def _present(place: Database, name: str, rows: list[Row]) -> set[Any]:
    asked = {"_id": {"$in": [row["_id"] for row in rows]}}
    return {row["_id"] async for row in place[name].find(asked, {"_id": 1})}


async def _sessions(source: Database, target: Database, clinic: ObjectId) -> None:
    async for row in source[SESSIONS].find(of_clinic(SESSIONS, clinic), {"last_seen_at": 1, "revoked_at": 1}):
        seen = {name: row[name] for name in ("last_seen_at", "revoked_at") if row.get(name) is not None}
        if seen:
            await target[SESSIONS].update_one({"_id": row["_id"], **of_clinic(SESSIONS, clinic)}, {"$max": seen})
