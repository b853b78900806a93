"""One run at a time for each database: a lock document with a lease, which a killed run leaves to the next."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

from pymongo.errors import DuplicateKeyError, PyMongoError

from app.tasks import end
from app.tenancy.scope import Database
from models.values import now

LOCK = "lock"
LEASE = timedelta(seconds=60)
BEAT_SECONDS = 15.0


class Busy(Exception):
    """Another run is at work on this database."""


@asynccontextmanager
async def held(database: Database, collection: str, name: str = LOCK) -> AsyncIterator[None]:
    """Holds a lock of the database until the block ends. Raises `Busy` when somebody else does."""
    stored, holder = database[collection], uuid4().hex
    free = {"_id": name, "lease_until": {"$lte": now()}}
    try:
        await stored.update_one(free, {"$set": {"holder": holder, "lease_until": now() + LEASE}}, upsert=True)
    except DuplicateKeyError:
        raise Busy from None

    async def beat() -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            with contextlib.suppress(PyMongoError):
                await stored.update_one({"_id": name, "holder": holder}, {"$set": {"lease_until": now() + LEASE}})

    beating = asyncio.create_task(beat(), name=f"lease on {database.name}")
    try:
        yield
    finally:
        await end(beating)
        await stored.delete_one({"_id": name, "holder": holder})
