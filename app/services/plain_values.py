"""Stored values as whoever takes their data along reads them: JSON's types, and names in camelCase."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bson import Binary, Decimal128, ObjectId
from pydantic.alias_generators import to_camel


def plain(value: Any) -> Any:
    """`value` with ids and decimals as text, times in ISO 8601 with their offset, and keys in camelCase."""
    if isinstance(value, Mapping):
        return {to_camel(str(key).lstrip("_")): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, ObjectId | Decimal128):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Binary | bytes):
        return value.hex()
    return value
