"""The short way to the database gives what the driver gives, and leaves to it whatever is not as usual."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import uuid4

import pymongo
import pytest
import pytest_asyncio
from pymongo.errors import BulkWriteError, DuplicateKeyError, InvalidOperation, NetworkTimeout
from pymongo.monitoring import CommandStartedEvent

from app.config import Settings
from app.db.client import make_client
from app.errors import TenantWallBroken
from app.tenancy.listener import TenantWall, Verdict
from app.wire import commands
from app.wire.commands import Found, Stored
from app.wire.pool import Connection, WirePool, primary_pool

Row = dict[str, Any]


@pytest.fixture
def seen() -> list[str]:
    """The names of the commands on the collection, as the wall is shown them."""
    return []


@pytest.fixture
def refused() -> list[str]:
    """Names of commands that are refused."""
    return []


@pytest_asyncio.fixture
async def things(settings: Settings, seen: list[str], refused: list[str]) -> AsyncIterator[Stored]:
    """Ten rows of a collection that is no clinic's, unique by `n`, with a connection ready."""

    def record(event: CommandStartedEvent, _: Verdict) -> None:
        if event.command.get(event.command_name) == name:
            seen.append(event.command_name)
        if event.command_name in refused:
            raise TenantWallBroken(event.command_name)

    name = f"things_{uuid4().hex[:8]}"
    async with make_client(settings, wall=TenantWall([record])) as client:
        stored = client[settings.mongodb_database][name]
        await stored.create_index("n", unique=True, name="by_n")
        await stored.insert_many([{"_id": at, "n": at, "even": at % 2 == 0, "text": f"row {at}"} for at in range(10)])
        seen.clear()
        yield stored
        refused.clear()
        await stored.drop()


