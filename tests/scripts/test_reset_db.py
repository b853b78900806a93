"""`python -m scripts.reset_db`: everything goes, after a typed yes, and never in production."""

from __future__ import annotations

from typing import Any

from bson import ObjectId
from pymongo.database import Database

from app.config import Settings
from tests.scripts.commands import PRODUCTION, run

Stored = Database[dict[str, Any]]


def test_the_database_is_emptied_only_when_its_name_is_typed(own_settings: Settings, own_stored: Stored) -> None:
    own_stored["tenants"].insert_one({"subdomain": "gone"})
    refused = run(own_settings, "reset_db", answers="another\n")
    assert (refused.returncode, "Nothing was dropped" in refused.stderr) == (1, True)
    silent = run(own_settings, "reset_db")
    assert silent.returncode == 1
    assert own_stored["tenants"].count_documents({}) == 1

    done = run(own_settings, "reset_db", answers=f"{own_settings.mongodb_database}\n")
    assert done.returncode == 0, done.stderr
    assert own_stored["tenants"].count_documents({}) == 0
    assert own_stored["tenants"].index_information()["subdomain"]["unique"]
    assert own_stored["roles"].options()["validator"]


def test_yes_skips_the_question(own_settings: Settings, own_stored: Stored) -> None:
    own_stored["tenants"].insert_one({"subdomain": "gone"})
    names = {name: f"{own_stored.name}_{name}" for name in (str(ObjectId()), "kept")}
    for one in names.values():
        own_stored.client[one]["rooms"].insert_one({})
    assert run(own_settings, "reset_db", "--yes").returncode == 0
    left = {name for name in names if names[name] in own_stored.client.list_database_names()}
    assert left == {"kept"}, "clinics' own databases go too, and no other"
    assert own_stored["tenants"].count_documents({}) == 0


def test_production_is_never_reset(own_settings: Settings, own_stored: Stored) -> None:
    own_stored["tenants"].insert_one({"subdomain": "kept"})
    done = run(own_settings, "reset_db", "--yes", **PRODUCTION)
    assert (done.returncode, done.stdout) == (1, "")
    assert "reset_db is refused in production" in done.stderr
    assert own_stored["tenants"].count_documents({}) == 1
