"""What the guard and the wall cost per operation against bare Beanie: `python -m benchmarks.guard`.

Both sides run the same operation on twin collections of one mongod (MONGODB_URI, else a local one that is thrown
away), interleaved in rounds; the figures are medians of rounds, in microseconds per operation.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from beanie import Document, PydanticObjectId, init_beanie
from bson import ObjectId
from pymongo import AsyncMongoClient, IndexModel
from pymongo.monitoring import CommandListener

from app.db.documents import init_documents
from app.db.mongod import embedded_mongod
from app.tenancy.listener import TenantWall
from app.tenancy.scope import Scope, TenantId, TenantRef, open_scope
from models.base import TenantDocument

ROUNDS = 15
REPEATS = 100
PAGE = 50
TENANT = TenantId(ObjectId())
INDEXES = (IndexModel([("tenant_id", 1), ("number", 1)], name="number"),)

Operation = Callable[[], Awaitable[Any]]


class Bare(Document):
    """The same document on bare Beanie, filtered by hand."""

    tenant_id: PydanticObjectId
    number: int
    text: str = "some text of an ordinary length"

    class Settings:
        name = "bench_bare"


class Guarded(TenantDocument):
    """The document behind the guard."""

    number: int
    text: str = "some text of an ordinary length"

    class Settings:
        name = "bench_guarded"


def client(uri: str, *listeners: CommandListener) -> AsyncMongoClient[dict[str, Any]]:
    return AsyncMongoClient(uri, event_listeners=listeners, tz_aware=True, w="majority")


def operations() -> dict[str, tuple[Operation, Operation]]:
    """Per name: the operation on bare Beanie, and behind the guard."""
    own = PydanticObjectId(TENANT)

    async def bare_rows() -> Any:
        return await Bare.get_pymongo_collection().find({"tenant_id": own}, {"text": 1}).limit(PAGE).to_list()

    return {
        "find_one": (
            lambda: Bare.find_one({"tenant_id": own, "number": 7}),
            lambda: Guarded.find_one({"number": 7}),
        ),
        f"page of {PAGE}": (
            lambda: Bare.find({"tenant_id": own}).sort("number").limit(PAGE).to_list(),
            lambda: Guarded.find({}).sort("number").limit(PAGE).to_list(),
        ),
        f"{PAGE} rows": (bare_rows, lambda: Guarded.rows({}, projection={"text": 1}, limit=PAGE)),
        "insert": (
            lambda: Bare(tenant_id=own, number=-1).insert(),
            lambda: Guarded(number=-1).insert(),
        ),
        "update": (
            lambda: Bare.find_one({"tenant_id": own, "number": 7}).update({"$set": {"text": "x"}}),
            lambda: Guarded.find_one({"number": 7}).update({"$set": {"text": "x"}}),
        ),
    }


async def prepare(bare: AsyncMongoClient[dict[str, Any]], guarded: AsyncMongoClient[dict[str, Any]]) -> None:
    name = f"bench_guard_{os.getpid()}"
    await init_beanie(database=bare[name], document_models=[Bare], skip_indexes=True)
    await init_documents(guarded[name], [Guarded])
    for document in (Bare, Guarded):
        collection = bare[name][document.Settings.name]
        await collection.create_indexes(list(INDEXES))
        await collection.insert_many([{"tenant_id": TENANT, "number": n, "text": "x" * 30} for n in range(1_000)])


async def timed(operation: Operation) -> float:
    """Microseconds per operation, one after the other."""
    start = perf_counter()
    for _ in range(REPEATS):
        await operation()
    return (perf_counter() - start) / REPEATS * 1e6


async def compare(name: str, bare: Operation, guarded: Operation) -> None:
    await timed(bare)
    await timed(guarded)
    rounds = [(await timed(bare), await timed(guarded)) for _ in range(ROUNDS)]
    before, after = (median(column) for column in zip(*rounds, strict=True))
    extra = median(second - first for first, second in rounds)
    print(f"{name:12} bare {before:8.0f} µs   guarded {after:8.0f} µs   +{extra:6.0f} µs   ×{after / before:.2f}")


async def run(uri: str) -> None:
    async with client(uri) as bare, client(uri, TenantWall()) as guarded:
        await prepare(bare, guarded)
        try:
            with open_scope(Scope(request_id="bench", tenant=TenantRef(TENANT, "bench", "Bench"))):
                for name, (first, second) in operations().items():
                    await compare(name, first, second)
        finally:
            await bare.drop_database(f"bench_guard_{os.getpid()}")


def main() -> None:
    if uri := os.environ.get("MONGODB_URI"):
        asyncio.run(run(uri))
        return
    with tempfile.TemporaryDirectory() as folder, embedded_mongod(Path(folder), cache_gb=0.5, keep=False) as uri:
        asyncio.run(run(uri))


if __name__ == "__main__":
    main()
