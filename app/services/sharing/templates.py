"""The forms that patients agree to. A revision is a new edition; what was agreed to stays as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import in_transaction
from app.errors import Conflict, FieldError, InvalidState
from app.services.audit import record
from app.services.changes import Row, build, change_row, checked, row_of
from models import ConsentTemplate
from models.values import now, search_key

SAID = frozenset({"name", "en", "es", "categories", "purpose", "valid_days"})
"""What an edition says; the rest of the document says what became of it."""


async def revise(template_id: ObjectId, version: int, changes: Mapping[str, Any]) -> Row:
    """Stores the next edition with the changes, and retires the one of that version; answers with the new row.

    Raises NOT_FOUND at `input.id`, CONFLICT at `input.version` or, when the name is taken, at `input.name`, and
    INVALID_STATE for an edition that is out of use.
    """
    values = checked(ConsentTemplate, changes)

    async def work(session: AsyncClientSession) -> Row:
        retired = {"archived_at": now(), "replaced_at": now()}
        old = await _move(template_id, version, retired, {"archived_at": None}, "This edition is out of use.", session)
        said = {name: value for name, value in old.items() if name in SAID} | values
        said |= {"edition": old["edition"] + 1, "name_key": search_key(said["name"])}
        new: ConsentTemplate = build(ConsentTemplate, said)
        await new.insert(session=session)
        await record("consent_template.revise", subject=new, session=session)
        return row_of(new)

    with _name_is_free("input.name"):
        return await in_transaction(work)


async def restore(template_id: ObjectId, version: int) -> Row:
    """Takes a form back into use. Raises INVALID_STATE when it is in use, or when a later edition took its place."""
    wanted = {"archived_at": {"$ne": None}, "replaced_at": None}
    with _name_is_free("input.id"):
        return await _move(template_id, version, {"archived_at": None}, wanted, "It cannot be taken back into use.")


async def _move(
    template_id: ObjectId,
    version: int,
    values: Mapping[str, Any],
    state: Mapping[str, Any],
    otherwise: str,
    session: AsyncClientSession | None = None,
) -> Row:
    try:
        return await change_row(ConsentTemplate, template_id, version, values, state=state, session=session)
    except Conflict:
        present = {"_id": template_id, "version": version}
        if await ConsentTemplate.rows(present, projection={"_id": 1}, limit=1, session=session):
            raise InvalidState(otherwise) from None
        raise


@contextmanager
def _name_is_free(path: str) -> Iterator[None]:
    """Tells at `path` that another form in use has the name, when the unique index says so."""
    try:
        yield
    except DuplicateKeyError:
        raise Conflict("There is one of that name already.", [FieldError(path, "is taken")]) from None
