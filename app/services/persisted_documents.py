"""The registered documents of the front ends: stored all or none, found by id or hash."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pymongo import UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import Conflict, FieldError
from app.services.changes import build
from models import PersistedDocument


@dataclass(frozen=True, slots=True)
class Registered:
    """One document as a front end has it. `id` is None where the hash of its text is the id."""

    text: str
    operations: tuple[str, ...]
    id: str | None = None

    @property
    def sha256(self) -> str:
        return digest_of(self.text)

    @property
    def key(self) -> str:
        return self.id or self.sha256


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a registration did, or would do: how many documents are new, were there before, and were dropped."""

    added: int
    kept: int
    dropped: int


def digest_of(text: str) -> str:
    """The SHA-256 of a document's text, in hex: what clients call its hash."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


async def find_text(name: str) -> str | None:
    """The text of the registered document of that id or hash."""
    rows = await PersistedDocument.rows({"$or": [{"_id": name}, {"sha256": name}]}, projection=["text"], limit=1)
    return str(rows[0]["text"]) if rows else None


async def register(
    documents: Sequence[Registered], client: str, *, prune: bool = False, dry_run: bool = False
) -> Outcome:
    """Registers all of a front end's documents, or none of them.

    With `prune` the front end drops those that are not among them. Raises CONFLICT for an id under which another
    text is registered, VALIDATION_FAILED for an id or a client's name that cannot be one.
    """
    made = {one.key: _made(one, client) for one in documents}

    async def work(session: AsyncClientSession) -> Outcome:
        known = await _known(list(made), session)
        _refuse_other_texts(made, known)
        unwanted: dict[str, Any] = {"clients": client, "_id": {"$nin": list(made)}}
        dropped = await PersistedDocument.guarded().count_documents(unwanted, session=session) if prune else 0
        if not dry_run:
            if prune:
                await _drop(unwanted, client, session)
            await _store(list(made.values()), client, session)
        return Outcome(len(made.keys() - known.keys()), len(known), dropped)

    return await in_transaction(work)


def _made(one: Registered, client: str) -> PersistedDocument:
    values = {"id": one.key, "sha256": one.sha256, "text": one.text, "operations": list(one.operations)}
    made: PersistedDocument = build(PersistedDocument, {**values, "clients": [client]}, at=one.key)
    return made


async def _known(ids: list[str], session: AsyncClientSession) -> dict[str, str]:
    rows = await PersistedDocument.rows({"_id": {"$in": ids}}, projection=["_id", "sha256"], session=session)
    return {row["_id"]: row["sha256"] for row in rows}


def _refuse_other_texts(made: dict[str, PersistedDocument], known: dict[str, str]) -> None:
    other = [name for name, digest in known.items() if made[name].sha256 != digest]
    if other:
        wrong = [FieldError(name, "another text is registered under this id") for name in other]
        raise Conflict("Some ids are taken.", wrong)


async def _drop(unwanted: dict[str, Any], client: str, session: AsyncClientSession) -> None:
    documents = PersistedDocument.guarded()
    await documents.delete_many({**unwanted, "clients": [client]}, session=session)
    await documents.update_many(unwanted, {"$pull": {"clients": client}}, session=session)


async def _store(made: list[PersistedDocument], client: str, session: AsyncClientSession) -> None:
    steps = []
    for one in made:
        row = one.model_dump(by_alias=True, exclude={"clients", "id", "revision_id"})
        row.pop("_id", None)
        steps.append(UpdateOne({"_id": one.id}, {"$setOnInsert": row, "$addToSet": {"clients": client}}, upsert=True))
    if steps:
        await PersistedDocument.guarded().bulk_write(steps, session=session)
