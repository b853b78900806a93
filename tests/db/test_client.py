"""The pool of connections: as large as is of use, at hand when the first requests come, and never waited for without
end."""

from __future__ import annotations

import asyncio
from typing import Any

import pymongo
import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from app.config import Settings
from app.db.client import BACKGROUND, make_client
from app.db.failures import as_app_error
from app.errors import Unavailable


def changed(settings: Settings, **changes: Any) -> Settings:
    return Settings(**{**settings.model_dump(), **changes})


async def connections_of(client: AsyncMongoClient[dict[str, Any]], name: str) -> int:
    """How many connections that bear this name the database has, those of its own watching left out."""
    stages: list[dict[str, Any]] = [
        {"$currentOp": {"allUsers": True, "idleConnections": True}},
        {"$match": {"appName": name, "command.hello": {"$exists": False}, "command.isMaster": {"$exists": False}}},
    ]
    async with await client.admin.aggregate(stages) as found:
        return len(await found.to_list())


@pytest.mark.parametrize("places", [1, 32, 100])
async def test_the_pool_follows_the_places_for_operations(settings: Settings, places: int) -> None:
    chosen = changed(settings, graphql_concurrency=places)
    async with make_client(chosen, serving=True) as serving, make_client(chosen) as command:
        options = serving.options.pool_options
        assert options.max_pool_size == 2 * places + BACKGROUND
        assert options.min_pool_size == max(1, places // 4)
        assert command.options.pool_options.min_pool_size == 0


async def test_connections_are_at_hand_before_requests_come(settings: Settings) -> None:
    chosen = changed(settings, graphql_concurrency=40)
    async with make_client(chosen, serving=True) as client:
        least = client.options.pool_options.min_pool_size
        await client.admin.command("ping")
        async with asyncio.timeout(20):
            while await connections_of(client, "polyclinic") < least:
                await asyncio.sleep(0.1)


async def test_who_waits_for_a_connection_waits_no_longer_than_the_operation_may_take(settings: Settings) -> None:
    chosen = changed(settings, graphql_concurrency=1, time_limit_ms=60_000)
    async with make_client(chosen) as client:
        most = int(client.options.pool_options.max_pool_size)
        tenants = client[settings.mongodb_database]["tenants"]
        streams = [await tenants.watch(max_await_time_ms=30_000) for _ in range(most)]
        holding = [asyncio.create_task(stream.try_next()) for stream in streams]
        await asyncio.sleep(0.5)
        with pytest.raises(PyMongoError) as refused, pymongo.timeout(0.2):
            await client.admin.command("ping")
        for task in holding:
            task.cancel()
        await asyncio.gather(*holding, return_exceptions=True)

    assert isinstance(as_app_error(refused.value), Unavailable)
