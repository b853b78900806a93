"""How a field says which collection its id points into."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, get_args

from bson import ObjectId
from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Reference:
    """Marks an id (or list of ids) of the same clinic: `Annotated[PydanticObjectId, Reference("rooms")]`."""

    collection: str


@dataclass(frozen=True, slots=True)
class PlatformReference:
    """Marks an id of a document above the clinics, such as a user."""

    collection: str


@cache
def references_of(model: type[BaseModel]) -> Mapping[str, Reference]:
    """Field name → the clinic's collection that it points into, for the fields that point at all."""
    found: dict[str, Reference] = {}
    for name, field in model.model_fields.items():
        for mark in (*field.metadata, *_marks(field.annotation)):
            if isinstance(mark, Reference):
                found[name] = mark
    return found


def _marks(annotation: Any) -> Iterator[Any]:
    """The annotations inside a union such as `Annotated[X, mark] | None`."""
    for argument in get_args(annotation):
        yield argument
        yield from _marks(argument)


def referenced_ids(model: type[BaseModel], values: Mapping[str, Any]) -> Iterator[tuple[str, str, ObjectId]]:
    """Yields (field, collection, id) for each reference that `values` sets."""
    for name, reference in references_of(model).items():
        value = values.get(name)
        ids = value if isinstance(value, list) else [value]
        for one in ids:
            if one is not None:
                yield name, reference.collection, one
