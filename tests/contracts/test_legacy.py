"""Documents from before there were clinics are never served, wherever they lie and whatever they point to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from beanie import PydanticObjectId
from bson import ObjectId

from app.db.schema import without_clinic
from app.tenancy.crossing import tenant_scope
from app.tenancy.kinds import ARCHIVED_FIELD, Kind, kind_of
from app.tenancy.sealing import blinds_of, is_sealed
from tests.contracts._governance import OWNER
from tests.contracts._values import variables
from tests.contracts.test_fields import QUERIES, ask, asker, named, own, said
from tests.fixtures.mirror import CLINICAL, Mirror, Side, is_one_per_clinic

ACROSS = ("claims", "requests", "code_hash")
"""Columns that are unique over all clinics, or of commands that were answered."""


@dataclass(frozen=True, slots=True)
class Old:
    """What was put into every clinics' collection: `sign` stands in its texts, `ids` are by side and collection."""

    sign: str
    ids: Mapping[str, Mapping[str, PydanticObjectId]]


@pytest_asyncio.fixture(scope="module")
async def old(mirror: Mirror) -> AsyncIterator[Old]:
    """Twins of documents of `a` and `b` that name no clinic and point to documents that do."""
    sign = f"before-{uuid4().hex[:8]}"
    ids: dict[str, dict[str, PydanticObjectId]] = {"a": {}, "b": {}}
    for side, owner in ((mirror.a, "missing"), (mirror.b, "null"), (mirror.a, "text")):
        for model in CLINICAL:
            if owner == "null" and is_one_per_clinic(model):
                continue  # to a unique index null and missing are the same
            name = model.guarded_name()
            row = await mirror.raw[name].find_one({"_id": side.latest[name]})
            if row is None:  # a job that another test ran for all clinics, or the server, has cleaned up since
                row = await mirror.raw[name].find_one({"_id": (await side.grow_what_leads_to({name}))[name]})
            assert row is not None, name
            copy = _copy(row, name, side, owner, sign)
            await mirror.raw[name].insert_one(copy, bypass_document_validation=True)
            ids["a" if side is mirror.a else "b"][name] = PydanticObjectId(copy["_id"])
    yield Old(sign, ids)
    for model in CLINICAL:
        await mirror.raw[model.guarded_name()].delete_many(without_clinic(model))


def _copy(row: dict[str, Any], name: str, side: Side, owner: str, sign: str) -> dict[str, Any]:
    kind = kind_of(name)
    assert kind is not None
    hidden = {OWNER[kind], ARCHIVED_FIELD, *ACROSS, *blinds_of(name)}
    copy = {column: _signed(value, side.marker.text, sign) for column, value in row.items() if column not in hidden}
    id = str(side.clinic.tenant.key)
    values = {"null": None, "text": [id] if kind is Kind.SHARED else id}
    return {**copy, "_id": ObjectId(), **({OWNER[kind]: values[owner]} if owner in values else {})}


def _signed(value: Any, mark: str, sign: str) -> Any:
    if isinstance(value, dict):
        return {name: _signed(inner, mark, sign) for name, inner in value.items()}
    if isinstance(value, list):
        return [_signed(inner, mark, sign) for inner in value]
    if is_sealed(value):
        return sign
    return value.replace(mark, sign) if isinstance(value, str) else value


@named("root", QUERIES)
async def test_no_field_tells_anything_of_them(root: Any, mirror: Mirror, old: Old) -> None:
    strange = {str(id) for ids in old.ids.values() for id in ids.values()}
    for name, side in (("a", mirror.a), ("b", mirror.b)):
        client = await asker(root, side)
        for generation in (side.latest, {**side.latest, **old.ids[name]}):
            answer = await ask(client, root, variables(root, partial(own, generation)), fully=True)
            assert old.sign not in said(answer)
            assert not {id for id in strange if id in said(answer)}


@pytest.mark.parametrize("model", CLINICAL, ids=lambda model: model.__name__)
async def test_no_read_through_the_guard_finds_one(model: Any, mirror: Mirror, old: Old) -> None:
    ids = [ids[model.guarded_name()] for ids in old.ids.values() if model.guarded_name() in ids]
    assert await mirror.raw[model.guarded_name()].count_documents({"_id": {"$in": ids}}) == len(ids)
    for side in (mirror.a, mirror.b):
        async with tenant_scope(side.clinic.ref):
            assert await model.rows({"_id": {"$in": ids}}) == []
            assert await model.guarded().count_documents({"_id": {"$in": ids}}) == 0
            assert await model.aggregate([{"$match": {"_id": {"$in": ids}}}]).to_list() == []
