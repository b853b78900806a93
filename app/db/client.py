"""The one client of a process, with the wall built in."""

from __future__ import annotations

from typing import Any

from pymongo import AsyncMongoClient

from app.config import Settings
from app.tenancy.listener import TenantWall


def make_client(settings: Settings, *, wall: TenantWall | None = None) -> AsyncMongoClient[dict[str, Any]]:
    """A client whose times are aware, whose writes are acknowledged by a majority and whose operations all end.

    Network compressors stay off. `wall` lets tests bring one with recorders. The caller closes the client.
    """
    return AsyncMongoClient(
        settings.mongodb_uri,
        appname="polyclinic",
        event_listeners=[wall or TenantWall()],
        retryReads=True,
        retryWrites=True,
        serverSelectionTimeoutMS=settings.time_limit_ms,
        timeoutMS=settings.time_limit_ms,
        tz_aware=True,
        uuidRepresentation="standard",
        w="majority",
    )
