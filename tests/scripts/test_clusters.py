"""The commands by which another cluster is made known, and a clinic comes to live there, as a person runs them."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from bson import CodecOptions, ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient

from app.config import Settings
from app.services.placement.moving import clinic_to_move
from app.tenancy.places import standings
from app.tenancy.scope import Database
from models.tenant import PlacementKind
from tests.conftest import OTHER_PASSWORD, TEST_ENCRYPTION_KEY
from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.fixtures.twins import fill, fingerprints
from tests.scripts.commands import Terminal, run

URI = "POLYCLINIC_CLUSTER_URI"


@pytest_asyncio.fixture
async def elsewhere(other_mongodb_uri: str) -> AsyncIterator[AsyncMongoClient[dict[str, Any]]]:
    """The other cluster without guard and wall."""
    async with AsyncMongoClient[dict[str, Any]](other_mongodb_uri, tz_aware=True) as client:
        yield client


@pytest.fixture
def name(server: Server) -> str:
    """That of a cluster which no other test knows; the server's database has the schema."""
    return f"c{uuid4().hex[:8]}"


async def command(
    settings: Settings, module: str, *arguments: str, answers: str | None = None, **changes: str
) -> subprocess.CompletedProcess[str]:
    ended = await asyncio.to_thread(run, settings, module, *arguments, answers=answers, **changes)
    assert OTHER_PASSWORD not in ended.stdout + ended.stderr
    return ended


async def add(settings: Settings, name: str, uri: str) -> None:
    ended = await command(settings, "clusters", "add", name, **{URI: uri})
    assert ended.returncode == 0, ended.stderr


async def prints(place: Database, clinic: Clinic) -> dict[str, str]:
    """The clinic's documents, byte for byte, but for its audit."""
    found = await fingerprints(place, clinic)
    return {name: one for name, one in found.items() if not name.startswith("audit_")}


async def test_a_clinic_moves_to_a_cluster_works_there_and_comes_back(
    settings: Settings,
    server: Server,
    make_clinic: MakeClinic,
    raw: Database,
    elsewhere: AsyncMongoClient[dict[str, Any]],
    name: str,
    other_mongodb_uri: str,
) -> None:
    clinic = await make_clinic()
    await fill(clinic, 3)
    subdomain = clinic.tenant.subdomain
    await add(settings, name, other_mongodb_uri)
    before = await prints(raw, clinic)
    place = elsewhere[f"{raw.name}_{clinic.tenant.id}"]

    planned = await command(settings, "move_tenant", subdomain, "--cluster", name)
    assert f"It would move and be on the cluster {name}. Nothing was changed." in planned.stdout
    assert place.name not in await elsewhere.list_database_names()

    ended = await command(
        settings, "move_tenant", subdomain, "--cluster", name, "--execute", "--settle", "0", "--json", "--drop-source"
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout.splitlines()[-1])
    assert told["placement"] == {"kind": "cluster", "database": place.name, "cluster": name}
    assert told["compared"]["patients"]["documents"] == 3
    assert await prints(place, clinic) == before
    standings.forget()
    admin = await server.sign_in(clinic)
    assert (await admin.gql("{ patients { totalCount } }")).data["patients"]["totalCount"] == 3
    refused = await command(settings, "clusters", "remove", name)
    assert refused.returncode == 1
    assert subdomain in refused.stderr

    back = await command(
        settings, "move_tenant", subdomain, "--to", "shared", "--execute", "--settle", "0", "--drop-source"
    )
    assert back.returncode == 0, back.stderr
    row = await clinic_to_move(subdomain)
    assert (row.placement.kind, row.move) == (PlacementKind.SHARED, None)
    assert place.name not in await elsewhere.list_database_names()
    standings.forget()
    assert (await admin.gql("{ patients { totalCount } }")).data["patients"]["totalCount"] == 3
    removed = await command(settings, "clusters", "remove", name)
    assert removed.returncode == 0, removed.stderr


async def test_what_a_move_keeps_in_a_former_place_is_not_forgotten_by_a_further_one(
    settings: Settings, make_clinic: MakeClinic, name: str, other_mongodb_uri: str
) -> None:
    subdomain = (await make_clinic()).tenant.subdomain
    await add(settings, name, other_mongodb_uri)
    await command(settings, "move_tenant", subdomain, "--to", "own", "--execute", "--settle", "0")

    further = await command(settings, "move_tenant", subdomain, "--cluster", name, "--execute", "--settle", "0")
    assert further.returncode == 1
    assert "in the shared database must be cleared before: --clear." in further.stderr

    await command(settings, "move_tenant", subdomain, "--clear", "--execute", "--settle", "0")
    further = await command(settings, "move_tenant", subdomain, "--cluster", name, "--execute", "--settle", "0")
    assert further.returncode == 0, further.stderr
    back = await command(settings, "move_tenant", subdomain, "--back", "--execute", "--settle", "0", "--drop-source")
    assert back.returncode == 0, back.stderr
    assert (await clinic_to_move(subdomain)).placement.kind is PlacementKind.OWN_DATABASE


