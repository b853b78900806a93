"""Finds, aggregations and inserts, which nearly each request sends, on the short way where that is possible.

Sent are the commands that the driver would send, shown to the same listeners before. Whatever fails, and whatever needs
more than one reply, is done once more by the driver, which then tries again, raises or reads on as ever: a read changes
nothing, and an insert goes under the same number of its session, by which the server does it once.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping, Sequence
from typing import Any

from bson import ObjectId
from pymongo import _csot
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.errors import BulkWriteError, NetworkTimeout, PyMongoError
from pymongo.helpers_shared import _check_write_command_response
from pymongo.message import _op_msg

from app.wire.pool import Connection, primary_pool

Row = dict[str, Any]
Stored = AsyncCollection[Row]

MOST_ROWS = 1_000
"""So many rows come by one reply; where there are more, the driver reads them."""
MOST_BYTES = 1_000_000
"""An insert of more goes by the driver, which cuts it into pieces where it must."""
_FINDS = frozenset({"sort", "limit", "skip", "hint"})


class Found:
    """What a find gives, as the driver's cursor does: all rows by `to_list`, or one after the other."""

    __slots__ = ("_collection", "_columns", "_criteria", "_cursor", "_options", "_session")

    def __init__(self, stored: Stored, criteria: Mapping[str, Any], columns: Any, session: Any, options: Row) -> None:
        self._collection = stored
        self._criteria = criteria
        self._columns = columns
        self._session = session
        self._options = options
        self._cursor: AsyncCursor[Row] | None = None

    async def to_list(self, length: int | None = None) -> list[Row]:
        """All rows, or at most `length`."""
        if self._cursor is None and length is None and self._session is None:
            spec = _find(self._collection.name, self._criteria, self._columns, self._options)
            if spec is not None and (rows := await _rows(self._collection, spec)) is not None:
                return rows
        return await self._by_driver().to_list(length)

    async def __anext__(self) -> Row:
        return await self._by_driver().__anext__()

    async def close(self) -> None:
        """Gives the cursor up on the server; safe to call twice."""
        if self._cursor is not None:
            await self._cursor.close()

    def _by_driver(self) -> AsyncCursor[Row]:
        if self._cursor is None:
            self._cursor = self._collection.find(self._criteria, self._columns, session=self._session, **self._options)
        return self._cursor


class Came:
    """The rows of an aggregation, all of which came by one reply."""

    __slots__ = ("_left",)

    def __init__(self, rows: list[Row]) -> None:
        self._left = rows

    async def to_list(self, length: int | None = None) -> list[Row]:
        """All rows, or at most `length`."""
        at = len(self._left) if length is None else length
        rows, self._left = self._left[:at], self._left[at:]
        return rows

    async def __anext__(self) -> Row:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)

    async def close(self) -> None:
        """There is nothing to give up."""


async def find_one(stored: Stored, criteria: Mapping[str, Any], columns: Any, session: Any, options: Row) -> Row | None:
    """As the driver's."""
    if session is None:
        spec = _find(stored.name, criteria, columns, {**options, "limit": 1})
        if spec is not None and (rows := await _rows(stored, spec)) is not None:
            return rows[0] if rows else None
    return await stored.find_one(criteria, columns, session=session, **options)


async def aggregate(stored: Stored, stages: Sequence[Row], session: Any, options: Row) -> Any:
    """As the driver's: a cursor."""
    if session is None and not options:
        spec = {"aggregate": stored.name, "pipeline": stages, "cursor": {"batchSize": MOST_ROWS}}
        if (rows := await _rows(stored, spec)) is not None:
            return Came(rows)
    return await stored.aggregate(stages, session=session, **options)


async def insert(stored: Stored, rows: list[Row], *, ordered: bool) -> None:
    """Stores rows by one command. Raises what the driver raises: of one row its error, of several
    `BulkWriteError`."""
    client = stored.database.client
    sessions = client._topology
    if primary_pool(client) is None or not client.options.retry_writes:
        await _insert_by_driver(stored, rows, None, ordered=ordered)
        return
    for row in rows:
        row.setdefault("_id", ObjectId())
    session = sessions.get_server_session(sessions.description.logical_session_timeout_minutes)
    session.inc_transaction_id()
    spec = {
        "insert": stored.name,
        "ordered": ordered,
        "lsid": session.session_id,
        "txnNumber": session.transaction_id,
        "documents": rows,
        **({"writeConcern": concern} if (concern := stored.write_concern.document) else {}),
    }
    session.last_use = time.monotonic()
    reply = await _reply(stored, spec)
    if reply is None or "errorLabels" in reply:
        session._transaction_id -= 1  # the driver's session counts it up again: the same number, so it happens once
        async with client.start_session() as again:
            again._server_session = session
            await _insert_by_driver(stored, rows, again, ordered=ordered)
        return
    sessions.return_server_session(session)
    if "writeErrors" in reply or "writeConcernError" in reply:
        _refused(reply, alone=len(rows) == 1)


