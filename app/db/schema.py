"""Puts collections, validators and indexes on a database, and tells where a database differs from the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import uuid4

import pymongo
from bson import ObjectId, json_util
from pymongo.errors import CollectionInvalid, DuplicateKeyError, OperationFailure

from app.db.migrations import MIGRATIONS
from app.tenancy.away import cluster_of
from app.tenancy.kinds import ARCHIVED_FIELD, SHARED_FIELD, TENANT_FIELD, Kind, kind_of
from app.tenancy.scope import Database, Scope, open_scope
from app.tenancy.spanning import COMMIT_LOG
from models import ALL_DOCUMENTS, Role
from models.base import GuardedDocument
from models.values import now

STATE = "schema_state"
DUPLICATE_KEY = 11000
INDEX_OPTIONS = ("unique", "sparse", "partialFilterExpression", "expireAfterSeconds", "collation", "hidden")


class SchemaError(Exception):
    """The schema could not be applied. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference. `problem`: missing, different or unexpected; `part`: collection, validator or index."""

    collection: str
    part: str
    problem: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.collection}: {self.problem} {self.part}{f' {self.name}' if self.name else ''}"


@dataclass(slots=True)
class SchemaReport:
    """`drift` is what was found (with `check`) or what is left after applying; `changes` is what was done."""

    database: str
    fingerprint: str
    drift: list[Drift] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    known: bool = False
    """True when the recorded fingerprint matched, so nothing was looked at."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one collection should be: its validator ({} for none) and indexes by name, as the server tells them."""

    name: str
    validator: dict[str, Any]
    indexes: dict[str, dict[str, Any]]


async def apply_schema(
    place: Database,
    *,
    check: bool = False,
    documents: Sequence[type[GuardedDocument]] | None = None,
    tenant_id: ObjectId | None = None,
    force: bool = False,
    look_only: bool = False,
) -> SchemaReport:
    """Makes a database what the models say, or with `check` only reports the drift.

    With `tenant_id` it is that clinic's own database: no platform collections, and validators that admit that clinic
    alone. Unexpected indexes are reported, never dropped. When the recorded fingerprint matches, one read is all that
    happens, unless `force`; with `look_only` in any case. Raises `SchemaError` when a unique index cannot be built.

    A database without any clinic has nothing to migrate: every step counts as done there.
    """
    plan = [wanted(document, tenant_id) for document in (documents or ALL_DOCUMENTS) if _belongs(document, tenant_id)]
    report = SchemaReport(place.name, fingerprint(plan))
    if not check and not force:
        recorded = await place[STATE].find_one({"_id": "schema"})
        if recorded is not None and recorded["fingerprint"] == report.fingerprint:
            report.known = True
        if report.known or look_only:
            return report
    with open_scope(Scope(request_id=uuid4().hex, system_reason="schema")), pymongo.timeout(None):
        fresh = not check and await _is_fresh(place)
        await _compare(place, plan, report, change=not check)
        if not check:
            await _record(place, report, fresh=fresh)
    return report


def _belongs(document: type[GuardedDocument], tenant_id: ObjectId | None) -> bool:
    return tenant_id is None or kind_of(document.guarded_name()) is not Kind.PLATFORM


def wanted(document: type[GuardedDocument], tenant_id: ObjectId | None = None) -> Wanted:
    """What the collection of `document` should be."""
    models = getattr(document.Settings, "indexes", ())
    indexes = {index.document["name"]: dict(index.document) for index in models}
    kind = kind_of(document.guarded_name())
    return Wanted(document.guarded_name(), _validator(kind, tenant_id, document.database_rules), indexes)


def _validator(kind: Kind | None, tenant_id: ObjectId | None, rules: Mapping[str, Any]) -> dict[str, Any]:
    tenant: dict[str, Any] = {"bsonType": "objectId"} if tenant_id is None else {"enum": [tenant_id]}
    several = {"bsonType": "array", "uniqueItems": True, "items": tenant}
    if kind is Kind.TENANT:
        return _schema(TENANT_FIELD, {TENANT_FIELD: tenant, **rules})
    if kind is Kind.SHARED:
        return _schema(SHARED_FIELD, {SHARED_FIELD: {**several, "minItems": 1}, ARCHIVED_FIELD: several})
    return {}


def _schema(required: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"$jsonSchema": {"bsonType": "object", "required": [required], "properties": dict(properties)}}


def without_clinic(document: type[GuardedDocument]) -> dict[str, Any]:
    """Filter: documents from before there were clinics, or with something else than an id where their clinic stands.

    The validators keep such out, and say nothing of those that were there before them.
    """
    if kind_of(document.guarded_name()) is Kind.SHARED:
        return {SHARED_FIELD: {"$not": {"$elemMatch": {"$type": "objectId"}}}}
    return {"$expr": {"$ne": [{"$type": f"${TENANT_FIELD}"}, "objectId"]}}


def fingerprint(plan: Sequence[Wanted]) -> str:
    """The same for the same plan, in every process."""
    parts = [[part.name, part.validator, part.indexes] for part in sorted(plan, key=lambda part: part.name)]
    return sha256(json_util.dumps(parts).encode()).hexdigest()


