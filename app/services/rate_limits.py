"""Limits on tries and on spent points, shared by all processes and kept over restarts.

Every step is one atomic update that reads the clock of the database, so neither concurrency nor the clocks of the
processes let one more through than a limit says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv6Network
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from app.errors import RateLimited
from app.tenancy.scope import current_scope
from models import RateBucket

NOW = "$$NOW"
RUNNING = {"$gt": ["$expires_at", NOW]}
TAKEN = {"$cond": [RUNNING, "$tries", 0]}
"""What the present window has given so far: nothing, when the stored one is over or there is none."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `tries` (or points) under one key in a `window` that opens with the first of them.

    Counts belong to the scope's clinic, unless what is limited (`platform`) is the same on every clinic's host.
    """

    name: str
    tries: int
    window: timedelta
    platform: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What one step gave: how many, how many are left for everybody together, and in which window."""

    granted: int
    left: int
    expires_at: datetime
    seconds: float
    """Until the window ends, counted from the moment of the step."""

    @property
    def retry_after(self) -> int:
        """Whole seconds, at least one, after which the window is over."""
        return max(1, math.ceil(self.seconds))


ONBOARDING = Limit("onboarding", 5, timedelta(minutes=15), platform=True)
LOGIN_BY_ADDRESS = Limit("login-address", 60, timedelta(minutes=15), platform=True)


def network_of(address: str) -> str:
    """Whom an address stands for: itself, but its /64 with IPv6, where one household has 2^64 addresses."""
    if ":" not in address:
        return address
    return str(IPv6Network((address.partition("%")[0], 64), strict=False))


async def take(limit: Limit, key: str) -> Taken:
    """Takes one try under `key`. Raises RATE_LIMITED when there were enough."""
    taken = await take_up_to(limit, key, need=1, share=0)
    if not taken.granted:
        raise RateLimited(taken.retry_after)
    return taken


async def take_up_to(limit: Limit, key: str, *, need: int, share: float) -> Taken:
    """Takes `need` at once, and up to `share` of what is left when that is more; nothing when `need` is not left."""
    left = {"$subtract": [limit.tries, TAKEN]}
    wished = {"$max": [need, {"$toLong": {"$floor": {"$multiply": [left, share]}}}]}
    granted = {"$cond": [{"$gte": [left, need]}, wished, 0]}
    return await _step(limit, key, granted)


async def give_back(limit: Limit, key: str) -> None:
    """Forgets all tries under `key`."""
    await RateBucket.guarded().delete_one({"_id": _name(limit, key)})


async def refund(limit: Limit, key: str, taken: Taken) -> None:
    """Takes back what a step gave, for instance a try that turned out to be rightful.

    In a window of its own alone: what was taken before this one opened was not taken from this one.
    """
    await RateBucket.guarded().update_one(
        {"_id": _name(limit, key), "expires_at": taken.expires_at, "tries": {"$gte": taken.granted}},
        {"$inc": {"tries": -taken.granted}},
    )


def _name(limit: Limit, key: str) -> str:
    owner = "platform" if limit.platform else current_scope().tenant_id
    return f"{limit.name}:{owner}:{key}"


async def _step(limit: Limit, key: str, granted: Mapping[str, Any]) -> Taken:
    try:
        return await _update(limit, key, granted)
    except DuplicateKeyError:  # two first tries at once: one made the bucket, now the other finds it
        return await _update(limit, key, granted)


async def _update(limit: Limit, key: str, granted: Mapping[str, Any]) -> Taken:
    """One atomic step: a window that has run out starts anew, an open one counts on."""
    milliseconds = int(limit.window.total_seconds() * 1000)
    row = await RateBucket.get_pymongo_collection().find_one_and_update(
        {"_id": _name(limit, key)},
        [
            {
                "$set": {
                    "clinic_id": None if limit.platform else current_scope().tenant_id,
                    "granted": granted,
                    "tries": {"$add": [TAKEN, granted]},
                    "stepped_at": NOW,
                    "expires_at": {"$cond": [RUNNING, "$expires_at", {"$add": [NOW, milliseconds]}]},
                }
            }
        ],
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    assert row is not None  # noqa: S101 - an upsert always answers with a document
    seconds = (row["expires_at"] - row["stepped_at"]).total_seconds()
    return Taken(int(row["granted"]), max(0, limit.tries - int(row["tries"])), row["expires_at"], seconds)
