"""The keyed chain of a clinic's audit entries: how they are linked, stored together and anchored.

Entries of requests that run side by side share one write (group commit): while one insert is on its way, those that
come meanwhile wait for the next. The unique index on `seq` decides between processes; whoever comes second reads the
head anew. An insert that breaks off leaves the beginning of a chain, which is a chain.
"""

from __future__ import annotations

import asyncio
import hmac
import random
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field, replace
from hashlib import blake2b, sha256
from typing import Any

import bson
from bson import ObjectId
from pydantic import SecretStr
from pymongo import UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError, WriteError

from app.config import Settings
from app.errors import Unavailable
from app.tenancy.clusters import clusters
from app.tenancy.operations import DUPLICATE_KEY, failures_of
from app.tenancy.places import Moved
from app.tenancy.scope import Database, Residence, Scope, TenantRef, open_scope
from models import AuditAnchor, AuditEntry
from models.values import now

Row = dict[str, Any]
Head = tuple[int, bytes]

START = bytes(32)
"""What the first entry is linked to."""
COVERED = (
    "tenant_id", "_id", "seq", "at", "user_id", "by_patient", "operator_entry", "crossed", "action", "result",
    "patient_ids", "collections", "subject", "request_id", "address", "key_id",
)  # fmt: skip
"""What the MAC covers, in this order."""
CHAINS_KEPT = 2_000
BATCH = 500
TRIES = 50
ANCHOR_SECONDS = 1.0
"""So long a chain may be ahead of its anchor."""


class AuditKeys:
    """The audit's keys: the first signs, all of them verify."""

    def __init__(self, secrets: Sequence[SecretStr]) -> None:
        self._ring = {
            blake2b(one.get_secret_value().encode(), digest_size=4, person=b"audit-key-id").hexdigest(): one
            for one in secrets
        }
        self.key_id = next(iter(self._ring))
        self._own: OrderedDict[bytes, bytes] = OrderedDict()

    def present(self, clinic_id: ObjectId) -> bytes:
        """The clinic's own key under the secret that signs."""
        name = clinic_id.binary
        key = self._own.get(name)
        if key is None:
            key = self.of(clinic_id, self.key_id)
            assert key is not None  # noqa: S101 - the ring names its own first key
            self._own[name] = key
            if len(self._own) > CHAINS_KEPT:
                self._own.popitem(last=False)
        return key

    def of(self, clinic_id: ObjectId, key_id: str) -> bytes | None:
        """The clinic's own key under the named secret; None for a secret that is not known."""
        secret = self._ring.get(key_id)
        if secret is None:
            return None
        keyed = blake2b(secret.get_secret_value().encode(), digest_size=32).digest()
        return blake2b(clinic_id.binary, key=keyed, digest_size=32, person=b"audit-chain").digest()


_keys: AuditKeys | None = None


def use_audit_keys(settings: Settings) -> None:
    """Says with which keys this process signs; called once at its start."""
    global _keys  # noqa: PLW0603 - one per process, as its settings are
    _keys = AuditKeys([settings.audit_secret, *settings.audit_secrets_old])


def audit_keys() -> AuditKeys:
    """This process's keys. Raises RuntimeError before `use_audit_keys`."""
    if _keys is None:
        raise RuntimeError("use_audit_keys was not called")
    return _keys


def mac_of(key: bytes, previous: bytes, row: Mapping[str, Any]) -> bytes:
    """HMAC-SHA256 over the MAC before and everything that the entry says, as it is stored: an id that was made a text,
    or a time that was made a number, is no longer found by it and so is a change."""
    said = bson.encode({name: row.get(name) for name in COVERED})
    return hmac.digest(key, previous + said, sha256)


def seal_of(key: bytes, clinic_id: ObjectId, head: Head) -> bytes:
    """The MAC over an anchor."""
    return hmac.digest(key, b"anchor" + clinic_id.binary + head[0].to_bytes(8, "big") + head[1], sha256)


def linked(clinic_id: ObjectId, rows: Iterable[Row], head: Head) -> list[Row]:
    """The rows as entries behind `head`."""
    keys = audit_keys()
    key = keys.present(clinic_id)
    seq, mac = head
    chained = []
    for row in rows:
        seq += 1
        entry = {**row, "tenant_id": clinic_id, "seq": seq, "key_id": keys.key_id}
        mac = entry["mac"] = mac_of(key, mac, entry)
        chained.append(entry)
    return chained


