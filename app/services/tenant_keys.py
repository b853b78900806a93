"""The clinics' data keys: made at their first use, unwrapped once in a while, known to this process for a minute."""

from __future__ import annotations

import asyncio
import os
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

import bson
from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from app.config import Settings
from app.integrations.kms import Masters, masters_of
from app.tenancy.keyring import KEY_BYTES, Keyring
from app.tenancy.sealing import set_key_source
from models import TenantKey
from models.tenant_key import KeyState

RINGS_KEPT = 2_000
KEPT_SECONDS = 60.0
"""So long a process may go on with the keys that it knows: rotation waits for it, and a deleted clinic's keys are
gone from memory after it."""


def place_of(clinic: ObjectId, version: int) -> bytes:
    """What a wrapped key is bound to."""
    return bson.encode({"clinic": clinic, "version": version})


@dataclass(slots=True)
class _Kept:
    ring: Keyring = field(repr=False)
    until: float


class TenantKeys:
    """The guard's key source. Plain keys live here and in the rings that it hands out, and are never shown."""

    def __init__(self, masters: Masters) -> None:
        self.masters = masters
        self._kept: OrderedDict[ObjectId, _Kept] = OrderedDict()
        self._locks: dict[ObjectId, asyncio.Lock] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    async def ring(self, own: ObjectId, *, create: bool, needs: Iterable[int] = ()) -> Keyring:
        """The clinic's live keys; see `KeySource`. Raises `KeyRefused` or `KeyServiceDown`."""
        if (found := self._known(own, create, needs := frozenset(needs))) is not None:
            return found
        lock = self._locks.setdefault(own, asyncio.Lock())
        try:
            async with lock:
                if (found := self._known(own, create, needs)) is not None:
                    return found
                ring = await self._load(own)
                if create and not len(ring):
                    await self.add_version(own, 1)
                    ring = await self._load(own)
                self._keep(own, ring)
                return ring
        finally:
            if not lock.locked():
                self._locks.pop(own, None)

    def _known(self, own: ObjectId, create: bool, needs: frozenset[int]) -> Keyring | None:
        kept = self._kept.get(own)
        if kept is None or kept.until <= time.monotonic() or (create and not len(kept.ring)):
            return None
        return kept.ring if all(version in kept.ring for version in needs) else None

    async def _load(self, own: ObjectId) -> Keyring:
        """What is stored now. Empty rings are remembered too, so that reading asks no more often for none."""
        rows = await TenantKey.rows({"clinic_id": own, "state": KeyState.LIVE.value})
        keys = [
            await self.masters.unwrap(row["provider"], row["wrapped"], place_of(own, row["version"])) for row in rows
        ]
        return Keyring({row["version"]: key for row, key in zip(rows, keys, strict=True)})

    async def add_version(self, own: ObjectId, version: int) -> bool:
        """Stores a fresh key under that version. When another process has just done so, its key counts: False."""
        provider, wrapped = await self.masters.wrap(os.urandom(KEY_BYTES), place_of(own, version))
        try:
            await TenantKey(clinic_id=own, version=version, wrapped=wrapped, provider=provider).insert()
        except DuplicateKeyError:
            return False
        finally:
            self.forget(own)
        return True

    def _keep(self, own: ObjectId, ring: Keyring) -> None:
        self._kept[own] = _Kept(ring, time.monotonic() + KEPT_SECONDS)
        self._kept.move_to_end(own)
        if len(self._kept) > RINGS_KEPT:
            self._kept.popitem(last=False)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(KEPT_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Keys are not kept in memory for nobody: the oldest stand first."""
        now = time.monotonic()
        while self._kept and (oldest := next(iter(self._kept.items())))[1].until <= now:
            del self._kept[oldest[0]]
        left = next(iter(self._kept.values()), None)
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(max(left.until - now, 1.0), self._sweep) if left is not None else None

    def forget(self, own: ObjectId | None = None) -> None:
        """Drops the clinic's keys from memory, or everybody's."""
        if own is None:
            self._kept.clear()
        else:
            self._kept.pop(own, None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self.forget()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        await self.masters.close()


def use_tenant_keys(settings: Settings) -> TenantKeys:
    """Gives the guard the clinics' keys, from here on in this process. The caller closes them at its end."""
    keys = TenantKeys(masters_of(settings))
    set_key_source(keys)
    return keys
