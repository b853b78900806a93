"""The driver's pool and connections, with a shorter way in and out.

The driver waits for each reply by two tasks and takes three locks for each connection, which is more work than the
command itself. Here one timer watches over the reply, and a connection that lies ready is taken and given back without
waiting, by the driver's own counts. Whatever is not as usual (none is ready, somebody waits, the pool was reset) goes
the driver's way.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from typing import Any
from weakref import WeakKeyDictionary

from pymongo import AsyncMongoClient, _csot
from pymongo.asynchronous.pool import AsyncConnection, Pool
from pymongo.asynchronous.topology import Topology
from pymongo.errors import _OperationCancelled
from pymongo.message import _UNPACK_REPLY, _OpMsg
from pymongo.network_layer import PyMongoProtocol
from pymongo.pool_shared import PoolState
from pymongo.server_type import SERVER_TYPE
from pymongo.topology_description import TopologyDescription

LOOK_SECONDS = 0.5
"""So often it is looked whether the driver has given up a connection on which a reply is waited for; as it does."""


class Connection(AsyncConnection):
    """As the driver's, but sends without a task and waits for the reply by one timer."""

    async def send_message(self, message: bytes, max_doc_size: int) -> None:
        if max_doc_size > self.max_bson_size:
            await super().send_message(message, max_doc_size)  # raises
        try:
            await self.conn.get_conn.write(message)  # puts it into the transport's buffer: nothing to wait for
        except BaseException as error:  # noqa: BLE001 - raised again from there
            await self._raise_connection_failure(error)

    async def receive_message(self, request_id: int | None) -> _OpMsg:
        protocol = self.conn.get_conn
        left = _csot.remaining()
        return await self.reply(request_id, protocol.gettimeout if left is None else left)

    async def reply(self, request_id: int | None, seconds: float | None) -> _OpMsg:
        """The reply to a request, within so many seconds, None for any time.

        Raises what the driver raises. That closes the connection, also when whoever waits is cancelled."""
        protocol = self.conn.get_conn
        watch = _Watch(self, protocol, seconds)
        try:
            data, op_code = await protocol.read(request_id, self.max_message_size)
            return _UNPACK_REPLY[op_code](data)
        except BaseException as error:  # noqa: BLE001 - raised again from there
            await self._raise_connection_failure(error)
        finally:
            watch.end()


class _Watch:
    """Ends the wait for a reply when its time is over, or when the driver has given the connection up."""

    __slots__ = ("_conn", "_deadline", "_loop", "_protocol", "_timer")

    def __init__(self, conn: Connection, protocol: PyMongoProtocol, seconds: float | None) -> None:
        self._conn = conn
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._deadline = math.inf if seconds is None else time.monotonic() + seconds
        self._timer = self._loop.call_later(self._next(seconds), self._look)

    @staticmethod
    def _next(seconds: float | None) -> float:
        return LOOK_SECONDS if seconds is None else min(max(seconds, 0), LOOK_SECONDS)

    def _look(self) -> None:
        left = self._deadline - time.monotonic()
        if self._conn.cancel_context.cancelled:
            self._protocol.close(_OperationCancelled("operation cancelled"))
        elif left <= 0:
            self._protocol.close(TimeoutError("timed out"))
        else:
            self._timer = self._loop.call_later(self._next(left), self._look)

    def end(self) -> None:
        self._timer.cancel()


class WirePool(Pool):
    """As the driver's. `take` and `give` are for whoever finds a connection ready."""

    async def connect(self, handler: Any = None) -> AsyncConnection:
        conn = await super().connect(handler)
        if not self.is_sdam:
            conn.__class__ = Connection
        return conn

    def take(self) -> Connection | None:
        """A connection that lies ready; None when the driver must wait for one, make one or throw one away."""
        if not self.conns or self.state != PoolState.READY or self._waited_for or self.pid != os.getpid():
            return None
        conn: Any = self.conns[0]
        if self.requests >= self.max_pool_size or self._telemetry._should_publish or not self._is_fresh(conn):
            return None
        self.conns.popleft()
        self.operation_count += 1
        self.requests += 1
        self.active_sockets += 1
        conn.active = True
        self.active_contexts.add(conn.cancel_context)
        taken: Connection = conn
        return taken

    async def give(self, conn: Connection) -> None:
        """Gives a connection back that was taken."""
        if self._waited_for or self.closed or conn.closed or self.stale_generation(conn.generation, conn.service_id):
            await self.checkin(conn)
            return
        conn.active = False
        self._checkin_apply(conn, txn=False, cursor=False, forked=False)

    @property
    def _waited_for(self) -> bool:
        return bool(self.size_cond._waiters or self._max_connecting_cond._waiters)

    def _is_fresh(self, conn: Any) -> bool:
        """Whether the driver would use the connection as it is."""
        usable = isinstance(conn, Connection) and conn.compression_context is None and conn.is_writable
        idle = conn.idle_time_seconds()
        longest = self.opts.max_idle_time_seconds
        kept = longest is None or idle <= longest
        return (
            usable and kept and not conn.conn_closed() and not self.stale_generation(conn.generation, conn.service_id)
        )


_primaries: WeakKeyDictionary[TopologyDescription, WirePool | None] = WeakKeyDictionary()


def primary_pool(client: AsyncMongoClient[Any]) -> WirePool | None:
    """The pool of a replica set's primary, as far as the driver knows one; None for clients without a `WirePool`."""
    seen = client._topology.description  # another one after each change
    try:
        return _primaries[seen]
    except KeyError:
        pool = _primaries[seen] = _pool_of(client._topology)
        return pool


def _pool_of(topology: Topology) -> WirePool | None:
    for server in topology.description.server_descriptions().values():
        if server.server_type == SERVER_TYPE.RSPrimary:
            found = topology._servers.get(server.address)
            pool: Any = found.pool if found is not None else None
            return pool if isinstance(pool, WirePool) else None
    return None
