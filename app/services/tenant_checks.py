"""Finds what no clinic's data may ever be: without its clinic, with a wrong one, pointing into another one.

Everything here reads what is stored, past the guard, and changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pymongo
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.config import Settings
from app.db.schema import STATE, apply_schema
from app.tenancy.crossing import system_scope
from app.tenancy.kinds import ARCHIVED_FIELD, SHARED_FIELD, TENANT_FIELD
from app.tenancy.scope import Database
from models import PLATFORM_DOCUMENTS, SHARED_DOCUMENTS, TENANT_DOCUMENTS, Tenant
from models.base import GuardedDocument
from models.references import PlatformReference, Reference, WhenGone, pointers_of

EXAMPLES = 5
OWN_COLLECTIONS = frozenset({STATE})
"""Collections of the system itself that no document class stands for."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of fault in one collection: how many documents have it, and the ids of some of them, as text."""

    collection: str
    problem: str
    count: int = 1
    examples: tuple[str, ...] = ()

    def __str__(self) -> str:
        some = f", for instance {', '.join(self.examples)}" if self.examples else ""
        return f"{self.collection}: {self.problem} ({self.count}{some})"


async def check_columns(
    client: AsyncMongoClient[dict[str, Any]], settings: Settings, *, database: Database | None = None
) -> list[Finding]:
    """All faults of a database (by default the shared one). Reads every clinic's collection once per kind of fault."""
    place = database if database is not None else client[settings.mongodb_database]
    async with system_scope("check that every document has its clinic"):
        with pymongo.timeout(None):
            found = [fault async for fault in _faults(place)]
    return found + await _schema_faults(client, settings, place)


async def _faults(place: Database) -> AsyncIterator[Finding]:
    tenants = set(await place[Tenant.guarded_name()].distinct("_id"))
    for owned in TENANT_DOCUMENTS:
        async for fault in _owner_faults(place, owned, tenants):
            yield fault
    for shared in SHARED_DOCUMENTS:
        async for fault in _sharing_faults(place, shared, tenants):
            yield fault
    for platform in PLATFORM_DOCUMENTS:
        async for fault in _platform_faults(place, platform):
            yield fault
    for model in (*TENANT_DOCUMENTS, *PLATFORM_DOCUMENTS):
        async for fault in _reference_faults(place, model):
            yield fault
    async for fault in _unknown_collections(place):
        yield fault


async def _schema_faults(
    client: AsyncMongoClient[dict[str, Any]], settings: Settings, place: Database
) -> list[Finding]:
    report = await apply_schema(client, settings, check=True, database=place)
    return [
        Finding(drift.collection, f"{drift.problem} {drift.part}{f' {drift.name}' if drift.name else ''}")
        for drift in report.drift
    ]


async def _unknown_collections(place: Database) -> AsyncIterator[Finding]:
    known = {model.guarded_name() for model in (*TENANT_DOCUMENTS, *SHARED_DOCUMENTS, *PLATFORM_DOCUMENTS)}
    for name in sorted(await place.list_collection_names()):
        if name not in known | OWN_COLLECTIONS and not name.startswith("system."):
            count = await place[name].estimated_document_count()
            yield Finding(name, "is not a registered collection", count)


# --- whose a document is ------------------------------------------------------------------------------------------


async def _owner_faults(
    place: Database, model: type[GuardedDocument], tenants: set[ObjectId]
) -> AsyncIterator[Finding]:
    """Owners that are missing, of another type than an id, or of a clinic that does not exist."""
    kind = {"$type": f"${TENANT_FIELD}"}
    owner = {"$cond": [{"$eq": [kind, "objectId"]}, f"${TENANT_FIELD}", kind]}
    async for group in _groups(place, model, [{"$group": _counted(owner)}]):
        if group["_id"] in tenants:
            continue
        named = isinstance(group["_id"], ObjectId)
        problem = f"belongs to no clinic that exists: {group['_id']}" if named else _not_an_id(group["_id"])
        yield _finding(model, problem, group)


def _not_an_id(type_name: str) -> str:
    if type_name in ("missing", "null"):
        return f"{TENANT_FIELD} is {type_name}"
    return f"{TENANT_FIELD} is not an id but {type_name}"


async def _sharing_faults(
    place: Database, model: type[GuardedDocument], tenants: set[ObjectId]
) -> AsyncIterator[Finding]:
    for problem, filter in _WRONG_SHARING.items():
        async for group in _groups(place, model, [{"$match": filter}, {"$group": _counted(None)}]):
            yield _finding(model, problem, group)
    of_one: list[dict[str, Any]] = [{"$match": {SHARED_FIELD: {"$type": "objectId"}}}, {"$unwind": f"${SHARED_FIELD}"}]
    async for group in _groups(place, model, [*of_one, {"$group": _counted(f"${SHARED_FIELD}")}]):
        if isinstance(group["_id"], ObjectId) and group["_id"] not in tenants:
            yield _finding(model, f"is shared with no clinic that exists: {group['_id']}", group)


