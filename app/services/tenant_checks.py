"""Finds what no clinic's data may ever be: without its clinic, with a wrong one, pointing into another one; and stock
that is not the sum of its movements.

Everything here reads what is stored, past the guard, and changes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pymongo
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from app.config import Settings
from app.db.schema import STATE, SchemaReport, apply_schema
from app.errors import Unavailable
from app.services.changes import storable
from app.services.documents.recount import KIND, by_kind, total
from app.services.pharmacy.checks import comparisons
from app.services.placement.commits import doubts
from app.services.placement.provisioning import is_clinics_own
from app.tenancy.away import full_name
from app.tenancy.clusters import clusters
from app.tenancy.crossing import system_scope
from app.tenancy.kinds import ARCHIVED_FIELD, SHARED_FIELD, TENANT_FIELD
from app.tenancy.pipelines import BUSY_CLAIMS
from app.tenancy.places import database_at, residence_of
from app.tenancy.scope import Database
from app.tenancy.spanning import COMMIT_LOG
from models import (
    PLATFORM_DOCUMENTS,
    SHARED_DOCUMENTS,
    TENANT_DOCUMENTS,
    Cluster,
    DocumentContent,
    StorageUsage,
    Tenant,
)
from models.base import GuardedDocument
from models.document import Room
from models.references import PlatformReference, Reference, WhenGone, pointers_of

EXAMPLES = 5
OWN_COLLECTIONS = frozenset({STATE, COMMIT_LOG})
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
    """All faults of a shared database (by default that of the settings) and of the own ones of its clinics. Reads every
    clinic's collection once per kind of fault."""
    place = database if database is not None else client[settings.mongodb_database]
    async with system_scope("check that every document has its clinic"):
        with pymongo.timeout(None):
            columns = {"subdomain": 1, "placement": 1, "move.stage": 1}
            tenants = {row["_id"]: row async for row in place[Tenant.guarded_name()].find({}, columns)}
            apart = {id: row for id, row in tenants.items() if residence_of(row).is_own}
            found = [fault async for fault in _faults(place, set(tenants), set(apart))]
            found += [fault async for fault in _misplaced(place, apart)]
            for id, row in sorted(apart.items()):
                found += await _reached_faults(place, id, row)
            found += [fault async for fault in _orphans(place.client, place.name, tenants, None)]
            for row in await place[Cluster.guarded_name()].find({}, {"name": 1}, sort=[("name", 1)]).to_list():
                found += await _cluster_faults(row["name"], place.name, tenants)
    return found + await _schema_faults(place)


async def _reached_faults(place: Database, id: ObjectId, row: Mapping[str, Any]) -> list[Finding]:
    """Those of one clinic's own database, or that it cannot be read because its cluster is away."""
    residence = residence_of(row)
    try:
        own = await database_at(place, residence)
        found = [fault async for fault in _own_faults(place, own, id)]
        if residence.cluster is not None:
            found += [
                Finding(f"{full_name(own)}.{COMMIT_LOG}", f"is in doubt: {one.why}", 1, (str(one.id),))
                for one in await doubts(dict(row))
            ]
    except (Unavailable, PyMongoError):
        if residence.cluster is None:
            raise
        return [Finding(f"{residence.cluster}/{residence.database}", "cannot be reached")]
    return found


async def _cluster_faults(name: str, shared: str, tenants: Mapping[ObjectId, Any]) -> list[Finding]:
    """Databases of no clinic on another cluster; one that is away tells of none."""
    try:
        client = await clusters.client(name)
        return [fault async for fault in _orphans(client, shared, tenants, name)]
    except (Unavailable, PyMongoError):
        return [Finding(name, "is a cluster that cannot be reached")]


async def _faults(place: Database, tenants: set[ObjectId], apart: set[ObjectId]) -> AsyncIterator[Finding]:
    """Those of the shared database. What clinics that live `apart` have there is not theirs to work with."""
    checks = (
        *(_owner_faults(place, owned, tenants) for owned in TENANT_DOCUMENTS),
        *(_sharing_faults(place, shared, tenants) for shared in SHARED_DOCUMENTS),
        *(_platform_faults(place, platform) for platform in PLATFORM_DOCUMENTS),
        *(_reference_faults(place, model, apart) for model in (*TENANT_DOCUMENTS, *PLATFORM_DOCUMENTS)),
        _stock_faults(place),
        _room_faults(place),
        _unknown_collections(place, (*TENANT_DOCUMENTS, *SHARED_DOCUMENTS, *PLATFORM_DOCUMENTS)),
    )
    for check in checks:
        async for fault in check:
            yield fault


async def _stock_faults(place: Database) -> AsyncIterator[Finding]:
    """Balances of the stock that are not the sums of what they must be the sums of."""
    for one in comparisons():
        counted = {"_id": None, "n": {"$sum": 1}, "examples": {"$firstN": {"input": "$_id.id", "n": EXAMPLES}}}
        async for group in _groups(place, one.model, [*one.stages, {"$group": counted}]):
            yield _finding(one.model, one.problem, group)


async def _room_faults(place: Database) -> AsyncIterator[Finding]:
    """Clinics whose count of the room that files take differs from what their contents come to.

    What is uploaded between the two looks is not a fault: whoever differs is looked at twice.
    """
    twice = await _miscounted(place)
    if twice and (wrong := sorted(set(twice) & set(await _miscounted(place)))):
        some = tuple(str(one) for one in wrong[:EXAMPLES])
        yield Finding(StorageUsage.guarded_name(), "the room of files is miscounted", len(wrong), some)


