"""Data that no service would store: references that lead nowhere, columns that are missing, null or of another type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from random import Random
from typing import Any

from bson import Decimal128, ObjectId
from pymongo.errors import WriteError

from app.tenancy.scope import Database
from models.references import references_of
from tests.fixtures.mirror import CLINICAL, Generation, is_one_per_clinic

KEPT = frozenset({"_id", "tenant_id", "tenant_ids", "archived_in", "record_id"})
"""Whose document it is stays as it is; so does what ties a patient's session to its clinic."""
WRONG: Sequence[Any] = (
    None,
    "Martian",
    "",
    -1,
    2**40,
    0.5,
    float("nan"),
    True,
    [],
    [None],
    ["Martian"],
    [{}],
    {},
    {"street": 5},
    ObjectId("0" * 23 + "1"),
    Decimal128("1.50"),
)


async def lose_relations(raw: Database, generation: Generation, chance: Random) -> None:
    """Points about half of the references of a generation to nothing, or to null."""
    for model in _models():
        found = await raw[model.guarded_name()].find_one({"_id": generation[model.guarded_name()]})
        names = [
            name for name in references_of(model) if "." not in name and name in (found or {}) and name not in KEPT
        ]
        changed = {name: chance.choice((ObjectId(), None)) for name in names if chance.random() < 0.5}
        if changed:
            await _put(raw, model.guarded_name(), generation, changed)


async def spoil(raw: Database, generation: Generation, chance: Random, columns: int) -> None:
    """Puts something else into so many columns of each document of a generation, or takes them away."""
    for model in _models():
        name = model.guarded_name()
        found: Mapping[str, Any] = await raw[name].find_one({"_id": generation[name]}) or {}
        here = sorted(found.keys() - KEPT)
        for column in chance.sample(here, min(columns, len(here))):
            value = chance.choice(WRONG)
            nested = found[column]
            inside = isinstance(nested, list) and nested and isinstance(nested[0], dict) and chance.random() < 0.7
            if inside:
                inner = chance.choice(sorted(nested[0]))
                await _put(raw, name, generation, {f"{column}.0.{inner}": value})
            elif chance.random() < 0.3:
                await _put(raw, name, generation, None, gone=column)
            else:
                await _put(raw, name, generation, {column: value})


def _models() -> Iterator[Any]:
    return (model for model in CLINICAL if not is_one_per_clinic(model))


async def _put(
    raw: Database, name: str, generation: Generation, values: Mapping[str, Any] | None, gone: str = ""
) -> None:
    update = {"$set": dict(values)} if values is not None else {"$unset": {gone: ""}}
    with suppress(WriteError):  # an index may not take it
        await raw[name].update_one({"_id": generation[name]}, update, bypass_document_validation=True)
