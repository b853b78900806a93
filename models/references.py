"""How a field says which collection its id points into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, get_args

from bson import ObjectId
from pydantic import BaseModel

ANY_ID = {"$gt": ObjectId(bytes(12))}
"""For partial indexes of documents that point somewhere at all. `$type` would say the same, but only from this does the
server see that a query for one id, or for some, may use the index."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Marks an id (or list of ids) of the same clinic: `Annotated[PydanticObjectId, Reference("rooms")]`."""

    collection: str


class WhenGone(StrEnum):
    """What becomes of a document above the clinics once what it points to is deleted."""

    DELETE = "delete"
    """It is deleted too."""
    PULL = "pull"
    """The id is taken out of its list."""
    KEEP = "keep"
    """It stays, as a record of what was."""
    HOLD = "hold"
    """It holds what it points to: that is not deleted while this document is there."""


@dataclass(frozen=True, slots=True)
class PlatformReference:
    """Marks an id of a document above the clinics, such as a user.

    On a platform document `when_gone` must say what a deletion does here; a clinic's own documents stay as they are.
    """

    collection: str
    when_gone: WhenGone | None = None


Mark = Reference | PlatformReference


@dataclass(frozen=True, slots=True)
class Pointer:
    """A place in stored documents that holds an id, or a list of ids: `path` is dotted, as MongoDB takes it."""

    path: str
    mark: Mark


_pointers: dict[type[BaseModel], tuple[Pointer, ...]] = {}


@cache
def references_of(model: type[BaseModel]) -> Mapping[str, Reference]:
    """Field name → the clinic's collection that it points into, for the fields that point at all."""
    found: dict[str, Reference] = {}
    for name, field in model.model_fields.items():
        for mark in (*field.metadata, *_parts(field.annotation)):
            if isinstance(mark, Reference):
                found[name] = mark
    return found


def pointers_of(model: type[BaseModel]) -> tuple[Pointer, ...]:
    """Every marked place in the documents of `model`, those inside of embedded values too."""
    known = _pointers.get(model)
    if known is None:
        known = _pointers[model] = tuple(_find_pointers(model))
    return known


def _find_pointers(model: type[BaseModel]) -> list[Pointer]:
    found: list[Pointer] = []
    for name, field in model.model_fields.items():
        path = "_id" if name == "id" else name
        parts = (field.annotation, *field.metadata, *_parts(field.annotation))
        for part in parts:
            if isinstance(part, Mark):
                found.append(Pointer(path, part))
            elif isinstance(part, type) and issubclass(part, BaseModel):
                found += [Pointer(f"{path}.{inner.path}", inner.mark) for inner in pointers_of(part)]
    return found


def _parts(annotation: Any) -> Iterator[Any]:
    """The types and marks inside an annotation such as `Annotated[X, mark] | None`."""
    for argument in get_args(annotation):
        yield argument
        yield from _parts(argument)


def referenced_ids(model: type[BaseModel], values: Mapping[str, Any]) -> Iterator[tuple[str, str, ObjectId]]:
    """Yields (field, collection, id) for each reference that `values` sets."""
    for name, reference in references_of(model).items():
        value = values.get(name)
        ids = value if isinstance(value, list) else [value]
        for one in ids:
            if one is not None:
                yield name, reference.collection, one
