"""The schema applier: indexes, validators, drift."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.errors import WriteError
from typer.testing import CliRunner

import scripts.apply_schema as command
from app.config import Settings
from app.db.schema import Drift, SchemaError, apply_schema
from app.tenancy.scope import Database
from models import ALL_DOCUMENTS
from tests.fixtures.documents import TEST_DOCUMENTS, Gadget, Person

Client = AsyncMongoClient[dict[str, Any]]


@pytest_asyncio.fixture
async def place(guard_client: Client, plain_database: Database) -> AsyncIterator[Database]:
    """An empty database, behind the wall."""
    name = f"{plain_database.name}_schema"
    await plain_database.client.drop_database(name)
    yield guard_client[name]
    await plain_database.client.drop_database(name)


def beside(place: Database, plain_database: Database) -> Database:
    """The same database without the wall."""
    return plain_database.client[place.name]


async def test_it_makes_all_that_the_models_say(guard_client: Client, settings: Settings, place: Database) -> None:
    report = await apply_schema(place)
    assert len([change for change in report.changes if change.startswith("created")]) == len(ALL_DOCUMENTS)
    assert report.drift == []
    checked = await apply_schema(place, check=True)
    assert checked.drift == []
    assert checked.changes == []


async def test_the_second_start_costs_one_read(
    guard_client: Client, settings: Settings, place: Database, wall: Any
) -> None:
    await apply_schema(place, documents=TEST_DOCUMENTS)
    commands: list[str] = []
    wall.recorders.append(lambda event, verdict: commands.append(event.command_name))
    report = await apply_schema(place, documents=TEST_DOCUMENTS)
    wall.recorders.clear()
    assert report.known
    assert [name for name in commands if name != "killCursors"] == ["find"]


async def test_check_changes_nothing(
    guard_client: Client, settings: Settings, place: Database, plain_database: Database
) -> None:
    report = await apply_schema(place, documents=TEST_DOCUMENTS, check=True)
    assert Drift("test_gadgets", "collection", "missing") in report.drift
    assert await beside(place, plain_database).list_collection_names() == []


async def test_drift_is_found_and_mended(
    guard_client: Client, settings: Settings, place: Database, plain_database: Database
) -> None:
    await apply_schema(place, documents=TEST_DOCUMENTS)
    plain = beside(place, plain_database)
    await plain["test_gadgets"].drop_index("label")
    await plain["test_gadgets"].drop_index("size")
    await plain["test_gadgets"].create_index("size", name="size")
    await plain["test_gadgets"].create_index("parent", name="odd")
    await plain.command("collMod", "test_people", validator={})
    report = await apply_schema(place, documents=TEST_DOCUMENTS, check=True)
    odd = Drift("test_gadgets", "index", "unexpected", "odd")
    assert set(report.drift) == {
        Drift("test_gadgets", "index", "missing", "label"),
        Drift("test_gadgets", "index", "different", "size"),
        Drift("test_people", "validator", "different"),
        odd,
    }
    mended = await apply_schema(place, documents=TEST_DOCUMENTS, force=True)
    assert mended.drift == [odd]
    checked = await apply_schema(place, documents=TEST_DOCUMENTS, check=True)
    assert checked.drift == [odd]


async def test_duplicates_in_the_way_of_a_unique_index_are_told_in_words(
    guard_client: Client, settings: Settings, place: Database, plain_database: Database
) -> None:
    rows = [{"tenant_id": ObjectId("0" * 24), "label": "same"} for _ in range(2)]
    await beside(place, plain_database)["test_gadgets"].insert_many(rows)
    with pytest.raises(SchemaError, match=r"label.*test_gadgets.*duplicates"):
        await apply_schema(place, documents=TEST_DOCUMENTS)


async def test_a_clinics_own_database_admits_that_clinic_alone(
    guard_client: Client, settings: Settings, place: Database, plain_database: Database
) -> None:
    own = ObjectId()
    await apply_schema(place, documents=TEST_DOCUMENTS, tenant_id=own)
    plain = beside(place, plain_database)
    assert "test_badges" not in await plain.list_collection_names()
    await plain["test_gadgets"].insert_one({"tenant_id": own, "label": "x"})
    await plain["test_people"].insert_one({"tenant_ids": [own]})
    for name, row in (
        (Gadget.guarded_name(), {"tenant_id": ObjectId(), "label": "y"}),
        (Gadget.guarded_name(), {"tenant_id": str(own), "label": "z"}),
        (Person.guarded_name(), {"tenant_ids": [own, ObjectId()]}),
        (Person.guarded_name(), {"tenant_ids": [own, own]}),
        (Person.guarded_name(), {"tenant_ids": []}),
    ):
        with pytest.raises(WriteError):
            await plain[name].insert_one(dict(row))


def test_every_index_of_every_model_has_a_name_of_its_own() -> None:
    for document in ALL_DOCUMENTS:
        indexes = getattr(document.Settings, "indexes", ())
        names = [index.document["name"] for index in indexes]
        assert len(set(names)) == len(names)


def test_the_command_reports_drift_by_exit_code_and_as_json(
    settings: Settings, database_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings.model_copy(update={"mongodb_database": f"{database_name}_cli"})
    monkeypatch.setattr(command, "load_settings", lambda: own)
    runner = CliRunner()
    assert runner.invoke(command.cli, ["--check"]).exit_code == 1
    applied = runner.invoke(command.cli, ["--json"])
    assert applied.exit_code == 0
    assert json.loads(applied.stdout)["drift"] == []
    assert runner.invoke(command.cli, ["--check"]).exit_code == 0


def test_the_command_says_in_one_sentence_that_the_database_is_out_of_reach(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = settings.model_copy(
        update={"mongodb_uri": "mongodb://127.0.0.1:1/?directConnection=true", "time_limit_ms": 200}
    )
    monkeypatch.setattr(command, "load_settings", lambda: gone)
    result = CliRunner().invoke(command.cli, [])
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert "MONGODB_URI" in result.output
