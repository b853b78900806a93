"""Transactions: all or nothing, with a bounded number of tries in a bounded time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import pymongo
from pymongo import ReadPreference, WriteConcern
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from app.errors import Unavailable
from app.tenancy.scope import scope_or_none
from models.platform_audit import PlatformAudit

T = TypeVar("T")

MAX_TRIES = 10
MAX_SECONDS = 10.0


async def in_transaction(work: Callable[[AsyncClientSession], Awaitable[T]]) -> T:
    """Runs `work(session)` in one transaction (snapshot reads, majority writes) and returns what it returns.

    `work` may run several times, so it must do nothing but database work with that session. Reads in a snapshot
    do not lock: check and act by unique index or compare-and-set. Raises what `work` raises, and `Unavailable`
    when other transactions stay in the way for `MAX_TRIES` tries or `MAX_SECONDS` seconds.
    """
    tries = 0

    async def once(session: AsyncClientSession) -> T:
        nonlocal tries
        tries += 1
        if tries > MAX_TRIES:
            raise Unavailable
        return await work(session)

    scope = scope_or_none()
    database = scope.database if scope is not None else None
    client = (database if database is not None else PlatformAudit.home_database()).client
    try:
        with pymongo.timeout(MAX_SECONDS):
            async with client.start_session() as session:
                return await session.with_transaction(
                    once,
                    read_concern=ReadConcern("snapshot"),
                    write_concern=WriteConcern("majority"),
                    read_preference=ReadPreference.PRIMARY,
                )
    except PyMongoError as error:
        if error.has_error_label("TransientTransactionError"):
            raise Unavailable from error
        raise