async def _insert_by_driver(stored: Stored, rows: list[Row], session: Any, *, ordered: bool) -> None:
    if len(rows) == 1:
        await stored.insert_one(rows[0], session=session)
    else:
        await stored.insert_many(rows, ordered=ordered, session=session)


def _refused(reply: Row, *, alone: bool) -> None:
    if alone:
        _check_write_command_response(reply)
    concern = reply.get("writeConcernError")
    raise BulkWriteError(
        {
            "writeErrors": reply.get("writeErrors", []),
            "writeConcernErrors": [concern] if concern else [],
            "nInserted": reply.get("n", 0),
        }
    )


def _find(name: str, criteria: Mapping[str, Any], columns: Any, options: Row) -> Row | None:
    """The command, None for what only the driver knows to write."""
    sort, limit, hint = options.get("sort"), options.get("limit") or 0, options.get("hint")
    plain = _FINDS.issuperset(options) and limit >= 0 and isinstance(hint, str | None)
    if (
        not plain
        or not isinstance(sort, list | tuple | None)
        or not (columns is None or (columns and isinstance(columns, dict)))
    ):
        return None
    spec: Row = {"find": name, "filter": criteria}
    if columns:
        spec["projection"] = columns
    if sort:
        try:
            spec["sort"] = dict(sort)
        except (TypeError, ValueError):  # the names alone
            return None
    if skip := options.get("skip"):
        spec["skip"] = skip
    if limit:
        spec["limit"] = limit
    if hint:
        spec["hint"] = hint
    spec["batchSize"] = limit or MOST_ROWS
    return spec


async def _rows(stored: Stored, spec: Row) -> list[Row] | None:
    """The rows that a read gives, None when the driver must do it."""
    if stored.read_preference.mode or stored.read_concern.level is not None:
        return None
    reply = await _reply(stored, spec)
    if reply is None:
        return None
    cursor = reply["cursor"]
    if cursor["id"]:
        await stored.database.command({"killCursors": stored.name, "cursors": [cursor["id"]]})
        return None
    rows: list[Row] = cursor["firstBatch"]
    return rows


async def _reply(stored: Stored, spec: Row) -> Row | None:
    """What the primary answers; None when it has to be asked by the driver."""
    client, database = stored.database.client, stored.database.name
    pool = primary_pool(client)
    seconds = client._timeout if (left := _csot.remaining()) is None else left
    if pool is None or (seconds is not None and seconds <= 0) or (conn := pool.take()) is None:
        return None
    if seconds is not None:
        spec["maxTimeMS"] = max(1, int(seconds * 1000))
    try:
        request_id, message, _, largest = _op_msg(0, spec, database, None, stored.codec_options)
        if len(message) > MOST_BYTES:
            return None
        shown = Shown(conn, spec, database, request_id)
        try:
            await conn.send_message(message, largest)
            answer = await conn.reply(request_id, seconds)
        except BaseException as error:
            shown.failed(error)
            raise
        [reply] = answer.unpack_response(codec_options=stored.codec_options)
        shown.answered(reply)
    except NetworkTimeout:
        raise
    except PyMongoError:
        return None
    finally:
        await pool.give(conn)
    return reply if reply["ok"] == 1 else None


class Shown:
    """A command as the client's listeners see it: when it is about to be sent, which one of them may refuse by raising,
    and when it was answered."""

    __slots__ = ("_about", "_listeners", "_name", "_started")

    def __init__(self, conn: Connection, spec: Row, database: str, request_id: int) -> None:
        self._listeners = conn.listeners
        self._name = next(iter(spec))
        self._about = request_id, conn.address, conn.server_connection_id
        self._started = time.monotonic()
        if self._listeners is not None and self._listeners.enabled_for_commands:
            self._listeners.publish_command_start(spec, database, *self._about)
        else:
            self._listeners = None

    def answered(self, reply: Row) -> None:
        if self._listeners is None:
            return
        if reply["ok"] == 1:
            self._listeners.publish_command_success(self._passed(), reply, self._name, *self._about)
        else:
            self._listeners.publish_command_failure(self._passed(), reply, self._name, *self._about)

    def failed(self, error: BaseException) -> None:
        if self._listeners is not None:
            told = {"errmsg": str(error), "errtype": type(error).__name__}
            self._listeners.publish_command_failure(self._passed(), told, self._name, *self._about)

    def _passed(self) -> datetime.timedelta:
        return datetime.timedelta(seconds=time.monotonic() - self._started)
