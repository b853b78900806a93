"""Reads a clinic's audit chain from its start and names the first entry that was changed, dropped, moved or cut off."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pymongo
from bson import ObjectId

from app.services.audit_chain import COVERED, START, Head, audit_keys, mac_of, seal_of
from app.tenancy.crossing import tenant_scope
from models import AuditAnchor, AuditEntry, AuditPending, AuditRemnant, Tenant
from models.values import now

BATCH = 1_000
PENDING_TOO_LONG = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Anchor:
    """How far a chain had come when somebody kept note of it outside; `mac` is that of entry `seq`."""

    seq: int
    mac: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """The first thing that is wrong. `seq` is the entry's place, `entry` its id where there is one."""

    seq: int
    what: str
    entry: str | None = None

    def __str__(self) -> str:
        return f"entry {self.seq}{f' ({self.entry})' if self.entry else ''} {self.what}"


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found for one clinic. `head` is the last entry that is in order."""

    subdomain: str
    clinic: str
    entries: int
    head: Head
    broken: Broken | None = None
    pending: int = 0
    """Entries stored with their acts that have waited for the chain for more than five minutes."""


class _Breach(Exception):
    def __init__(self, broken: Broken) -> None:
        self.broken = broken


async def verify(tenant: Tenant, kept: Anchor | None = None) -> Verified:
    """Verifies the clinic's chain against its keys, its anchor and, if given, an anchor that was kept outside."""
    anchors = await _anchors(tenant)
    if kept is not None:
        anchors[kept.seq] = (kept.mac, "differs from the anchor that was kept")
    chain = _Chain(tenant, {seq: one for seq, one in anchors.items() if seq})
    async with tenant_scope(tenant):
        with pymongo.timeout(None):
            try:
                await chain.walk()
                chain.end()
            except _Breach as breach:
                return Verified(tenant.subdomain, str(tenant.id), chain.seen, chain.head, breach.broken)
        waiting = await AuditPending.guarded().count_documents({"at": {"$lt": now() - PENDING_TOO_LONG}})
    return Verified(tenant.subdomain, str(tenant.id), chain.seen, chain.head, None, waiting)


async def verify_gone(subdomain: str, clinic: ObjectId, kept: Anchor) -> Verified:
    """Holds what was kept of a clinic that is not here any more against what its deletion has left of its audit."""
    wanted = {"clinic_id_was": clinic, "first_seq": {"$lte": kept.seq}, "last_seq": {"$gte": kept.seq}}
    entries = [entry for row in await AuditRemnant.rows(wanted) for entry in row["entries"] if entry[0] == kept.seq]
    left = any(hmac.compare_digest(bytes(entry[-1]), kept.mac) for entry in entries)
    if not left and kept.seq:
        broken = Broken(kept.seq, "is gone with the clinic, which was not deleted as clinics are")
        return Verified(subdomain, str(clinic), 0, (0, START), broken)
    return Verified(subdomain, str(clinic), kept.seq, (kept.seq, kept.mac))


async def _anchors(tenant: Tenant) -> dict[int, tuple[bytes, str]]:
    row = await AuditAnchor.guarded().find_one({"clinic_id": tenant.key})
    if row is None:
        return {}
    key = audit_keys().of(tenant.key, row["key_id"])
    if key is None or not hmac.compare_digest(seal_of(key, tenant.key, (row["seq"], row["mac"])), row["seal"]):
        return {row["seq"]: (b"", "cannot be held against the anchor, which was changed or is of an unknown key")}
    return {row["seq"]: (row["mac"], "differs from the anchor")}


class _Chain:
    def __init__(self, tenant: Tenant, anchors: Mapping[int, tuple[bytes, str]]) -> None:
        self._tenant = tenant
        self._anchors = anchors
        self.head: Head = (0, START)
        self.seen = 0

    async def walk(self) -> None:
        """Follows the links in order. Raises `_Breach` at the first that does not hold."""
        shown = dict.fromkeys((*COVERED, "mac"), 1)
        async with AuditEntry.guarded().find({}, shown, sort=[("seq", 1)], batch_size=BATCH) as cursor:
            async for row in cursor:
                self._check(row)
                self.seen += 1

    def _check(self, row: Mapping[str, Any]) -> None:
        seq, mac = self.head
        due, found = seq + 1, row.get("seq")
        if found != due:
            raise _Breach(Broken(due, "is missing"))
        key = audit_keys().of(self._tenant.key, str(row.get("key_id")))
        if key is None:
            raise _Breach(Broken(due, "was keyed by a secret that is not known here", str(row["_id"])))
        if not hmac.compare_digest(mac_of(key, mac, row), bytes(row.get("mac") or b"")):
            raise _Breach(Broken(due, "was changed, or is not the one that stood here", str(row["_id"])))
        self.head = due, bytes(row["mac"])
        if due in self._anchors and self._anchors[due][0] != self.head[1]:
            raise _Breach(Broken(due, self._anchors[due][1], str(row["_id"])))

    def end(self) -> None:
        """Raises `_Breach` when an anchor tells of more entries than there are."""
        if self._anchors and max(self._anchors) > self.head[0]:
            raise _Breach(Broken(self.head[0] + 1, f"is missing: the chain had {max(self._anchors)} entries"))