async def _record(place: Database, report: SchemaReport, *, fresh: bool) -> None:
    if fresh:
        await _nothing_to_migrate(place)
    seen = {"fingerprint": report.fingerprint, "applied_at": now(), "changes": report.changes}
    await place[STATE].update_one({"_id": "schema"}, {"$set": seen}, upsert=True)


async def _is_fresh(place: Database) -> bool:
    """Whether nobody has worked in the database yet: each clinic has roles."""
    if await place[STATE].find_one({"_id": "schema"}, {"_id": 1}) is not None:
        return False
    return await place[Role.guarded_name()].find_one({}, {"_id": 1}) is None


async def _nothing_to_migrate(place: Database) -> None:
    """Notes every step that there is as done."""
    moment = now()
    done = {"started_at": moment, "ended_at": moment, "changed": 0, "tries": 0}
    for step in MIGRATIONS:
        with suppress(DuplicateKeyError):  # another process made it at the same moment
            await place[STATE].insert_one({"_id": step.number, "name": step.name, **done})


async def _compare(place: Database, plan: Sequence[Wanted], report: SchemaReport, *, change: bool) -> None:
    existing = {found["name"]: found async for found in await place.list_collections()}
    if cluster_of(place) is not None and COMMIT_LOG not in existing:  # no transaction makes a collection
        await _missing_collection(place, Wanted(COMMIT_LOG, {}, {}), report, change=change)
    for part in plan:
        found = existing.get(part.name)
        if found is None:
            await _missing_collection(place, part, report, change=change)
        elif found.get("options", {}).get("validator", {}) != part.validator:
            await _different_validator(place, part, report, change=change)
        if found is not None:
            await _compare_indexes(place, part, report, change=change)


async def _missing_collection(place: Database, part: Wanted, report: SchemaReport, *, change: bool) -> None:
    if not change:
        report.drift.append(Drift(part.name, "collection", "missing"))
        return
    options: dict[str, Any] = {"validator": part.validator} if part.validator else {}
    try:
        await place.create_collection(part.name, **options)
    except CollectionInvalid:  # another process was faster, with the same plan
        await _set_validator(place, part)
    if part.indexes:
        await place.command("createIndexes", part.name, indexes=[dict(index) for index in part.indexes.values()])
    report.changes.append(f"created collection {part.name}")


async def _different_validator(place: Database, part: Wanted, report: SchemaReport, *, change: bool) -> None:
    if change:
        await _set_validator(place, part)
        report.changes.append(f"set the validator of {part.name}")
    else:
        report.drift.append(Drift(part.name, "validator", "different"))


async def _set_validator(place: Database, part: Wanted) -> None:
    await place.command("collMod", part.name, validator=part.validator)


async def _compare_indexes(place: Database, part: Wanted, report: SchemaReport, *, change: bool) -> None:
    stored = {index["name"]: index async for index in await place[part.name].list_indexes()}
    for name, index in part.indexes.items():
        problem = "missing" if name not in stored else "different" if _differs(index, stored[name]) else None
        if problem and change:
            await _build(place, part.name, index, drop=problem == "different")
            report.changes.append(f"built index {name} on {part.name}")
        elif problem:
            report.drift.append(Drift(part.name, "index", problem, name))
    for name in sorted(set(stored) - set(part.indexes) - {"_id_"}):
        report.drift.append(Drift(part.name, "index", "unexpected", name))


def _differs(index: Mapping[str, Any], stored: Mapping[str, Any]) -> bool:
    if list(index["key"].items()) != list(stored["key"].items()):
        return True
    return any(_option_differs(index.get(option), stored.get(option)) for option in INDEX_OPTIONS)


def _option_differs(asked: Any, stored: Any) -> bool:
    """The server fills a collation up with its defaults; what was asked for must be in it."""
    if isinstance(asked, Mapping) and isinstance(stored, Mapping) and "locale" in asked:
        return any(stored.get(key) != value for key, value in asked.items())
    return bool((asked or None) != (stored or None))


async def _build(place: Database, collection: str, index: Mapping[str, Any], *, drop: bool) -> None:
    try:
        if drop:
            await place.command("dropIndexes", collection, index=index["name"])
        await place.command("createIndexes", collection, indexes=[dict(index)])
    except OperationFailure as error:
        if error.code != DUPLICATE_KEY:
            raise
        fields = ", ".join(index["key"])
        mend = "Remove the duplicates, then run this again."
        if await _has_legacy(place, collection):
            mend = "Some have no clinic: run python -m scripts.migrate_legacy first, which puts the schema on as well."
        raise SchemaError(
            f"The unique index {index['name']} cannot be built on {collection}: some documents have the same "
            f"{fields}. {mend}"
        ) from None


async def _has_legacy(place: Database, collection: str) -> bool:
    """Whether documents without a clinic are in the way in a clinics' collection."""
    for document in ALL_DOCUMENTS:
        if document.guarded_name() == collection and kind_of(collection) is not Kind.PLATFORM:
            return await place[collection].find_one(without_clinic(document), {"_id": 1}) is not None
    return False


async def is_current(place: Database) -> bool:
    """Whether the shared database was last brought to what this code's models say: one read."""
    expected = fingerprint([wanted(document) for document in ALL_DOCUMENTS])
    recorded = await place[STATE].find_one({"_id": "schema"}, {"fingerprint": 1})
    return recorded is not None and recorded["fingerprint"] == expected
