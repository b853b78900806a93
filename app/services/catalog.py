"""What staff, specializations, rooms and services have in common: a name to find them by, and an archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.errors import Conflict, FieldError, InvalidState
from app.services.changes import Row, build, change_row, checked, row_of, storable
from app.services.references import check_references
from app.services.search import named_like
from models.values import now, search_key


def listed(*, search: str | None, archived: bool, **equal: Any) -> dict[str, Any]:
    """The filter of a list: names that begin like `search`, archived or in use, and columns that equal a value."""
    wanted = {column: storable(value) for column, value in equal.items() if value is not None}
    return {**wanted, **named_like(search), "archived_at": {"$ne": None} if archived else None}


@contextmanager
def _unique_name(path: str) -> Iterator[None]:
    """Tells at `path` that the name is taken, when the unique index says so."""
    try:
        yield
    except DuplicateKeyError as error:
        if "name_key" not in (error.details or {}).get("keyPattern", {}):
            raise
        raise Conflict("There is one of that name already.", [FieldError(path, "is taken")]) from None


def _keyed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the search key that follows from the name, if there is one among them."""
    name = values.get("name")
    return {**values, "name_key": search_key(name)} if isinstance(name, str) else dict(values)


async def create(model: Any, values: Mapping[str, Any]) -> Row:
    """Stores a new document; answers with its row.

    Raises VALIDATION_FAILED with the paths of all that is wrong, NOT_FOUND where it points outside of the clinic,
    CONFLICT at `input.name` when the name is taken.
    """
    document = build(model, _keyed(values))
    row = row_of(document)
    await check_references(model, row, at="input")
    with _unique_name("input.name"):
        await document.insert()
    return {**row, "_id": document.id}


async def change(
    model: Any, id: ObjectId, version: int, changes: Mapping[str, Any], *, session: AsyncClientSession | None = None
) -> Row:
    """Applies changes to that version of a document, all or none; answers with its new row.

    Raises as `create` does, and NOT_FOUND at `input.id` or CONFLICT at `input.version`.
    """
    values = _keyed(checked(model, changes))
    await check_references(model, values, at="input")
    with _unique_name("input.name"):
        return await change_row(model, id, version, values, session=session)


async def archive(model: Any, id: ObjectId, version: int) -> Row:
    """Takes a document out of use. Raises INVALID_STATE when it is out already."""
    return await _move(model, id, version, {"archived_at": None}, {"archived_at": now()}, "It is archived already.")


async def restore(model: Any, id: ObjectId, version: int) -> Row:
    """Takes a document back into use. Raises INVALID_STATE when it is in use, CONFLICT when its name is taken."""
    with _unique_name("input.id"):
        return await _move(
            model, id, version, {"archived_at": {"$ne": None}}, {"archived_at": None}, "It is not archived."
        )


async def _move(
    model: Any, id: ObjectId, version: int, state: Mapping[str, Any], values: Mapping[str, Any], otherwise: str
) -> Row:
    try:
        return await change_row(model, id, version, values, state=state)
    except Conflict:
        if await model.rows({"_id": id, "version": version}, projection={"_id": 1}, limit=1):
            raise InvalidState(otherwise) from None
        raise
