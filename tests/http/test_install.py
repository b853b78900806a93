"""Installing over HTTP: only with the secret, only once, and then the routes are gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pymongo import AsyncMongoClient, MongoClient

from app.auth.passwords import hash_password
from app.config import Settings
from tests.fixtures.clinics import Clinic, Server
from tests.server_process import server_process

SECRET = "Vb7rT0xq-K2mZ9wLc4_HsYj8nUfPd3GeRa6iQo1t"
INSTALL, STATUS = "/api/install", "/api/install/status"
ADMIN = {"name": "Ola Operator", "email": "ola@example.org", "password": "correct horse 42"}
BODY = {"admin": ADMIN}
WROTE = ("installation", "operators", "users", "platform_audit")


@pytest.fixture(scope="module")
def empty(settings: Settings, database_name: str) -> Settings:
    """The settings of a system on a database in which there is nothing."""
    return settings.model_copy(update={"mongodb_database": f"{database_name}_install"})


@pytest.fixture(scope="module")
def address(empty: Settings) -> Iterator[str]:
    """A server of that system that was told the secret."""
    with server_process(empty, INSTALL_SECRET=SECRET) as address:
        yield address


@pytest_asyncio.fixture
async def database(empty: Settings) -> AsyncIterator[Any]:
    """Its database, emptied."""
    async with AsyncMongoClient[dict[str, Any]](empty.mongodb_uri, tz_aware=True) as client:
        database = client[empty.mongodb_database]
        for name in (*WROTE, "rate_buckets"):
            await database[name].delete_many({})
        yield database


@pytest_asyncio.fixture
async def http(address: str, database: Any) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Host": "polyclinic.test", "Authorization": f"Bearer {SECRET}"}
    async with httpx.AsyncClient(base_url=address, headers=headers, timeout=60) as client:
        yield client


async def written(database: Any) -> dict[str, int]:
    return {name: await database[name].count_documents({}) for name in WROTE}


NOTHING = dict.fromkeys(WROTE, 0)


async def test_installing_makes_the_schema_and_the_first_super_admin(http: httpx.AsyncClient, database: Any) -> None:
    await database["schema_state"].delete_many({})
    assert (await http.get(STATUS)).json() == {"installed": False, "schemaCurrent": False}
    answer = await http.post(INSTALL, json=BODY)
    assert (answer.status_code, answer.json()) == (201, {"success": True, "adminEmail": ADMIN["email"]})
    user = await database["users"].find_one({"email": ADMIN["email"]})
    [operator] = [one async for one in database["operators"].find({})]
    assert (operator["user_id"], operator["role"]) == (user["_id"], "super_admin")
    assert user["password_hash"].startswith("$argon2id$")
    assert ADMIN["password"] not in str(user)
    [noted] = [one async for one in database["platform_audit"].find({"action": "install"})]
    assert noted["actor"] == str(user["_id"])
    assert (await http.get("/readyz")).status_code == 200


async def test_once_installed_the_routes_are_gone_with_and_without_the_secret(
    http: httpx.AsyncClient, database: Any
) -> None:
    await http.post(INSTALL, json=BODY)
    before = await written(database)
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert (await http.get(STATUS, headers=headers)).status_code == 404
        assert (await http.post(INSTALL, json=BODY, headers=headers)).status_code == 404
    assert await written(database) == before


async def test_a_system_that_somebody_runs_counts_as_installed(http: httpx.AsyncClient, database: Any) -> None:
    await database["operators"].insert_one({"user_id": None, "role": "support"})
    assert (await http.post(INSTALL, json=BODY)).status_code == 404
    assert (await written(database))["users"] == 0


async def test_of_twenty_installers_at_once_one_installs(http: httpx.AsyncClient, database: Any) -> None:
    bodies = [{"admin": {**ADMIN, "email": f"ola{number % 4}@example.org"}} for number in range(20)]
    answers = await asyncio.gather(*(http.post(INSTALL, json=body) for body in bodies))
    codes = sorted(answer.status_code for answer in answers)
    assert codes.count(201) == 1, codes
    assert set(codes) <= {201, 404, 429}, codes
    assert await written(database) == {"installation": 1, "operators": 1, "users": 1, "platform_audit": 1}


@pytest.mark.parametrize("given", [None, "Bearer wrong", "Bearer", f"Basic {SECRET}", f"Bearer {SECRET}x", SECRET])
async def test_without_the_secret_nothing_is_told_and_nothing_done(
    address: str, database: Any, given: str | None
) -> None:
    headers = {"Host": "polyclinic.test", **({"Authorization": given} if given else {})}
    async with httpx.AsyncClient(base_url=address, headers=headers) as client:
        answers = [await client.get(STATUS), await client.post(INSTALL, json=BODY)]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert not any(SECRET in answer.text for answer in answers)
    assert await written(database) == NOTHING


async def test_guessing_the_secret_is_limited(address: str, database: Any) -> None:
    headers = {"Host": "polyclinic.test", "Authorization": "Bearer wrong"}
    async with httpx.AsyncClient(base_url=address, headers=headers) as client:
        codes = [(await client.get(STATUS)).status_code for _ in range(11)]
        right = await client.post(INSTALL, json=BODY, headers={"Authorization": f"Bearer {SECRET}"})
    assert codes == [401] * 10 + [429]
    assert right.status_code == 429
    assert await written(database) == NOTHING


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({}, ["admin.name", "admin.email", "admin.password"]),
        ({"admin": "me"}, ["admin"]),
        ({"admin": {**ADMIN, "password": "password1"}}, ["admin.password"]),
        ({"admin": {**ADMIN, "password": "short"}}, ["admin.password"]),
        ({"admin": {**ADMIN, "email": "nobody"}}, ["admin.email"]),
        ({"admin": {**ADMIN, "role": "support"}}, ["admin.role"]),
        ({**BODY, "more": 1}, ["more"]),
    ],
)
async def test_what_is_wrong_is_told_by_path_and_nothing_is_done(
    http: httpx.AsyncClient, database: Any, body: Any, paths: list[str]
) -> None:
    answer = await http.post(INSTALL, json=body)
    assert answer.status_code == 400
    assert [field["path"] for field in answer.json()["error"]["fields"]] == paths
    assert await written(database) == NOTHING


async def test_only_a_json_object_is_taken(http: httpx.AsyncClient, database: Any) -> None:
    assert (await http.post(INSTALL, content=b"{}", headers={"Content-Type": "text/plain"})).status_code == 415
    assert (await http.post(INSTALL, content=b"[]", headers={"Content-Type": "application/json"})).status_code == 400
    assert await written(database) == NOTHING


async def test_an_address_that_is_known_is_taken_with_its_own_password_alone(
    http: httpx.AsyncClient, database: Any
) -> None:
    known = {"email": ADMIN["email"], "name": "Ola", "password_hash": await hash_password("another one 43")}
    await database["users"].insert_one({**known, "status": "active", "token_version": 1, "version": 1})
    refused = await http.post(INSTALL, json=BODY)
    assert [field["path"] for field in refused.json()["error"]["fields"]] == ["admin.email"]
    assert (await written(database))["operators"] == 0
    proven = await http.post(INSTALL, json={"admin": {**ADMIN, "password": "another one 43"}})
    assert proven.status_code == 201
    assert (await written(database))["users"] == 1


async def test_without_a_secret_in_the_settings_nobody_installs(server: Server, settings: Settings) -> None:
    assert settings.install_secret is None
    client = server.client().http
    for given in ({}, {"Authorization": "Bearer "}, {"Authorization": f"Bearer {SECRET}"}):
        assert (await client.get(STATUS, headers=given)).status_code == 403
        assert (await client.post(INSTALL, json=BODY, headers=given)).status_code == 403
    with MongoClient[dict[str, Any]](settings.mongodb_uri) as raw:
        assert raw[settings.mongodb_database]["installation"].count_documents({}) == 0


async def test_a_clinics_host_has_no_such_routes(server: Server, clinic_a: Clinic) -> None:
    client = server.client(clinic_a.host).http
    assert (await client.get(STATUS)).status_code == 404
    assert (await client.post(INSTALL, json=BODY)).status_code == 404
