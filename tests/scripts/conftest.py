"""Databases for tests of commands: an empty one of their own, or the test process's with the schema on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient
from pymongo.database import Database

from app.config import Settings
from tests.fixtures.clinics import Server


@pytest.fixture
def own_settings(settings: Settings) -> Settings:
    """The settings, with a database that no other test uses; it goes with the test process's own."""
    return settings.model_copy(update={"mongodb_database": f"{settings.mongodb_database}_{uuid4().hex[:8]}"})


@pytest.fixture
def own_stored(own_settings: Settings) -> Iterator[Database[dict[str, Any]]]:
    """What a command wrote into the database of its own, seen past guard and wall."""
    with MongoClient[dict[str, Any]](own_settings.mongodb_uri, tz_aware=True) as client:
        yield client[own_settings.mongodb_database]


@pytest.fixture
def stored(server: Server) -> Iterator[Database[dict[str, Any]]]:
    """The test process's database, which has the schema, seen past guard and wall."""
    with MongoClient[dict[str, Any]](server.settings.mongodb_uri, tz_aware=True) as client:
        yield client[server.settings.mongodb_database]
