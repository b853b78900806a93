"""Running numbers of a clinic: one atomic step each, never given out twice."""

from __future__ import annotations

from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from models import Counter


def as_given(text: str | None) -> str | None:
    """A document's number as the clinic gives it, in capitals, from how somebody types it; None for none."""
    return text.strip().upper() if text is not None else None


async def next_number(name: str, *, session: AsyncClientSession | None = None) -> int:
    """The next number under `name` at this clinic, from 1. A number taken by work that failed stays unused."""
    return (await next_numbers(name, 1, session=session))[0]


async def next_numbers(name: str, count: int, *, session: AsyncClientSession | None = None) -> range:
    """As `next_number`, for `count` numbers in a row."""
    try:
        return await _step(name, count, session)
    except DuplicateKeyError:  # two firsts at once: one made the counter, now the other finds it
        return await _step(name, count, session)


async def _step(name: str, count: int, session: AsyncClientSession | None) -> range:
    row = await Counter.guarded().find_one_and_update(
        {"name": name}, {"$inc": {"value": count}}, upsert=True, return_document=ReturnDocument.AFTER, session=session
    )
    assert row is not None  # noqa: S101 - an upsert always answers with a document
    last = int(row["value"])
    return range(last - count + 1, last + 1)
