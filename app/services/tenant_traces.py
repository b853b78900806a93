"""Looks for what is left of a clinic, without the registry and without the guard: by reading what is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pymongo
from bson import CodecOptions, ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.asynchronous.collection import AsyncCollection

from app.services.placement.leaving import databases_of
from app.services.placement.provisioning import database_of, own_placement
from app.tenancy.away import full_name
from app.tenancy.crossing import system_scope
from models import ALL_DOCUMENTS, PlatformAudit, Tenant
from models.base import GuardedDocument
from models.references import PlatformReference, WhenGone, pointers_of

REPORT_EVERY = 1_000
RAW = CodecOptions(document_class=RawBSONDocument)

KEPT_TEXTS: Mapping[str, Sequence[str]] = {PlatformAudit.guarded_name(): ("reason", "subject")}
"""Where texts may name deleted clinics by their id: the platform's audit keeps it anyway, and is never changed."""


async def find_traces(tenant_id: ObjectId, *, report: Callable[[str, int], None] = lambda *_: None) -> dict[str, int]:
    """Documents that still name the clinic, per collection: its id anywhere in them, as an id or as text.

    Every collection that the server lists is read to its end, in the shared database and in whichever else may hold
    anything of the clinic. Left out are the clinic's own row among the tenants and the places that are declared to keep
    the ids of deleted clinics. `report` is told of documents read.
    """
    found: dict[str, int] = {}
    tenant = await Tenant.find_one({"_id": tenant_id})
    async with system_scope("verify that nothing of a deleted clinic is left") as system:
        own = await database_of(own_placement(tenant_id))
        for place in await databases_of(tenant) if tenant is not None else [system.database, own]:
            prefix = "" if place.name == system.database.name else f"{full_name(place)}."
            with pymongo.timeout(None):
                for name in sorted(await place.list_collection_names(filter={"type": "collection"})):
                    if count := await _count(place.get_collection(name, RAW), tenant_id, report):
                        found[f"{prefix}{name}"] = count
    return found


async def _count(stored: AsyncCollection[Any], tenant_id: ObjectId, report: Callable[[str, int], None]) -> int:
    needles = (tenant_id.binary, str(tenant_id).encode())
    kept, texts = _kept_paths(stored.name), KEPT_TEXTS.get(stored.name, ())
    count = read = 0
    async with stored.find({}) as cursor:
        async for document in cursor:
            read += 1
            if read % REPORT_EVERY == 0:
                report(stored.name, REPORT_EVERY)
            raw = bytes(document.raw)  # the driver gives large documents as views
            if stored.name == Tenant.guarded_name() and document["_id"] == tenant_id:
                continue
            hits = sum(raw.count(needle) for needle in needles)
            if hits and hits > _expected(document, kept, tenant_id) + _expected_in_texts(document, texts, tenant_id):
                count += 1
    report(stored.name, read % REPORT_EVERY)
    return count


def _kept_paths(collection: str) -> list[str]:
    """Where ids of deleted clinics may stay."""
    return [
        pointer.path
        for model in ALL_DOCUMENTS
        if issubclass(model, GuardedDocument) and model.guarded_name() == collection
        for pointer in pointers_of(model)
        if pointer.mark == PlatformReference("tenants", WhenGone.KEEP)
    ]


def _expected(document: RawBSONDocument, paths: list[str], tenant_id: ObjectId) -> int:
    return sum(value == tenant_id for path in paths for value in _values(document, path.split(".")))


def _expected_in_texts(document: RawBSONDocument, paths: Sequence[str], tenant_id: ObjectId) -> int:
    return sum(str(document.get(path, "")).count(str(tenant_id)) for path in paths)


def _values(value: Any, steps: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _values(item, steps)
    elif not steps:
        yield value
    elif isinstance(value, RawBSONDocument | dict) and steps[0] in value:
        yield from _values(value[steps[0]], steps[1:])
