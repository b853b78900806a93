"""The command that migrates, run as a person or a pipeline runs it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bson import ObjectId
from pymongo.database import Database

from app.config import Settings
from tests.scripts.commands import run

Stored = Database[dict[str, Any]]


@pytest.fixture
def behind(own_settings: Settings, own_stored: Stored) -> Stored:
    """A database that an earlier version left: a clinic that does not say where it lives, and no record of steps."""
    assert run(own_settings, "apply_schema").returncode == 0
    own_stored["schema_state"].delete_many({"_id": {"$type": "number"}})
    own_stored["tenants"].insert_one({"_id": ObjectId(), "subdomain": "early"})
    return own_stored


def test_it_tells_with_a_dry_run_then_does_it_once(own_settings: Settings, behind: Stored) -> None:
    dry = run(own_settings, "migrate", "--dry-run")
    assert dry.returncode == 1
    assert "placements: 1 to change" in dry.stdout
    assert behind["tenants"].count_documents({"placement": {"$exists": True}}) == 0

    done = run(own_settings, "migrate", "--parallel", "2")
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert "placements: 1 changed" in done.stdout
    assert behind["tenants"].count_documents({"placement.kind": "shared"}) == 1

    again = run(own_settings, "migrate")
    assert (again.returncode, again.stdout.strip()) == (0, "Up to date: 1 database.")
    assert run(own_settings, "migrate", "--dry-run").returncode == 0


def test_as_json_it_tells_each_database_and_what_failed(own_settings: Settings, behind: Stored) -> None:
    clinic = ObjectId()
    own = behind.client[f"{behind.name}_{clinic}"]
    placement = {"kind": "own_database", "database": own.name}
    behind["tenants"].insert_one({"_id": clinic, "subdomain": "apart", "placement": placement})
    own["rooms"].insert_many([{"tenant_id": clinic, "name_key": "same", "archived_at": None} for _ in range(2)])
    own["staff"].insert_many([{"tenant_id": clinic, "user_id": clinic} for _ in range(2)])

    done = run(own_settings, "migrate", "--json")

    assert done.returncode == 1
    shared, apart = json.loads(done.stdout)
    assert (shared["site"], shared["failed"], shared["steps"]["placements"]) == ("shared", None, 1)
    assert (apart["site"], apart["database"]) == ("apart", own.name)
    assert "documents have the same" in apart["failed"]
    behind.client.drop_database(own.name)


def test_an_unknown_name_is_refused(own_settings: Settings, behind: Stored) -> None:
    refused = run(own_settings, "migrate", "--only", "nobody")
    assert refused.returncode == 2
    assert "--only: There is no clinic nobody." in refused.stderr


def test_a_clinic_in_the_shared_database_is_led_there_and_nothing_is_migrated(
    own_settings: Settings, behind: Stored
) -> None:
    clinic = ObjectId()
    behind["tenants"].insert_one({"_id": clinic, "subdomain": "pooled", "placement": {"kind": "shared"}})
    try:
        refused = run(own_settings, "migrate", "--only", "shared", "--only", "Pooled")
        assert refused.returncode == 2
        assert "--only: pooled is in the shared database with others, which goes by the name shared." in refused.stderr
        assert run(own_settings, "migrate", "--dry-run").returncode == 1, "what was named beside it is left too"
    finally:
        behind["tenants"].delete_one({"_id": clinic})