@dataclass(slots=True)
class _Chain:
    """One clinic's chain as this process sees it."""

    tenant: TenantRef
    database: Database | None
    head: Head | None = None
    waiting: list[tuple[list[Row], asyncio.Future[None]]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    async def append(self, rows: list[Row]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((rows, done))
        if self.task is None:  # in a context of its own: the time limit of whoever comes first is not the others'
            self.task = asyncio.create_task(self._run(), name=f"audit {self.tenant.subdomain}", context=Context())
        await done

    async def _run(self) -> None:
        try:
            with open_scope(Scope(request_id="audit", tenant=self.tenant, database=self.database)):
                while self.waiting:
                    batch, self.waiting = self.waiting[:BATCH], self.waiting[BATCH:]
                    await self._commit(batch)
            _anchoring().add(self)
        finally:
            self.task = None
            for _, done in self.waiting:
                done.cancel()
            self.waiting.clear()

    async def _commit(self, batch: Sequence[tuple[list[Row], asyncio.Future[None]]]) -> None:
        try:
            await self._store([row for rows, _ in batch for row in rows])
        except Exception as error:  # noqa: BLE001 - handed to each of those who wait
            self.head = None
            for _, done in batch:
                if not done.done():
                    done.set_exception(error)
        else:
            for _, done in batch:
                if not done.done():
                    done.set_result(None)
        finally:  # when the process ends in between, nobody waits for ever
            for _, done in batch:
                done.cancel()

    async def _store(self, rows: list[Row]) -> None:
        for _ in range(TRIES):
            if not rows:
                return
            self.head = self.head or await head_of()
            entries = linked(self.tenant.id, rows, self.head)
            try:
                await _insert(entries)
            except (BulkWriteError, DuplicateKeyError) as error:
                rows = self._left(rows, error)
                await asyncio.sleep(random.uniform(0, 0.005))  # noqa: S311 - only spreads the processes
            else:
                self.head = entries[-1]["seq"], entries[-1]["mac"]
                return
        raise Unavailable

    def _left(self, rows: list[Row], error: BulkWriteError | DuplicateKeyError) -> list[Row]:
        """What is still to be stored after another process was faster. An `_id` that is there is in the chain."""
        self.head = None
        told: Any = error.details or {}
        [failed, *_] = told.get("writeErrors") or [told]
        if failed.get("code") != DUPLICATE_KEY:
            raise error
        at: int = failed.get("index", 0)
        return rows[at + 1 if "_id" in failed.get("keyPattern", {}) else at :]


async def _insert(entries: list[Row]) -> None:
    """A lone entry goes together with those of other clinics; several of one clinic depend on their order."""
    if len(entries) == 1:
        await AuditEntry.guarded().insert_shared(entries[0])
    else:
        await AuditEntry.guarded().insert_many(entries, ordered=True)


async def head_of() -> Head:
    """The last link of the clinic in scope."""
    row = await AuditEntry.guarded().find_one({}, {"seq": 1, "mac": 1}, sort=[("seq", -1)])
    return (row["seq"], row["mac"]) if row else (0, START)


class _Anchors:
    """Notes apart from the chains how far they have come, all that grew in a short while by one write."""

    def __init__(self) -> None:
        self._grown: dict[ObjectId, _Chain] = {}
        self._task: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    def add(self, chain: _Chain) -> None:
        """The chain has grown."""
        self._grown[chain.tenant.id] = chain
        if self._task is None:
            self._task = asyncio.create_task(self._soon(), name="audit anchors", context=Context())

    async def _soon(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), ANCHOR_SECONDS)
        self._task = None
        grown, self._grown = self._grown, {}
        heads = {clinic: chain.head for clinic, chain in grown.items() if chain.head is not None}
        with suppress(PyMongoError):  # the next entry brings the anchor up to date
            await set_anchors(heads)

    async def flush(self) -> None:
        """Anchors at once what has grown."""
        if self._task is not None:
            self._hurry.set()
            await asyncio.gather(self._task, return_exceptions=True)
            self._hurry.clear()


async def set_anchors(heads: Mapping[ObjectId, Head]) -> None:
    """Notes how far each clinic's chain has come; never back."""
    changes = [_anchor_of(clinic_id, head) for clinic_id, head in heads.items()]
    if not changes:
        return
    with open_scope(Scope(request_id="audit anchors")):
        try:
            await AuditAnchor.guarded().bulk_write(changes, ordered=False)
        except BulkWriteError as error:
            if set(map(_code, failures_of(error).values())) != {DUPLICATE_KEY}:  # another process is further
                raise


def _code(error: WriteError) -> int | None:
    return error.code


def _anchor_of(clinic_id: ObjectId, head: Head) -> UpdateOne:
    keys = audit_keys()
    key = keys.present(clinic_id)
    values = {"seq": head[0], "mac": head[1], "at": now(), "key_id": keys.key_id, "seal": seal_of(key, clinic_id, head)}
    return UpdateOne({"clinic_id": clinic_id, "seq": {"$lt": head[0]}}, {"$set": values}, upsert=True)


_anchors: dict[asyncio.AbstractEventLoop, _Anchors] = {}


def _anchoring() -> _Anchors:
    """Those of the running loop."""
    return _anchors.setdefault(asyncio.get_running_loop(), _Anchors())


_chains: OrderedDict[tuple[ObjectId, Residence, int, asyncio.AbstractEventLoop], _Chain] = OrderedDict()


async def append(scope: Scope, rows: list[Row]) -> None:
    """Stores the rows at the end of the chain of the scope's clinic. Returns once they are stored for good.

    A request may have begun before the clinic was moved to another database: its entries follow there.
    """
    tenant = scope.tenant
    if tenant is None or not rows:
        return
    try:
        await _chain_of(tenant, scope.database).append(rows)
    except Moved as moved:
        await clusters.ready(moved.residence)
        await _chain_of(replace(tenant, residence=moved.residence), None).append(rows)


def _chain_of(tenant: TenantRef, database: Database | None) -> _Chain:
    place = (tenant.id, tenant.residence, id(database), asyncio.get_running_loop())
    chain = _chains.get(place)
    if chain is None:
        chain = _chains[place] = _Chain(tenant, database)
        _forget_idle()
    _chains.move_to_end(place)
    return chain


def _forget_idle() -> None:
    for place in list(_chains)[: max(0, len(_chains) - CHAINS_KEPT)]:
        if _chains[place].task is None:
            del _chains[place]


async def drain() -> None:
    """Waits for what is on its way and anchors it; called when a process ends."""
    loop = asyncio.get_running_loop()
    tasks = [chain.task for chain in _chains.values() if chain.task is not None and chain.task.get_loop() is loop]
    await asyncio.gather(*tasks, return_exceptions=True)
    await _anchoring().flush()
    _anchors.pop(loop, None)
