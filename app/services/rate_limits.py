"""Limits on tries, shared by all processes and kept over restarts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Network

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from app.errors import RateLimited
from app.tenancy.scope import current_scope
from models import RateBucket
from models.values import now


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `tries` under one key in a `window` that opens with the first of them.

    Counts belong to the scope's clinic, unless what is limited (`platform`) is the same on every clinic's host.
    """

    name: str
    tries: int
    window: timedelta
    platform: bool = False


ONBOARDING = Limit("onboarding", 5, timedelta(minutes=15), platform=True)
LOGIN_BY_ADDRESS = Limit("login-address", 60, timedelta(minutes=15), platform=True)


def network_of(address: str) -> str:
    """Whom an address stands for: itself, but its /64 with IPv6, where one household has 2^64 addresses."""
    if ":" not in address:
        return address
    return str(IPv6Network((address.partition("%")[0], 64), strict=False))


async def take(limit: Limit, key: str) -> None:
    """Counts one try under `key`. Raises RATE_LIMITED when there were enough."""
    count, retry_after = await _count(_name(limit, key), limit)
    if count > limit.tries:
        raise RateLimited(retry_after)


async def give_back(limit: Limit, key: str) -> None:
    """Forgets all tries under `key`."""
    await RateBucket.guarded().delete_one({"_id": _name(limit, key)})


async def refund(limit: Limit, key: str) -> None:
    """Takes one try back, for instance one that turned out to be rightful."""
    await RateBucket.guarded().update_one({"_id": _name(limit, key), "tries": {"$gt": 0}}, {"$inc": {"tries": -1}})


def _name(limit: Limit, key: str) -> str:
    owner = "platform" if limit.platform else current_scope().tenant_id
    return f"{limit.name}:{owner}:{key}"


async def _count(name: str, limit: Limit) -> tuple[int, int]:
    try:
        return await _step(name, limit)
    except DuplicateKeyError:  # two first tries at once: one made the bucket, now the other finds it
        return await _step(name, limit)


async def _step(name: str, limit: Limit) -> tuple[int, int]:
    """One atomic step: a window that has run out starts anew, an open one counts on."""
    moment = now()
    running = {"$gt": ["$expires_at", moment]}
    row = await RateBucket.get_pymongo_collection().find_one_and_update(
        {"_id": name},
        [
            {
                "$set": {
                    "clinic_id": None if limit.platform else current_scope().tenant_id,
                    "tries": {"$cond": [running, {"$add": ["$tries", 1]}, 1]},
                    "expires_at": {"$cond": [running, "$expires_at", moment + limit.window]},
                }
            }
        ],
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    assert row is not None  # noqa: S101 - an upsert always answers with a document
    left = min(limit.window, row["expires_at"] - moment)  # a process whose clock is ahead opened it later than now
    return row["tries"], max(1, math.ceil(left.total_seconds()))
