"""The one client of a process, with the wall built in."""

from __future__ import annotations

from typing import Any

from pymongo import AsyncMongoClient

from app.config import Settings
from app.tenancy.listener import TenantWall
from app.wire.pool import WirePool

BACKGROUND = 8
"""Connections for what runs beside requests: the outbox, the audit's chains, the watch on clinics."""
IDLE_MS = 120_000
"""Shorter than the minutes after which balancers and address translators forget a silent connection."""


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