async def _miscounted(place: Database) -> list[ObjectId]:
    by_clinic = {"_id": {"clinic": f"${TENANT_FIELD}", "kind": KIND}, "bytes": {"$sum": "$size"}}
    stages: list[dict[str, Any]] = [{"$group": {**by_clinic, "files": {"$sum": 1}}}]
    found: dict[Any, dict[str, Room]] = {}
    async for group in _groups(place, DocumentContent, stages):
        of_clinic = found.setdefault(group["_id"].get("clinic"), {})
        of_clinic[str(group["_id"].get("kind"))] = Room(bytes=group["bytes"], files=group["files"])
    wrong = []
    async for row in place[StorageUsage.guarded_name()].find({}):
        kept = by_kind(found.pop(row.get(TENANT_FIELD), {}))
        reserved = sum(one["size"] for one in row.get("reserved") or ())
        if row.get("kept") != storable(kept) or row.get("used") != reserved + total(kept).bytes:
            wrong.append(row.get(TENANT_FIELD))
    return [one for one in (*wrong, *found) if isinstance(one, ObjectId)]


async def _own_faults(shared: Database, own: Database, clinic: ObjectId) -> AsyncIterator[Finding]:
    """Those of one clinic's own database, named by it."""
    found: list[Finding] = []
    for owned in TENANT_DOCUMENTS:
        found += [fault async for fault in _owner_faults(own, owned, {clinic})]
        found += [fault async for fault in _reference_faults(own, owned, set())]
    for model in SHARED_DOCUMENTS:
        found += [fault async for fault in _sharing_faults(own, model, {clinic})]
    found += [fault async for fault in _stock_faults(own)]
    found += [fault async for fault in _room_faults(own)]
    found += [fault async for fault in _platform_pointers(shared, own, clinic)]
    found += [fault async for fault in _unknown_collections(own, (*TENANT_DOCUMENTS, *SHARED_DOCUMENTS))]
    found += _drift(await apply_schema(own, check=True, tenant_id=clinic))
    for fault in found:
        yield replace(fault, collection=f"{full_name(own)}.{fault.collection}")


async def _platform_pointers(shared: Database, own: Database, clinic: ObjectId) -> AsyncIterator[Finding]:
    """References of documents above the clinics into a clinic's own database that lead to nothing there."""
    for model in PLATFORM_DOCUMENTS:
        for pointer in pointers_of(model):
            if isinstance(pointer.mark, Reference):
                target = pointer.mark.collection
                wanted = await shared[model.guarded_name()].distinct(pointer.path, {_owner_field(model): clinic})
                ids = {one for one in wanted if isinstance(one, ObjectId)}
                lost = ids - {row["_id"] async for row in own[target].find({"_id": {"$in": list(ids)}}, {"_id": 1})}
                if lost:
                    some = tuple(sorted(map(str, lost))[:EXAMPLES])
                    problem = f"{pointer.path} of {model.guarded_name()} points to nothing in it"
                    yield Finding(target, problem, len(lost), some)


async def _misplaced(place: Database, apart: Mapping[ObjectId, Mapping[str, Any]]) -> AsyncIterator[Finding]:
    """Documents in the shared database of clinics that live elsewhere: more than the shadows of appointments, and of no
    move that keeps them."""
    gone = [id for id, row in apart.items() if not row.get("move")]
    for model in (*TENANT_DOCUMENTS, *SHARED_DOCUMENTS):
        field_ = SHARED_FIELD if model in SHARED_DOCUMENTS else TENANT_FIELD
        theirs: dict[str, Any] = {field_: {"$in": gone}}
        if model.guarded_name() == BUSY_CLAIMS:
            theirs["patient_id"] = {"$exists": True}
        if count := await place[model.guarded_name()].count_documents(theirs) if gone else 0:
            yield Finding(model.guarded_name(), "belongs to a clinic that lives in a database of its own", count)


async def _orphans(
    client: AsyncMongoClient[dict[str, Any]], shared: str, tenants: Mapping[ObjectId, Any], cluster: str | None
) -> AsyncIterator[Finding]:
    """Databases on a cluster (None: the home one) that are named as those of clinics, and are of none that is there, or
    was before a move."""
    living = {here.database for row in tenants.values() if (here := residence_of(row)).cluster == cluster}
    known = living | {f"{shared}_{id}" for id, row in tenants.items() if row.get("move")}
    for name in sorted(await client.list_database_names()):
        if is_clinics_own(name, shared) and name not in known:
            yield Finding(f"{cluster}/{name}" if cluster else name, "is the database of no clinic that exists")


async def _schema_faults(place: Database) -> list[Finding]:
    return _drift(await apply_schema(place, check=True))


def _drift(report: SchemaReport) -> list[Finding]:
    return [
        Finding(drift.collection, f"{drift.problem} {drift.part}{f' {drift.name}' if drift.name else ''}")
        for drift in report.drift
    ]


async def _unknown_collections(place: Database, models: Iterable[type[GuardedDocument]]) -> AsyncIterator[Finding]:
    known = {model.guarded_name() for model in models}
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


async def _reference_faults(
    place: Database, model: type[GuardedDocument], apart: set[ObjectId]
) -> AsyncIterator[Finding]:
    """References of a clinic that point to nothing, or to what is not that clinic's; not those of clinics `apart`."""
    for pointer in pointers_of(model):
        if not isinstance(pointer.mark, Reference):
            continue
        target = pointer.mark.collection
        here = {"$match": {_owner_field(model): {"$nin": list(apart)}}}
        stages = [here, *_pointing(pointer.path, _owner_field(model)), *_target(target)]
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
