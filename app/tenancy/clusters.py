"""Other clusters than the home one, on which clinics may have their databases: one small client for each, in a process.

A client is opened when somebody comes to a clinic there, which is looked up before (`ready`); the guard then finds the
database without waiting (`database`). Nobody else depends on it: a cluster that is away fails the requests of its own
clinics, at once after some seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from pymongo.errors import PyMongoError

from app.errors import AppError, Unavailable
from app.tasks import end
from app.tenancy.away import AwayDatabase, Client
from app.tenancy.scope import Residence

LOOK_SECONDS = 15.0
"""So often a process looks whether a cluster's address was changed, and whether anybody still uses it."""
IDLE_SECONDS = 15 * 60.0
PATIENCE_SECONDS = 3.0
"""For so long a cluster without a primary is waited for; after that its clinics are told at once."""
GRACE_SECONDS = 90.0
"""Longer than a request may go on with a client that was replaced."""

log = structlog.get_logger(__name__)


class ClusterUnavailable(Unavailable):
    """The cluster with the clinic's documents cannot be used at this moment."""


class UnknownCluster(ClusterUnavailable):
    """No cluster of this name is known (any more)."""


class Watcher(Protocol):
    """Is told of what a client sees and sends."""

    def reachable(self, primary: bool) -> None:
        """Whether there is a server that takes writes."""
        ...

    def used(self) -> None:
        """A command was sent."""
        ...


Source = Callable[[str], Awaitable[str]]
"""A cluster's address by its name. Raises `UnknownCluster`, or what keeps it from being read."""
Make = Callable[[str, str, Watcher], Client]
"""A client, by the cluster's name and address, that tells its watcher."""


@dataclass(slots=True, eq=False)
class _Opened:
    """One cluster's client, as this process uses it."""

    name: str
    uri: str = field(repr=False)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    client: Client = field(init=False)
    databases: dict[str, AwayDatabase] = field(default_factory=dict)
    used_at: float = field(default_factory=time.monotonic)
    lost_at: float | None = field(default_factory=time.monotonic)
    """Since when there is no primary; None while there is one."""
    tending: asyncio.Task[None] | None = None

    def reachable(self, primary: bool) -> None:
        self.lost_at = None if primary else (self.lost_at or time.monotonic())

    def used(self) -> None:
        self.used_at = time.monotonic()

    def check(self) -> None:
        """Raises `ClusterUnavailable` when there was no primary for some seconds."""
        if self.lost_at is not None and time.monotonic() - self.lost_at > PATIENCE_SECONDS:
            raise ClusterUnavailable

    def database(self, name: str) -> AwayDatabase:
        """The same object each time, for work is kept apart by the identity of databases."""
        kept = self.databases.get(name)
        if kept is None:
            kept = self.databases[name] = AwayDatabase(self.client, name, self.name)
        return kept


class Clusters:
    """Those that this process has opened, each by the event loop that it belongs to."""

    def __init__(self) -> None:
        self._source: Source | None = None
        self._make: Make | None = None
        self._clients: dict[tuple[str, asyncio.AbstractEventLoop], _Opened] = {}
        self._opening: dict[tuple[str, asyncio.AbstractEventLoop], asyncio.Task[_Opened]] = {}
        self._alive: set[_Opened] = set()
        """Those with a client, also when somebody who comes now gets another one."""

    def use(self, source: Source, make: Make) -> None:
        """Says where addresses come from, and how clients are made; called once at a process's start."""
        self._source, self._make = source, make

    @property
    def in_use(self) -> bool:
        """Whether this process has been at another cluster."""
        return bool(self._clients)

    async def ready(self, residence: Residence) -> None:
        """Sees to it that the database of a clinic can be found. Raises `ClusterUnavailable`, in bounded time."""
        if residence.cluster is None:
            return
        key = residence.cluster, asyncio.get_running_loop()
        opened = self._clients.get(key) or await self._open(*key)
        opened.check()

    def database(self, residence: Residence) -> AwayDatabase:
        """A clinic's database on another cluster. Raises `ClusterUnavailable` for one that is not open here."""
        if residence.cluster is None or residence.database is None:
            raise ValueError("it is on the home cluster")
        opened = self._clients.get((residence.cluster, asyncio.get_running_loop()))
        if opened is None:
            raise ClusterUnavailable
        return opened.database(residence.database)

    async def client(self, name: str) -> Client:
        """A cluster's client, for those who administer it. Raises `UnknownCluster`."""
        key = name, asyncio.get_running_loop()
        return (self._clients.get(key) or await self._open(*key)).client

    async def _open(self, name: str, loop: asyncio.AbstractEventLoop) -> _Opened:
        """All who wait for a cluster share one look at its address."""
        task = self._opening.get((name, loop))
        if task is None:
            task = self._opening[name, loop] = loop.create_task(
                self._opened_anew(name), name=f"cluster {name}", context=Context()
            )
            task.add_done_callback(lambda _: self._opening.pop((name, loop), None))
        return await asyncio.shield(task)

    async def _opened_anew(self, name: str) -> _Opened:
        if self._source is None or self._make is None:
            raise RuntimeError("clusters.use was not called")
        opened = _Opened(name, await self._source(name))
        opened.client = self._make(name, opened.uri, opened)
        await opened.client.aconnect()  # waits for no server, and looks for them from now on
        opened.tending = opened.loop.create_task(self._tend(opened), name=f"tending cluster {name}", context=Context())
        self._alive.add(opened)
        self._clients[name, asyncio.get_running_loop()] = opened
        return opened

    async def _tend(self, opened: _Opened) -> None:
        """Until nobody uses the client any more, or it has another address."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if time.monotonic() - opened.used_at > IDLE_SECONDS or not await self._is_current(opened):
                break
        if self._clients.get(key := (opened.name, asyncio.get_running_loop())) is opened:
            del self._clients[key]
        await asyncio.sleep(GRACE_SECONDS)  # whoever came before may still be at work
        self._alive.discard(opened)
        await opened.client.close()

    async def _is_current(self, opened: _Opened) -> bool:
        assert self._source is not None  # noqa: S101 - it was opened by it
        try:
            return await self._source(opened.name) == opened.uri
        except UnknownCluster:
            return False
        except (AppError, PyMongoError) as error:
            log.warning("a cluster's address could not be looked at", cluster=opened.name, error=type(error).__name__)
            return True

    async def close(self) -> None:
        """Closes those of the running loop; at the process's end."""
        loop = asyncio.get_running_loop()
        self._clients = {key: opened for key, opened in self._clients.items() if key[1] is not loop}
        for opened in [one for one in self._alive if one.loop is loop]:
            self._alive.discard(opened)
            if opened.tending is not None:
                await end(opened.tending)
            await opened.client.close()


clusters = Clusters()
"""This process's."""
