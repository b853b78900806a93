"""`/healthz`: the process answers. `/readyz`: what it needs answers too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pymongo
from pymongo.errors import PyMongoError
from starlette.requests import Request
from starlette.responses import Response

from app.http.answers import json_response
from app.http.registry import RouteKind, RouteSpec
from app.tenancy.scope import Database

CHECK_SECONDS = 2.0

Check = Callable[[], Awaitable[bool]]
"""True when the thing is fit for work; False or a database error when it is not."""


def health_specs(checks: Mapping[str, Check]) -> list[RouteSpec]:
    """The two routes. `checks` are what readiness needs, by the name that the answer shows."""

    async def readyz(_: Request) -> Response:
        results = await asyncio.gather(*(_passes(check) for check in checks.values()))
        shown = {name: "ok" if passed else "failed" for name, passed in zip(checks, results, strict=True)}
        ready = all(results)
        content = {"status": "ok" if ready else "unavailable", "checks": shown}
        return json_response(content, 200 if ready else 503)

    return [
        RouteSpec("/healthz", {"GET"}, RouteKind.OPERATOR, healthz, "healthz"),
        RouteSpec("/readyz", {"GET"}, RouteKind.OPERATOR, readyz, "readyz"),
    ]


async def healthz(_: Request) -> Response:
    """Says that the process is alive; touches nothing."""
    return json_response({"status": "ok"})


def database_answers(database: Database) -> Check:
    """The check that the database answers a ping in time."""

    async def ping() -> bool:
        with pymongo.timeout(CHECK_SECONDS * 0.75):
            await database.command("ping")
        return True

    return ping


async def _passes(check: Check) -> bool:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check()
    except (PyMongoError, TimeoutError, OSError):
        return False
