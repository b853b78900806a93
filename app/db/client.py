"""The clients of a process, with the wall built in: the one of the home cluster, and small ones of others."""

from __future__ import annotations

from typing import Any

from pymongo import AsyncMongoClient
from pymongo.monitoring import (
    TopologyClosedEvent,
    TopologyDescriptionChangedEvent,
    TopologyListener,
    TopologyOpenedEvent,
)

from app.config import Settings
from app.tenancy.clusters import Watcher
from app.tenancy.listener import TenantWall
from app.wire.pool import WirePool

BACKGROUND = 8
"""Connections for what runs beside requests: the outbox, the audit's chains, the watch on clinics."""
IDLE_MS = 120_000
"""Shorter than the minutes after which balancers and address translators forget a silent connection."""
AWAY_CONNECT_MS = 2_000
AWAY_SELECTION_MS = 4_000
AWAY_LIMIT_MS = 10_000
"""Nobody waits for long for a cluster that is away: the places for operations are the other clinics' too."""


def make_client(
    settings: Settings, *, wall: TenantWall | None = None, serving: bool = False
) -> AsyncMongoClient[dict[str, Any]]:
    """A client whose times are aware, whose writes are acknowledged by a majority and whose operations all end.

    Network compressors stay off. `wall` lets tests bring one with recorders. `serving` is for a server's process, which
    keeps connections at hand. The caller closes the client.

    Connections follow from the places for operations (GRAPHQL_CONCURRENCY): each place may look a session up and
    another run an operation at the same moment, so twice as many are of use; more would only make the database do at
    once what it does faster in turn. Waiting for one counts against the time limit of the operation that waits, so it
    needs no limit of its own.
    """
    places = settings.graphql_concurrency
    return AsyncMongoClient(
        settings.mongodb_uri,
        appname="polyclinic",
        _pool_class=WirePool,
        event_listeners=[wall or TenantWall()],
        maxIdleTimeMS=IDLE_MS,
        maxPoolSize=2 * places + BACKGROUND,
        minPoolSize=max(1, places // 4) if serving else 0,
        retryReads=True,
        retryWrites=True,
        serverSelectionTimeoutMS=settings.time_limit_ms,
        timeoutMS=settings.time_limit_ms,
        tz_aware=True,
        uuidRepresentation="standard",
        w="majority",
    )


def make_cluster_client(settings: Settings, name: str, uri: str, watcher: Watcher) -> AsyncMongoClient[dict[str, Any]]:
    """A client of another cluster, as that of the home one but for its size and patience. The caller closes it."""
    return AsyncMongoClient(
        uri,
        appname="polyclinic",
        _pool_class=WirePool,
        connectTimeoutMS=AWAY_CONNECT_MS,
        event_listeners=[TenantWall([lambda *_: watcher.used()], cluster=name), _Primaries(watcher)],
        heartbeatFrequencyMS=AWAY_CONNECT_MS,
        maxIdleTimeMS=IDLE_MS,
        maxPoolSize=settings.graphql_concurrency,
        minPoolSize=0,
        retryReads=True,
        retryWrites=True,
        serverSelectionTimeoutMS=min(AWAY_SELECTION_MS, settings.time_limit_ms),
        timeoutMS=min(AWAY_LIMIT_MS, settings.time_limit_ms),
        tz_aware=True,
        uuidRepresentation="standard",
        w="majority",
    )


class _Primaries(TopologyListener):
    """Tells whether a cluster has a server that takes writes."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def opened(self, event: TopologyOpenedEvent) -> None:
        """Nothing is known yet."""

    def description_changed(self, event: TopologyDescriptionChangedEvent) -> None:
        self._watcher.reachable(event.new_description.has_writable_server())

    def closed(self, event: TopologyClosedEvent) -> None:
        """Whoever closed it knows."""
