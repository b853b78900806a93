"""Finds the documents that have no clinic, in their collections and in quarantine, and what they are tied to.

About 1 KB of memory is taken for each of them, whatever its size; documents that have a clinic take none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import bson
from bson import CodecOptions, ObjectId
from bson.raw_bson import RawBSONDocument

from app.db.schema import without_clinic
from app.services.legacy.fitting import Unfit, fitted, holds_sealed
from app.services.legacy.plan import Clinics, Found, Key, Tie, values_at
from app.services.legacy.uniques import Taken, columns_of, marks_of
from app.services.watching import Report
from app.tenancy.crossing import SystemHandle
from app.tenancy.kinds import SHARED_FIELD, TENANT_FIELD
from models import SHARED_DOCUMENTS, TENANT_DOCUMENTS, LegacyDocument, Tenant
from models.base import GuardedDocument
from models.references import Reference, pointers_of

Row = dict[str, Any]

BATCH = 500
RAW: CodecOptions[Any] = CodecOptions(document_class=RawBSONDocument)
AWARE: CodecOptions[Row] = CodecOptions(tz_aware=True)
MODELS: tuple[type[GuardedDocument], ...] = (*SHARED_DOCUMENTS, *TENANT_DOCUMENTS)
BY_NAME: Mapping[str, type[GuardedDocument]] = {model.guarded_name(): model for model in MODELS}
SHARED_NAMES = frozenset(model.guarded_name() for model in SHARED_DOCUMENTS)
TWICE = "the quarantine holds another document of the same id"


def key_of(collection: str, id: Any) -> Key:
    """The document of that id."""
    return Key(collection, bson.encode({"": id}))


@dataclass(slots=True)
class Look:
    """What was found: the documents, the clinics of those that they point to, and of those that point to them."""

    found: dict[Key, Found] = field(default_factory=dict)
    owners: dict[Key, Clinics] = field(default_factory=dict)
    pointed: dict[Key, Clinics] = field(default_factory=dict)
    taken: Taken = field(default_factory=set)
    """What the clinics' own documents take up under unique indexes."""


async def look(system: SystemHandle, *, quarantine_only: bool = False, report: Report = lambda *_: None) -> Look:
    """Reads every clinics' collection and the quarantine. Changes nothing."""
    seen = Look()
    clinics = await names_of_clinics()
    async for row in quarantined():
        content = bson.decode(row["content"], AWARE)
        key = key_of(row["collection"], content.get("_id"))
        seen.found[key] = _found(row["collection"], content, clinics, quarantined=True)
        report(row["collection"], 1)
    for name in () if quarantine_only else BY_NAME:
        async for rows in taken_from(system, name):
            for raw in rows:
                content = bson.decode(bytes(raw.raw), AWARE)
                key = key_of(name, content.get("_id"))
                if key in seen.found:
                    seen.found[key].problem = TWICE
                else:
                    seen.found[key] = _found(name, content, clinics, quarantined=False)
            report(name, len(rows))
    await _find_owners(system, seen)
    await _find_pointing(system, seen, report)
    await _find_taken(system, seen)
    return seen


async def names_of_clinics() -> dict[str, ObjectId]:
    """Subdomain, and id as text → id, of the clinics that there are."""
    rows = await Tenant.rows({}, projection={"subdomain": 1})
    return {name: row["_id"] for row in rows for name in (row["subdomain"], str(row["_id"]))}


async def quarantined(collection: str | None = None) -> AsyncIterator[Row]:
    """The quarantine, or what it holds of one collection, as stored."""
    after: Row = {}
    where = {"collection": collection} if collection is not None else {}
    while rows := await LegacyDocument.rows({**where, **after}, sort=[("_id", 1)], limit=BATCH):
        for row in rows:
            yield row
        after = {"_id": {"$gt": rows[-1]["_id"]}}


async def taken_from(system: SystemHandle, collection: str) -> AsyncIterator[list[RawBSONDocument]]:
    """A collection's documents without a clinic, byte for byte, in parts."""
    stored: Any = system.database.get_collection(collection, RAW)
    async with stored.find(without_clinic(BY_NAME[collection]), batch_size=BATCH) as cursor:
        while rows := await cursor.to_list(BATCH):
            yield rows