async def test_a_clinic_is_opened_there_and_an_unknown_cluster_is_refused(
    settings: Settings, elsewhere: AsyncMongoClient[dict[str, Any]], name: str, other_mongodb_uri: str
) -> None:
    await add(settings, name, other_mongodb_uri)
    subdomain = f"n{ObjectId()}"
    given = ("--name", "North", "--subdomain", subdomain, "--admin-name", "Ada", "--admin-email", f"a@{subdomain}.org")
    password = {"POLYCLINIC_ADMIN_PASSWORD": "correct horse 42"}

    wrong = await command(settings, "onboard_tenant", *given, "--cluster", "nowhere", "--json", **password)
    assert wrong.returncode == 1
    assert json.loads(wrong.stdout)["error"]["fields"] == [{"path": "cluster", "message": "is not a known cluster"}]
    opened = await command(settings, "onboard_tenant", *given, "--cluster", name, "--json", **password)
    assert opened.returncode == 0, opened.stderr
    place = json.loads(opened.stdout)["placement"]
    assert (place["kind"], place["cluster"]) == ("cluster", name)
    assert await elsewhere[place["database"]]["roles"].count_documents({}) > 0


async def test_the_address_is_kept_encrypted_and_shows_up_nowhere(
    settings: Settings, raw: Database, name: str, other_mongodb_uri: str
) -> None:
    await add(settings, name, other_mongodb_uri)
    for arguments in (("list",), ("check", name, "--json"), ("doubts",)):
        assert (await command(settings, "clusters", *arguments, LOG_LEVEL="debug")).returncode == 0

    secret = OTHER_PASSWORD.encode()
    for collection in await raw.list_collection_names():
        stored: Any = raw.get_collection(collection, CodecOptions(document_class=RawBSONDocument))
        async for document in stored.find({}):
            assert secret not in bytes(document.raw), collection


async def test_an_address_that_will_not_do_is_refused_without_being_repeated(
    settings: Settings, raw: Database, name: str
) -> None:
    ended = await command(settings, "clusters", "add", name, **{URI: "mongodb://clinics:s3c ret@127.0.0.1:abc"})
    assert ended.returncode == 1
    assert "cannot be read" in ended.stderr
    assert "s3c" not in ended.stderr + ended.stdout
    assert await raw["clusters"].count_documents({"name": name}) == 0


async def test_a_name_is_given_once_and_a_wrong_one_is_refused(
    settings: Settings, name: str, other_mongodb_uri: str
) -> None:
    await add(settings, name, other_mongodb_uri)
    again = await command(settings, "clusters", "add", name, answers=f"{other_mongodb_uri}\n")
    assert again.returncode == 1
    assert "already" in again.stderr


async def test_an_address_is_changed_and_the_master_key_is_turned(
    settings: Settings, raw: Database, name: str, other_mongodb_uri: str
) -> None:
    await add(settings, name, other_mongodb_uri)
    before = await raw["clusters"].find_one({"name": name})
    changed = await command(settings, "clusters", "change", name, **{URI: f"{other_mongodb_uri}&appname=x"})
    assert changed.returncode == 0, changed.stderr
    after = await raw["clusters"].find_one({"name": name})
    assert before is not None
    assert after is not None
    assert (after["version"], after["wrapped"] != before["wrapped"]) == (2, True)

    turned = {"ENCRYPTION_KEY": TEST_ENCRYPTION_KEY[::-1], "ENCRYPTION_KEYS_OLD": TEST_ENCRYPTION_KEY}
    lost = await command(settings, "clusters", "check", name, ENCRYPTION_KEY=TEST_ENCRYPTION_KEY[::-1])
    assert "ENCRYPTION_KEYS_OLD" in lost.stdout
    told = await command(settings, "rotate_keys", "--master", "--all", "--dry-run", **turned)
    assert "clusters' addresses, encrypted by another master" in told.stdout, told.stderr


def test_it_is_asked_for_unseen(settings: Settings, server: Server, name: str, other_mongodb_uri: str) -> None:
    terminal = Terminal(settings, "clusters", "add", name)
    terminal.asked("Address", other_mongodb_uri)
    assert terminal.end() == 0, terminal.shown
    assert OTHER_PASSWORD not in terminal.shown
    assert "is known" in terminal.shown
