"""A system to be migrated, for each module of tests its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest_asyncio
from pymongo import AsyncMongoClient

from app.config import Settings
from tests.db.migrations.places import Place


@pytest_asyncio.fixture(scope="module")
async def system(settings: Settings) -> AsyncIterator[Place]:
    """A shared database with a clinic in it, and two clinics in their own."""
    named = settings.model_copy(update={"mongodb_database": f"{settings.mongodb_database}_{uuid4().hex[:6]}"})
    async with AsyncMongoClient[dict[str, Any]](settings.mongodb_uri, tz_aware=True) as client:
        made = Place(client, named)
        await made.open()
        yield made
        await made.drop()


@pytest_asyncio.fixture
async def place(system: Place) -> AsyncIterator[Place]:
    """The same for each test, as if none had been."""
    yield system
    await system.reset()