_DISTINCT = {"$setUnion": [f"${SHARED_FIELD}", []]}
_ARCHIVED = {"$ifNull": [f"${ARCHIVED_FIELD}", []]}
_IS_LIST = {"$isArray": f"${SHARED_FIELD}"}
_WRONG_SHARING: Mapping[str, Mapping[str, Any]] = {
    f"{SHARED_FIELD} is missing or not a list": {SHARED_FIELD: {"$not": {"$type": "array"}}},
    f"{SHARED_FIELD} is empty": {SHARED_FIELD: {"$size": 0}},
    f"{SHARED_FIELD} holds something else than ids": {SHARED_FIELD: {"$elemMatch": {"$not": {"$type": "objectId"}}}},
    f"{SHARED_FIELD} names a clinic twice": {
        "$expr": {
            "$and": [_IS_LIST, {"$cond": [_IS_LIST, {"$ne": [{"$size": f"${SHARED_FIELD}"}, {"$size": _DISTINCT}]}, 0]}]
        }
    },
    f"{ARCHIVED_FIELD} names a clinic that does not share it": {
        "$expr": {
            "$cond": [
                {"$and": [_IS_LIST, {"$isArray": _ARCHIVED}]},
                {"$not": {"$setIsSubset": [_ARCHIVED, f"${SHARED_FIELD}"]}},
                False,
            ]
        }
    },
}


# --- where it points ----------------------------------------------------------------------------------------------


async def _platform_faults(place: Database, model: type[GuardedDocument]) -> AsyncIterator[Finding]:
    """Documents above the clinics that name a clinic or person who does not exist, and are no record of the past."""
    for pointer in pointers_of(model):
        mark = pointer.mark
        if isinstance(mark, PlatformReference) and mark.when_gone is not WhenGone.KEEP:
            stages = [*_pointing(pointer.path, None), *_target(mark.collection), {"$match": {"target": []}}]
            async for group in _groups(place, model, [*stages, _SUMMED]):
                yield _finding(model, f"{pointer.path} points to nothing in {mark.collection}", group)


async def _reference_faults(place: Database, model: type[GuardedDocument]) -> AsyncIterator[Finding]:
    """References of a clinic that point to nothing, or to what is not that clinic's."""
    for pointer in pointers_of(model):
        if not isinstance(pointer.mark, Reference):
            continue
        target = pointer.mark.collection
        stages = [*_pointing(pointer.path, _owner_field(model)), *_target(target)]
        outside = {"$match": {"$expr": {"$not": {"$in": ["$_id.owner", {"$ifNull": [_owners_of(target), []]}]}}}}
        for problem, only in (
            ("to nothing in", {"target": []}),
            ("outside of its clinic, in", {"target": {"$ne": []}}),
        ):
            async for group in _groups(place, model, [*stages, {"$match": only}, outside, _SUMMED]):
                yield _finding(model, f"{pointer.path} points {problem} {target}", group)


def _owner_field(model: type[GuardedDocument]) -> str:
    """Where a document names its clinic."""
    if issubclass(model, TENANT_DOCUMENTS):
        return TENANT_FIELD
    (own,) = (p.path for p in pointers_of(model) if p.mark == PlatformReference("tenants", WhenGone.DELETE))
    return own


def _owners_of(target: str) -> Any:
    """The clinics of the document that a reference found."""
    if target in {model.guarded_name() for model in SHARED_DOCUMENTS}:
        return {"$first": f"$target.{SHARED_FIELD}"}
    return f"$target.{TENANT_FIELD}"


def _pointing(path: str, owner: str | None) -> list[dict[str, Any]]:
    """Each different id at `path` (with the owner of the document), how often, and one document that has it."""
    return [
        {"$match": {path: {"$type": "objectId"}}},
        {"$project": {"owner": f"${owner}" if owner else None, "to": f"${path}"}},
        {"$unwind": "$to"},
        {"$group": {"_id": {"owner": "$owner", "to": "$to"}, "n": {"$sum": 1}, "one": {"$first": "$_id"}}},
    ]


def _target(collection: str) -> list[dict[str, Any]]:
    shown = [{"$project": {TENANT_FIELD: 1, SHARED_FIELD: 1}}]
    joined = {"from": collection, "localField": "_id.to", "foreignField": "_id", "pipeline": shown, "as": "target"}
    return [{"$lookup": joined}]


def _counted(by: Any) -> dict[str, Any]:
    return {"_id": by, "n": {"$sum": 1}, "examples": {"$firstN": {"input": "$_id", "n": EXAMPLES}}}


_SUMMED = {"$group": {"_id": None, "n": {"$sum": "$n"}, "examples": {"$firstN": {"input": "$one", "n": EXAMPLES}}}}


async def _groups(
    place: Database, model: type[GuardedDocument], pipeline: Iterable[Mapping[str, Any]]
) -> AsyncIterator[dict[str, Any]]:
    """Rows `_id, n, examples` of a pipeline that groups; large groups go to the server's disk."""
    async with await place[model.guarded_name()].aggregate(list(pipeline), allowDiskUse=True) as cursor:
        async for group in cursor:
            yield group


def _finding(model: type[GuardedDocument], problem: str, group: Mapping[str, Any]) -> Finding:
    return Finding(model.guarded_name(), problem, group["n"], tuple(str(one) for one in group["examples"]))
