"""Which documents cannot have the same clinic, for a unique index would refuse the second of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from hashlib import blake2b
from itertools import product
from typing import Any, NamedTuple

import bson
from bson import ObjectId

from app.services.legacy.plan import Decision, Found, Key, values_at
from app.tenancy.kinds import TENANT_FIELD
from models.references import ANY_ID

Row = dict[str, Any]
Taken = set[tuple[str, ObjectId | None, bytes]]
"""What may stand once: collection, clinic (None: over all clinics), and a digest of index and values."""


class Unique(NamedTuple):
    """A unique index: its fields without the owner, whether it holds over all clinics, and for which documents."""

    name: str
    fields: tuple[str, ...]
    across: bool
    only: Mapping[str, Any]


class Mark(NamedTuple):
    """The values of one document under one unique index, as a digest; `same` names the fields."""

    digest: bytes
    across: bool
    same: str


TYPES: Mapping[str, type] = {"objectId": ObjectId, "string": str, "date": datetime}


@cache
def uniques_of(model: Any) -> tuple[Unique, ...]:
    """A model's unique indexes; those whose condition is not understood here refuse when it comes to it."""
    indexes = [index.document for index in getattr(model.Settings, "indexes", ())]
    found = [
        Unique(
            one["name"],
            tuple(name for name in one["key"] if name != TENANT_FIELD),
            TENANT_FIELD not in one["key"],
            one.get("partialFilterExpression", {}),
        )
        for one in indexes
        if one.get("unique") and not one.get("sparse")
    ]
    return tuple(one for one in found if all(_is_known(asked) for asked in one.only.values()))


def marks_of(model: Any, content: Row) -> Iterator[Mark]:
    """What a document takes up under its model's unique indexes."""
    for unique in uniques_of(model):
        if not all(_fits(content, path, asked) for path, asked in unique.only.items()):
            continue
        values = [list(values_at(content, path.split("."))) or [None] for path in unique.fields]
        for combined in product(*values):
            text = bson.encode({"index": unique.name, "values": list(combined)})
            same = ", ".join(unique.fields) or "place"
            yield Mark(blake2b(text, digest_size=16).digest(), unique.across, same)


def columns_of(model: Any) -> set[str]:
    """The columns that a document's marks are made of."""
    paths = {path for unique in uniques_of(model) for path in (*unique.fields, *unique.only)}
    return {path.partition(".")[0] for path in paths}


def note_conflicts(found: Mapping[Key, Found], decisions: Mapping[Key, Decision], taken: Taken) -> bool:
    """Gives a problem to each document whose place is taken, by a clinic's own or by another that comes first; says
    whether there are any."""
    any_ = False
    for key in sorted(found):
        one, decision = found[key], decisions[key]
        if decision.rule is None:
            continue
        [clinic, *_] = decision.clinics
        places = {(key.collection, None if mark.across else clinic, mark.digest): mark for mark in one.marks}
        if clash := [mark for place, mark in places.items() if place in taken]:
            one.problem, any_ = f"another document has the same {clash[0].same}", True
        else:
            taken.update(places)
    return any_


def _is_known(asked: Any) -> bool:
    if not isinstance(asked, Mapping):
        return True
    [(operator, value)] = asked.items() if len(asked) == 1 else [("", None)]
    return (
        operator == "$in"
        or (operator == "$type" and value in TYPES)
        or asked in ({"$gt": ""}, ANY_ID, {"$exists": True})
    )


def _fits(content: Row, path: str, asked: Any) -> bool:
    values = list(values_at(content, path.split(".")))
    if not isinstance(asked, Mapping):
        return asked in (values or [None])
    [(operator, wanted)] = asked.items()
    if operator == "$gt":
        return any(isinstance(value, type(wanted)) and value > wanted for value in values)
    if operator == "$type":
        return any(isinstance(value, TYPES[wanted]) for value in values)
    return any(value in wanted for value in values) if operator == "$in" else bool(values)