def _found(collection: str, content: Row, clinics: Mapping[str, ObjectId], *, quarantined: bool) -> Found:
    model, problem = BY_NAME[collection], None
    named = _named(content, clinics)
    if not holds_sealed(collection, content):  # else it shows once it was opened, for which its clinic must be known
        try:
            content = fitted(model, content)
        except Unfit as unfit:
            problem = str(unfit)
    return Found(
        ties=tuple(ties_of(model, content)),
        named=named,
        problem=problem,
        shared=collection in SHARED_NAMES,
        quarantined=quarantined,
        text=str(content.get("_id")),
        marks=tuple(marks_of(model, content)),
    )


def _named(content: Row, clinics: Mapping[str, ObjectId]) -> Clinics:
    """Clinics that a document names in its owner's place in another way than by an id of its own type."""
    said = [content.get(TENANT_FIELD), content.get(SHARED_FIELD)]
    texts = [str(one).strip().lower() for value in said for one in (value if isinstance(value, list) else [value])]
    return frozenset(clinics[text] for text in texts if text in clinics)


def ties_of(model: type[GuardedDocument], content: Row) -> Iterator[Tie]:
    """The marked references of a document, at any depth."""
    for pointer in pointers_of(model):
        if isinstance(pointer.mark, Reference):
            for id in values_at(content, pointer.path.split(".")):
                if isinstance(id, ObjectId):
                    yield Tie(pointer.path, key_of(pointer.mark.collection, id))


async def _find_owners(system: SystemHandle, seen: Look) -> None:
    wanted: dict[str, set[bytes]] = defaultdict(set)
    for one in seen.found.values():
        for tie in one.ties:
            if tie.to not in seen.found:
                wanted[tie.to.collection].add(tie.to.id)
    for collection, keys in wanted.items():
        ids = [bson.decode(key)[""] for key in sorted(keys)]
        stored = system.raw(BY_NAME[collection])
        for at in range(0, len(ids), BATCH):
            asked = {"_id": {"$in": ids[at : at + BATCH]}}
            async for row in stored.find(asked, {TENANT_FIELD: 1, SHARED_FIELD: 1}):
                if owners := _owners(collection, row):
                    seen.owners[key_of(collection, row["_id"])] = owners


def _owners(collection: str, row: Row) -> Clinics:
    value = row.get(SHARED_FIELD if collection in SHARED_NAMES else TENANT_FIELD)
    return frozenset(one for one in (value if isinstance(value, list) else [value]) if isinstance(one, ObjectId))


async def _find_pointing(system: SystemHandle, seen: Look, report: Report) -> None:
    """Goes once through the documents that have a clinic and may point to one that has none."""
    targets = {key.collection for key in seen.found}
    pointed: dict[Key, set[ObjectId]] = defaultdict(set)
    for model in TENANT_DOCUMENTS:
        marks = [one for one in pointers_of(model) if isinstance(one.mark, Reference)]
        paths = [one.path for one in marks if one.mark.collection in targets]
        if not paths:
            continue
        columns = {TENANT_FIELD: 1, **dict.fromkeys((path.partition(".")[0] for path in paths), 1)}
        async with system.raw(model).find({TENANT_FIELD: {"$type": "objectId"}}, columns) as cursor:
            while rows := await cursor.to_list(BATCH):
                for row in rows:
                    for tie in ties_of(model, row):
                        if tie.to in seen.found and isinstance(row[TENANT_FIELD], ObjectId):
                            pointed[tie.to].add(row[TENANT_FIELD])
                report(model.guarded_name(), len(rows))
    seen.pointed = {key: frozenset(clinics) for key, clinics in pointed.items()}


async def _find_taken(system: SystemHandle, seen: Look) -> None:
    """Goes once through the documents that have a clinic where others may be in the place of one that has none."""
    wanted = {(key.collection, mark.digest) for key, one in seen.found.items() for mark in one.marks}
    for name in sorted({collection for collection, _ in wanted}):
        model = BY_NAME[name]
        columns = dict.fromkeys({TENANT_FIELD, *columns_of(model)}, 1)
        async with system.raw(model).find({TENANT_FIELD: {"$type": "objectId"}}, columns) as cursor:
            async for row in cursor:
                for mark in marks_of(model, row):
                    if (name, mark.digest) in wanted:
                        seen.taken.add((name, None if mark.across else row[TENANT_FIELD], mark.digest))
