"""What probes are told, and what they are not."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure

from app.http import health
from app.http.health import Check, database_answers, health_specs
from tests.http.support import browse, edge_app


async def fine() -> bool:
    return True


async def unfit() -> bool:
    return False


async def broken() -> bool:
    raise OperationFailure("mongodb://user:hunter2@db.internal")


async def hangs() -> bool:
    await asyncio.Event().wait()
    return True


async def ready(**checks: Check) -> tuple[int, dict[str, Any], str]:
    async with browse(edge_app(specs=health_specs(checks)), "10.0.0.9:8000") as client:
        answer = await client.get("/readyz")
    return answer.status_code, answer.json(), answer.text


async def test_alive_needs_no_database_and_no_known_host() -> None:
    async with browse(edge_app(specs=health_specs({"database": broken})), "10.0.0.9:8000") as client:
        answer = await client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_ready_when_every_check_passes() -> None:
    status, body, _ = await ready(database=fine, schema=fine)

    assert (status, body) == (200, {"status": "ok", "checks": {"database": "ok", "schema": "ok"}})


@pytest.mark.parametrize("check", [unfit, broken, hangs])
async def test_not_ready_names_the_check_and_nothing_of_its_inside(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.05)

    status, body, text = await ready(database=fine, schema=check)

    assert (status, body["status"]) == (503, "unavailable")
    assert body["checks"] == {"database": "ok", "schema": "failed"}
    assert "hunter2" not in text


async def test_a_living_database_answers_the_ping(mongodb_uri: str, database_name: str) -> None:
    async with AsyncMongoClient[dict[str, Any]](mongodb_uri) as client:
        status, _, _ = await ready(database=database_answers(client[database_name]))

    assert status == 200


async def test_a_silent_database_is_told_in_bounded_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts and never speaks
        uri = f"mongodb://127.0.0.1:{listener.getsockname()[1]}/?directConnection=true"
        async with AsyncMongoClient[dict[str, Any]](uri) as client:
            status, body, _ = await ready(database=database_answers(client["any"]))

    assert (status, body["checks"]) == (503, {"database": "failed"})
