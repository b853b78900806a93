"""From GraphQL inputs to plain values: absent is not null, and ids are ids."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from strawberry import Some
from strawberry.utils.str_converters import to_camel_case

from app.errors import NotFound


def given(source: Any) -> dict[str, Any]:
    """The values of an input that the client gave: absent `Maybe`s are left out, null stays None."""
    values = {}
    for field in dataclasses.fields(source):
        value = getattr(source, field.name)
        if isinstance(value, Some):
            values[field.name] = plain(value.value)
        elif value is not None:
            values[field.name] = plain(value)
    return values


def plain(value: Any) -> Any:
    """An input value without GraphQL's wrappers: nested inputs become dicts."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return given(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def object_id(text: str, path: str) -> ObjectId:
    """An id as the client sent it. One that cannot be an id is answered as one that does not exist."""
    if len(text) == 24 and ObjectId.is_valid(text):
        return ObjectId(text)
    raise NotFound.at(path)


def ids(values: Mapping[str, Any], *names: str, at: str = "input") -> dict[str, Any]:
    """A copy of `values` in which the named ids (or lists of ids) are ObjectIds."""
    changed = dict(values)
    for name in names:
        value = changed.get(name)
        path = f"{at}.{to_camel_case(name)}"
        if isinstance(value, list):
            changed[name] = [object_id(one, f"{path}.{i}") for i, one in enumerate(value)]
        elif value is not None:
            changed[name] = object_id(value, path)
    return changed
