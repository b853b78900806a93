"""Transactions: all or nothing, with a bounded number of tries in a bounded time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

import structlog
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import Unavailable
from app.tenancy.places import home_of
from app.tenancy.scope import scope_or_none
from app.tenancy.spanning import MAX_SECONDS, run_transaction
from models.platform_audit import PlatformAudit

T = TypeVar("T")
Callback = Callable[[], Awaitable[object]]

log = structlog.get_logger(__name__)
_after_commit: WeakKeyDictionary[AsyncClientSession, dict[Hashable, Callback]] = WeakKeyDictionary()
_turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

PATIENCE = 90.0
"""Longer than a transaction may stay open where the database has no other limit."""


def after_commit(session: AsyncClientSession, name: Hashable, callback: Callback) -> None:
    """Runs `callback` once the transaction of `session` is committed, once per name. It must be safe to leave undone:
    its failure is logged and changes nothing about the transaction."""
    _after_commit.setdefault(session, {})[name] = callback


async def in_transaction(work: Callable[[AsyncClientSession], Awaitable[T]], *, seconds: float = MAX_SECONDS) -> T:
    """Runs `work(session)` in one transaction (snapshot reads, majority writes) and returns what it returns; see
    `app.tenancy.spanning`.

    `work` may run several times, so it must do nothing but database work with that session. Reads in a snapshot
    do not lock: check and act by unique index or compare-and-set. Raises what `work` raises, and `Unavailable`
    when other transactions stay in the way for `MAX_TRIES` tries or `seconds` seconds, for which work that touches very
    many documents may ask for more; the server ends a transaction after a minute.
    """

    async def once(session: AsyncClientSession) -> T:
        _after_commit.pop(session, None)
        return await work(session)

    home = home_of(scope_or_none(), PlatformAudit.home_database)
    return await run_transaction(home, once, seconds=seconds, then=_run_callbacks)


async def patiently(work: Callable[[AsyncClientSession], Awaitable[T]]) -> T:
    """As `in_transaction`, for commands that may have been killed before: waits, at most `PATIENCE` seconds, for the
    database to end what a killed run has left open on the same documents."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return await in_transaction(work)
        except Unavailable:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(1)


async def in_turn(key: Hashable, work: Callable[[AsyncClientSession], Awaitable[T]]) -> T:
    """As `in_transaction`, for work on one document that many may want at once: those of this process and clinic who
    name the same `key` go one after another, so that they do not use up each other's tries. Nothing rests on that:
    other processes are kept off by the transaction alone. Raises `Unavailable` when it takes too long."""
    scope = scope_or_none()
    own = scope.tenant.id if scope is not None and scope.tenant is not None else None
    lock = _turns.setdefault((own, key), asyncio.Lock())
    try:
        async with asyncio.timeout(MAX_SECONDS):
            await lock.acquire()
    except TimeoutError:
        raise Unavailable from None
    try:
        return await in_transaction(work)
    finally:
        lock.release()


async def _run_callbacks(session: AsyncClientSession) -> None:
    for name, callback in _after_commit.pop(session, {}).items():
        try:
            await callback()
        except Exception as error:
            log.warning("something is left to do after a commit", what=str(name), exc_info=error)