def pool_of(things: Stored) -> WirePool:
    pool = primary_pool(things.database.client)
    assert pool is not None
    return pool


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The requests whose replies came on the short way."""
    asked: list[int | None] = []
    drivers: set[int | None] = set()
    reply = Connection.reply

    async def counted(self: Connection, request_id: int | None, seconds: float | None) -> Any:
        if request_id not in drivers:
            asked.append(request_id)
        return await reply(self, request_id, seconds)

    receive = Connection.receive_message

    async def received(self: Connection, request_id: int | None) -> Any:
        drivers.add(request_id)  # also those that wait for long, as the watches on changes do
        return await receive(self, request_id)

    monkeypatch.setattr(Connection, "reply", counted)
    monkeypatch.setattr(Connection, "receive_message", received)
    return asked


@pytest.mark.parametrize(
    ("options", "shortly"),
    [
        pytest.param({}, True, id="all"),
        pytest.param({"sort": [("n", -1)], "limit": 3, "skip": 1}, True, id="a page"),
        pytest.param({"sort": [("n", 1)], "hint": "by_n"}, True, id="along an index"),
        pytest.param({"sort": None, "limit": 0, "skip": 0}, True, id="as the models ask"),
        pytest.param({"batch_size": 2}, False, id="in small batches"),
        pytest.param({"hint": [("n", 1)], "sort": [("n", 1)]}, False, id="an index by its columns"),
    ],
)
@pytest.mark.parametrize("columns", [None, {"n": 1}, {"text": 0}, ["n"]], ids=["whole", "one", "without", "named"])
async def test_a_find_gives_the_drivers_rows(
    things: Stored, short: list[int | None], options: Row, shortly: bool, columns: Any
) -> None:
    wanted = await things.find({"even": True}, columns, **options).to_list()

    found = await Found(things, {"even": True}, columns, None, options).to_list()

    assert found == wanted
    assert bool(short) is (shortly and columns != ["n"])


async def test_one_and_none_are_found(things: Stored, short: list[int | None]) -> None:
    assert await commands.find_one(things, {"n": 7}, {"text": 1}, None, {}) == {"_id": 7, "text": "row 7"}
    assert await commands.find_one(things, {"n": 70}, None, None, {}) is None
    assert len(short) == 2


async def test_an_aggregation_gives_the_drivers_rows(things: Stored, short: list[int | None]) -> None:
    stages: list[Row] = [{"$match": {"even": True}}, {"$group": {"_id": "$even", "sum": {"$sum": "$n"}}}]

    cursor = await commands.aggregate(things, stages, None, {})

    assert [row async for row in _each(cursor)] == [{"_id": True, "sum": 20}]
    assert len(short) == 1


async def _each(cursor: Any) -> AsyncIterator[Row]:
    while True:
        try:
            yield await cursor.__anext__()
        except StopAsyncIteration:
            return


@pytest.mark.parametrize("way", ["find", "aggregate"])
async def test_what_one_reply_does_not_hold_comes_whole_and_leaves_no_cursor(
    things: Stored, seen: list[str], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(commands, "MOST_ROWS", 3)

    if way == "find":
        rows = await Found(things, {}, None, None, {"sort": [("n", 1)]}).to_list()
    else:
        rows = await (await commands.aggregate(things, [{"$sort": {"n": 1}}], None, {})).to_list()

    assert [row["n"] for row in rows] == list(range(10))
    assert seen[:3] == [way, "killCursors", way]


async def test_rows_one_by_one_are_the_drivers(things: Stored, short: list[int | None]) -> None:
    found = Found(things, {}, None, None, {"sort": [("n", 1)], "batch_size": 4})

    assert [row["n"] async for row in _each(found)] == list(range(10))
    assert not short


async def test_a_read_in_a_transaction_is_the_drivers(things: Stored, short: list[int | None]) -> None:
    async with things.database.client.start_session() as session, await session.start_transaction():
        await things.insert_one({"_id": 10, "n": 10}, session=session)
        rows = await Found(things, {"n": 10}, None, session, {}).to_list()

    assert [row["n"] for row in rows] == [10]
    assert not short


@pytest.mark.parametrize("many", [1, 3])
async def test_inserts_are_stored(things: Stored, short: list[int | None], many: int) -> None:
    await commands.insert(things, [{"n": 20 + at} for at in range(many)], ordered=True)

    assert await things.count_documents({"n": {"$gte": 20}}) == many
    assert len(short) == 1


async def test_a_taken_value_is_told_as_the_driver_tells_it(things: Stored) -> None:
    with pytest.raises(DuplicateKeyError) as alone:
        await commands.insert(things, [{"n": 5}], ordered=False)
    with pytest.raises(BulkWriteError) as together:
        await commands.insert(things, [{"n": 30}, {"n": 5}, {"n": 31}], ordered=False)

    assert alone.value.details is not None
    assert alone.value.details["keyPattern"] == {"n": 1}
    [failed] = together.value.details["writeErrors"]
    assert (failed["index"], failed["code"], failed["keyPattern"]) == (1, 11000, {"n": 1})
    assert await things.count_documents({"n": {"$gte": 30}}) == 2


def _lost(monkeypatch: pytest.MonkeyPatch, *, before: bool) -> list[int]:
    """The connection of the next request breaks: before it is sent, or when its reply is there."""
    send, reply = Connection.send_message, Connection.reply
    broken: list[int] = []

    async def sending(self: Connection, message: bytes, size: int) -> None:
        if before and not broken:
            broken.append(1)
            self.conn.get_conn.transport.abort()
        await send(self, message, size)

    async def replying(self: Connection, request_id: int | None, seconds: float | None) -> Any:
        answer = await reply(self, request_id, seconds)
        if not before and not broken:
            broken.append(1)
            await self._raise_connection_failure(OSError("lost"))
        return answer

    monkeypatch.setattr(Connection, "send_message", sending)
    monkeypatch.setattr(Connection, "reply", replying)
    return broken


@pytest.mark.parametrize("before", [True, False], ids=["before it was sent", "with the reply"])
@pytest.mark.parametrize("many", [1, 3])
async def test_an_insert_whose_connection_breaks_happens_once(
    things: Stored, monkeypatch: pytest.MonkeyPatch, before: bool, many: int
) -> None:
    broken = _lost(monkeypatch, before=before)

    await commands.insert(things, [{"n": 40 + at} for at in range(many)], ordered=False)

    assert broken
    assert await things.count_documents({"n": {"$gte": 40}}) == many


@pytest.mark.parametrize("before", [True, False], ids=["before it was sent", "with the reply"])
async def test_a_read_whose_connection_breaks_is_answered(
    things: Stored, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    broken = _lost(monkeypatch, before=before)

    assert len(await Found(things, {}, None, None, {}).to_list()) == 10
    assert broken
    assert pool_of(things).active_sockets == 0


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """While it is not set, requests are swallowed, so no reply comes."""
    speaks = asyncio.Event()
    send = Connection.send_message

    async def sending(self: Connection, message: bytes, size: int) -> None:
        if speaks.is_set():
            await send(self, message, size)

    monkeypatch.setattr(Connection, "send_message", sending)
    return speaks


@pytest.mark.parametrize("seconds", [0.1, 0.7], ids=["before it is looked", "after"])
async def test_a_reply_that_does_not_come_is_waited_for_no_longer_than_the_operation_may_take(
    things: Stored, silent: asyncio.Event, seconds: float
) -> None:
    with pymongo.timeout(seconds), pytest.raises(NetworkTimeout) as caught:
        await Found(things, {}, None, None, {}).to_list()

    silent.set()
    assert caught.value.timeout
    assert pool_of(things).active_sockets == 0
    assert len(await Found(things, {}, None, None, {}).to_list()) == 10


async def test_a_reply_that_nobody_waits_for_any_more_reaches_nobody_else(
    things: Stored, silent: asyncio.Event
) -> None:
    forgotten = asyncio.create_task(Found(things, {}, None, None, {}).to_list())
    await asyncio.sleep(0.05)
    [connection] = [one for one in pool_of(things).active_contexts if not one.cancelled]
    forgotten.cancel()
    with pytest.raises(asyncio.CancelledError):
        await forgotten

    silent.set()
    assert connection.cancelled
    assert pool_of(things).active_sockets == 0
    assert await commands.find_one(things, {"n": 3}, {"n": 1}, None, {}) == {"_id": 3, "n": 3}


async def test_a_connection_that_the_driver_gives_up_is_not_waited_for(things: Stored, silent: asyncio.Event) -> None:
    waiting = asyncio.create_task(Found(things, {}, None, None, {}).to_list())
    await asyncio.sleep(0.05)

    silent.set()
    await pool_of(things).reset_without_pause()
    for one in list(pool_of(things).active_contexts):
        one.cancel()

    assert len(await waiting) == 10


@pytest.mark.parametrize("name", ["find", "insert"])
async def test_a_command_that_the_wall_refuses_is_not_sent(things: Stored, refused: list[str], name: str) -> None:
    refused.append(name)

    find, insert = (
        Found(things, {}, None, None, {}).to_list,
        partial(commands.insert, things, [{"n": 50}], ordered=True),
    )
    with pytest.raises(TenantWallBroken):
        await (insert() if name == "insert" else find())

    refused.clear()
    assert pool_of(things).active_sockets == 0
    assert await things.count_documents({}) == 10


async def test_many_at_once_get_their_own_rows_and_all_connections_come_back(things: Stored) -> None:
    found = await asyncio.gather(*(commands.find_one(things, {"n": at % 10}, {"n": 1}, None, {}) for at in range(400)))

    assert [row["n"] for row in found if row] == [at % 10 for at in range(400)]
    pool = pool_of(things)
    assert (pool.active_sockets, pool.requests, pool.operation_count) == (0, 0, 0)
    assert not pool.active_contexts


async def test_a_closed_client_is_told_by_the_driver(settings: Settings) -> None:
    client = make_client(settings)
    stored: Stored = client[settings.mongodb_database]["things"]
    await stored.find_one({})
    await client.close()

    with pytest.raises(InvalidOperation):
        await Found(stored, {}, None, None, {}).to_list()
