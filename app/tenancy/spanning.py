"""Transactions: all or nothing, with a bounded number of tries in a bounded time, also where a clinic's documents live
on another cluster than those above the clinics.

Nothing commits on two clusters at once. So the clinic's commits first, and takes along what is left to do at home: the
commands that the transaction has sent there. Then home commits, with a mark under the transaction's id. Where that is
not to be (the process was killed, the home cluster lost it), the commands are sent again, in a new transaction that
sets the same mark: one of the two sets it, so home follows once. See decision 53.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

import bson
import pymongo
import structlog
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from app.errors import Unavailable
from app.tenancy import transcripts
from app.tenancy.away import OPTIONS, AwayDatabase, Part, Parts, joined, kept_home, parted
from app.tenancy.clusters import clusters
from app.tenancy.scope import Database, Scope, open_scope, scope_or_none
from app.tenancy.transcripts import Transcript, Write, effect_of

T = TypeVar("T")
Work = Callable[[AsyncClientSession], Awaitable[T]]

MAX_TRIES = 10
MAX_SECONDS = 10.0
COMMIT_LOG = "commit_log"
"""In a clinic's database on another cluster: what is left to do at home, by the transaction's id."""
MARKS = "commit_marks"
"""At home: which of these transactions are done there."""
TRANSIENT, UNKNOWN = "TransientTransactionError", "UnknownTransactionCommitResult"

log = structlog.get_logger(__name__)


class NoLongerFits(Exception):
    """What was left to do at home cannot be done any more as it was. The text says what is in the way."""


async def _nothing(_: AsyncClientSession) -> None:
    """Nothing else."""


async def run_transaction(
    home: Database, work: Work[T], *, seconds: float = MAX_SECONDS, then: Work[None] = _nothing
) -> T:
    """Runs `work(session)` in one transaction (snapshot reads, majority writes) of the home cluster's client and, where
    the work comes to a clinic on another one, of that. Returns what the work returns, once `then(session)` has run
    behind the commit.

    `work` may run several times. Raises what it raises, and `Unavailable` when others stay in the way for `MAX_TRIES`
    tries or `seconds` seconds.
    """
    tries = 0

    async def once(session: AsyncClientSession) -> T:
        nonlocal tries
        tries += 1
        if tries > MAX_TRIES:
            raise Unavailable
        async with _spanning(session) as (parts, transcript):
            result = await work(session)
            if parts.away is not None:
                await _commit(home, session, parts.away, transcript)
            return result

    try:
        with pymongo.timeout(seconds):
            async with home.client.start_session() as session:
                result = await session.with_transaction(once, **OPTIONS)
                await then(session)
                return result
    except PyMongoError as error:
        if error.has_error_label(TRANSIENT):
            raise Unavailable from error
        raise


@asynccontextmanager
async def _spanning(session: AsyncClientSession) -> AsyncIterator[tuple[Parts, Transcript | None]]:
    """One try. Costs nothing while this process has been at no other cluster, or a clinic is in scope that is at
    home."""
    if not clusters.in_use:
        yield Parts(), None
        return
    if not _may_leave_home():
        kept_home(session)
        yield Parts(), None
        return
    parts, name = joined(session), session.session_id
    transcript = transcripts.keep(name)
    try:
        yield parts, transcript
    finally:
        transcripts.drop(name)
        parted(session)
        if parts.away is not None:
            await parts.away.session.end_session()  # takes back what is not committed


def _may_leave_home() -> bool:
    scope = scope_or_none()
    return scope is None or scope.tenant is None or scope.tenant.residence.cluster is not None


# --- the end of a transaction that was at two clusters ----------------------------------------------------------------


async def _commit(home: Database, session: AsyncClientSession, away: Part, transcript: Transcript | None) -> None:
    """Commits both, so that the caller finds nothing left to commit."""
    writes = list(transcript.writes) if transcript is not None else []
    if not away.wrote:
        return  # what was only read there needs no end, and home commits by itself
    if not writes:
        await _commit_one(away.session)
        await session.abort_transaction()  # nothing was written in it
        return
    id = ObjectId()
    await home[MARKS].insert_one({"_id": id, "at": datetime.now(UTC)}, session=session)
    left = {"_id": id, "at": datetime.now(UTC), "writes": [one.stored() for one in writes]}
    await away.database[COMMIT_LOG].insert_one(left, session=away.session)
    await _commit_one(away.session)
    try:
        await _commit_one(session)
    except PyMongoError as error:
        log.warning("a transaction was lost at home and is done again", commit=str(id), error=type(error).__name__)
        await _follow(home, away.database, left)
    else:
        await _forget(away.database, id)


async def _follow(home: Database, away: AwayDatabase, left: Mapping[str, Any]) -> None:
    """Brings home after the clinic's cluster at once. Raises `Unavailable` when that has to wait, and nothing that
    would have the work done again."""
    try:
        done = await settle(home, away, left)
    except PyMongoError as error:
        raise Unavailable from error
    if done is Settled.IN_DOUBT:
        raise Unavailable


async def _commit_one(session: AsyncClientSession) -> None:
    """Commits, asking again until it is known whether it did, or time is up."""
    while True:
        try:
            await session.commit_transaction()
            return
        except PyMongoError as error:
            if not error.has_error_label(UNKNOWN) or error.timeout:
                raise


# --- what is left to do at home ---------------------------------------------------------------------------------------


class Settled(StrEnum):
    """What became of what was left to do."""

    DONE_BEFORE = "was done already"
    DONE_NOW = "was done now"
    IN_DOUBT = "no longer fits"


async def settle(home: Database, away: AwayDatabase, left: Mapping[str, Any]) -> Settled:
    """Does at home what a transaction has left to do there, unless it is done, and takes the note of it away. What no
    longer fits stays noted, with the reason, for somebody to judge."""
    with pymongo.timeout(None), pymongo.timeout(MAX_SECONDS):
        try:
            done = await _redo(home, left["_id"], [Write.read(one) for one in left["writes"]])
        except NoLongerFits as error:
            await doubt(away, left["_id"], str(error))
            return Settled.IN_DOUBT
    await _forget(away, left["_id"])
    return Settled.DONE_NOW if done else Settled.DONE_BEFORE


async def doubt(away: AwayDatabase, id: ObjectId, why: str) -> None:
    """Notes that what is left to do cannot be done without somebody who judges."""
    log.error("what a transaction has left to do at home no longer fits", commit=str(id), database=away.name, why=why)
    await away[COMMIT_LOG].update_one({"_id": id}, {"$set": {"doubt": why}})


async def _redo(home: Database, id: ObjectId, writes: Sequence[Write]) -> bool:
    """Sends the writes in one transaction; False when they were done before, or are done at this moment by whoever
    began. Raises `NoLongerFits`."""

    async def work(session: AsyncClientSession) -> bool:
        try:
            await home[MARKS].insert_one({"_id": id, "at": datetime.now(UTC)}, session=session)
        except DuplicateKeyError:
            await session.abort_transaction()
            return False
        for one in writes:
            await _send(home, one, session)
        return True

    scope = Scope(request_id=f"commit {id}", system_reason="what a transaction has left to do")
    with open_scope(scope):
        async with home.client.start_session() as session:
            return await session.with_transaction(work, **OPTIONS)


async def _send(home: Database, write: Write, session: AsyncClientSession) -> None:
    command = bson.decode(write.command, codec_options=home.codec_options)
    name = next(iter(command))
    said = f"{name} on {command[name]}"
    try:
        reply = await home.client[write.database].command(command, session=session)
    except OperationFailure as error:
        if error.has_error_label(TRANSIENT):
            raise
        raise NoLongerFits(f"{said}: {_kind(error.code)}") from error
    if failures := reply.get("writeErrors"):
        raise NoLongerFits(f"{said}: {_kind(failures[0].get('code'))}")
    if effect_of(reply) != write.count:
        raise NoLongerFits(f"{said} meets {effect_of(reply)} documents, and met {write.count}")


def _kind(code: Any) -> str:
    """Without the server's words, which repeat values."""
    return f"refused by the database (code {code})"


async def _forget(away: AwayDatabase, id: ObjectId) -> None:
    """Takes the note away. One that stays is found done by whoever looks next."""
    try:
        await away[COMMIT_LOG].delete_one({"_id": id})
    except PyMongoError as error:
        log.warning("the note of a finished transaction is left", commit=str(id), error=type(error).__name__)
