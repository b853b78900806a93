"""Copies a clinic's documents from one database to another, and compares them byte by byte. Past the guard: whoever
calls has opened a system scope."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from bson import CodecOptions, ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError

from app.errors import Conflict
from app.services.watching import Report
from app.tenancy.criteria import tenant_clause
from app.tenancy.kinds import kind_of
from app.tenancy.operations import DUPLICATE_KEY
from app.tenancy.pipelines import BUSY_CLAIMS, CLAIMS, PERSONAL
from app.tenancy.scope import Database
from models import SHARED_DOCUMENTS, TENANT_DOCUMENTS

BATCH = 500
RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)
COLLECTIONS: tuple[str, ...] = tuple(model.guarded_name() for model in (*TENANT_DOCUMENTS, *SHARED_DOCUMENTS))
"""All that holds clinics' documents."""


class Differs(Conflict):
    """What was copied is not what stands in the source."""


@dataclass(frozen=True, slots=True)
class Digest:
    """How many documents there are, and the SHA-256 over all of their bytes in the order of their ids."""

    count: int
    sha256: str


def stored(place: Database, name: str) -> AsyncCollection[Any]:
    """A collection whose documents come as bytes."""
    return place.get_collection(name, RAW)


def of_clinic(name: str, clinic: ObjectId) -> dict[str, Any]:
    """Filter: the clinic's documents of a collection."""
    kind = kind_of(name)
    assert kind is not None  # noqa: S101 - one of COLLECTIONS
    return dict(tenant_clause(kind, clinic))


async def digest(place: Database, name: str, clinic: ObjectId, more: Mapping[str, Any] | None = None) -> Digest:
    """That of the clinic's documents; `more` narrows it."""
    whole, count = sha256(), 0
    asked = {"$and": [of_clinic(name, clinic), more or {}]}
    async with stored(place, name).find(asked, sort=[("_id", 1)], batch_size=BATCH) as cursor:
        async for document in cursor:
            whole.update(document.raw)
            count += 1
    return Digest(count, whole.hexdigest())


async def copy(
    source: Database, target: Database, clinic: ObjectId, names: Iterable[str], report: Report = lambda *_: None
) -> int:
    """Makes the clinic's documents in `target` those of `source`; how many had to be written or removed.

    What is alike already is only read, so the same call fetches everything, what is left of an interrupted run, or what
    was changed since.
    """
    changed = 0
    for name in names:
        changed += await _remove_gone(source, target, clinic, name)
        late: list[Any] = []
        async for batch in _batches(source, clinic, name):
            written, refused = await _write_different(target, name, clinic, batch)
            changed += written
            late += refused
            report(name, len(batch))
        if late:
            await _write_at_once(source, target, clinic, name, late)
    return changed


async def _batches(place: Database, clinic: ObjectId, name: str) -> AsyncIterator[list[RawBSONDocument]]:
    async with stored(place, name).find(of_clinic(name, clinic), sort=[("_id", 1)], batch_size=BATCH) as cursor:
        while batch := await cursor.to_list(BATCH):
            yield batch


async def _remove_gone(source: Database, target: Database, clinic: ObjectId, name: str) -> int:
    """Takes out of the target what the source has not (any more)."""
    gone = 0
    ids: list[Any] = []

    async def flush() -> int:
        there = {row["_id"] async for row in stored(source, name).find({"_id": {"$in": ids}}, {"_id": 1})}
        extra = [one for one in ids if one not in there]
        if not extra:
            return 0
        asked = {"$and": [of_clinic(name, clinic), {"_id": {"$in": extra}}]}
        return (await target[name].delete_many(asked)).deleted_count

    async with stored(target, name).find(of_clinic(name, clinic), {"_id": 1}, batch_size=BATCH) as cursor:
        while batch := await cursor.to_list(BATCH):
            ids = [row["_id"] for row in batch]
            gone += await flush()
    return gone


