"""Search by the beginning of a text, as an index range: what a client writes is never a pattern or an operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import ValidationFailed
from models.values import search_key

SEARCH_LENGTH = 100
BY_ID = "_id_"
"""The index that every collection has."""
_BEYOND = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Way:
    """One of several ways in which a row may match, and the index along which such rows are found."""

    where: Mapping[str, Any]
    index: str


def starts_with(column: str, text: str) -> dict[str, Any]:
    """The filter for rows whose `column` begins with `text`."""
    return {column: {"$gte": text, "$lt": text + _BEYOND}}


def searched(text: str | None) -> str | None:
    """What to search for, None for nothing at all. Raises VALIDATION_FAILED at `filter.search` when it is too long."""
    if text is None or not search_key(text):
        return None
    if len(text) > SEARCH_LENGTH:
        raise ValidationFailed.at("filter.search", f"must have at most {SEARCH_LENGTH} characters")
    return text.strip()


def named_like(text: str | None) -> dict[str, Any]:
    """The filter for rows whose `name_key` begins like `text`; an empty one when there is nothing to search for."""
    wanted = searched(text)
    return starts_with("name_key", search_key(wanted)) if wanted else {}