async def _write_different(
    target: Database, name: str, clinic: ObjectId, batch: Sequence[RawBSONDocument]
) -> tuple[int, list[Any]]:
    """Writes those of a batch that are missing or different; how many, and the ids of those that a unique index would
    not take yet, because the target still has another document as it was."""
    ids = [document["_id"] for document in batch]
    asked = {"$and": [of_clinic(name, clinic), {"_id": {"$in": ids}}]}
    there = {row["_id"]: bytes(row.raw) async for row in stored(target, name).find(asked)}
    different = [one for one in batch if there.get(one["_id"]) != bytes(one.raw)]
    if not different:
        return 0, []
    writes: list[ReplaceOne[Any]] = [
        ReplaceOne({"_id": one["_id"], **of_clinic(name, clinic)}, one, upsert=True) for one in different
    ]
    try:
        await stored(target, name).bulk_write(writes, ordered=False)
    except BulkWriteError as error:
        failures = (error.details or {}).get("writeErrors", ())
        if any(one["code"] != DUPLICATE_KEY for one in failures):
            raise
        refused = [different[one["index"]]["_id"] for one in failures]
        return len(different) - len(refused), refused
    return len(different), []


async def _write_at_once(source: Database, target: Database, clinic: ObjectId, name: str, ids: Sequence[Any]) -> None:
    """Documents that have exchanged unique values among them: all go and come in one transaction, so that nobody else
    can take in between what they hold."""
    rows = await stored(source, name).find({"$and": [of_clinic(name, clinic), {"_id": {"$in": list(ids)}}]}).to_list()

    async def work(session: AsyncClientSession) -> None:
        asked = {"$and": [of_clinic(name, clinic), {"_id": {"$in": list(ids)}}]}
        await target[name].delete_many(asked, session=session)
        if rows:
            await stored(target, name).insert_many(rows, session=session)

    async with target.client.start_session() as session:
        await session.with_transaction(work)


async def compare(source: Database, target: Database, clinic: ObjectId, names: Iterable[str]) -> dict[str, Digest]:
    """The digests of the collections, alike in both. Raises `Differs` naming the first that is not."""
    found: dict[str, Digest] = {}
    for name in names:
        there, here = await digest(source, name, clinic), await digest(target, name, clinic)
        if there != here:
            told = f"{there.count} documents were there, {here.count} are copied"
            raise Differs(f"{name} differs from what was copied: {told}.")
        found[name] = there
    return found


async def count(place: Database, clinic: ObjectId) -> int:
    """How many documents of the clinic a database holds."""
    return sum([await place[name].count_documents(of_clinic(name, clinic)) for name in COLLECTIONS])


async def clear_shared(shared: Database, clinic: ObjectId) -> None:
    """Takes the clinic's documents out of the shared database, but for the shadows of its appointments: the times that
    people are taken, which hold for clinics there (`app.tenancy.claimed`)."""
    for name in COLLECTIONS:
        mine = of_clinic(name, clinic)
        if name == BUSY_CLAIMS:
            await _reduce_to_shadows(shared, mine)
        else:
            await shared[name].delete_many(mine)


async def _reduce_to_shadows(shared: Database, mine: Mapping[str, Any]) -> None:
    beginnings = "|".join(PERSONAL)
    a_persons = {CLAIMS: {"$regex": f"^({beginnings})"}}
    await shared[BUSY_CLAIMS].delete_many({"$and": [dict(mine), {"$nor": [a_persons]}]})
    is_personal = {"$regexMatch": {"input": "$$one", "regex": f"^({beginnings})"}}
    kept = {"$filter": {"input": f"${CLAIMS}", "as": "one", "cond": is_personal}}
    shadow = {"_id": "$_id", "tenant_id": "$tenant_id", CLAIMS: kept}
    await shared[BUSY_CLAIMS].update_many(dict(mine), [{"$replaceWith": shadow}])
