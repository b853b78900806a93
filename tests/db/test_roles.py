"""The server's own database role, on a database that asks for passwords."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from app.config import Settings
from app.db.mongod import find_mongod, free_port
from tests.fixtures.clinics import PASSWORD
from tests.scripts.commands import run
from tests.server_process import server_process

PASSPHRASE = secrets.token_urlsafe(16)
UNAUTHORISED = 13


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A mongod that knows its users, with an operator who may do everything."""
    folder = Path(tempfile.mkdtemp(prefix="polyclinic-auth-"))
    key = folder / "key"
    key.write_text(secrets.token_hex(32))
    key.chmod(0o600)
    port = free_port()
    command = [
        *(str(find_mongod()), "--replSet", "rs0", "--bind_ip", "127.0.0.1", "--port", str(port), "--nounixsocket"),
        *("--dbpath", str(folder), "--auth", "--keyFile", str(key), "--wiredTigerCacheSizeGB", "0.25"),
        *("--networkMessageCompressors", "disabled", "--noscripting", "--oplogSize", "64"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _set_up(port)
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _set_up(port: int) -> None:
    with MongoClient[dict[str, Any]]("127.0.0.1", port, directConnection=True) as client:
        member = {"_id": 0, "host": f"127.0.0.1:{port}"}
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
        for _ in range(200):
            try:
                client.admin.command("createUser", "operator", pwd=PASSPHRASE, roles=["root"])
            except PyMongoError:  # not yet the primary
                time.sleep(0.05)
            else:
                return
    raise AssertionError("the mongod with users did not become ready")


def _uri(user: str, port: int, database: str) -> str:
    source = "admin" if user == "operator" else database
    return f"mongodb://{user}:{PASSPHRASE}@127.0.0.1:{port}/?replicaSet=rs0&authSource={source}"


@pytest.fixture(scope="module")
def secured(port: int, settings: Settings) -> Settings:
    """The settings of a server that runs under its own role, on a database where the operator applied the schema."""
    name = f"roles_{uuid4().hex[:8]}"
    by_operator = {"MONGODB_URI": _uri("operator", port, name), "MONGODB_DATABASE": name}
    said = [run(settings, module, **by_operator) for module in ("apply_schema", "database_role", "database_role")]
    assert [ended.returncode for ended in said] == [0, 0, 0], said
    assert ["was made" in ended.stdout for ended in said] == [False, True, False]
    with MongoClient[dict[str, Any]](by_operator["MONGODB_URI"]) as client:
        role = {"role": "polyclinic_server", "db": name}
        client[name].command("createUser", "server", pwd=PASSPHRASE, roles=[role])
    changes = {"mongodb_uri": _uri("server", port, name), "mongodb_database": name}
    return Settings(**{**settings.model_dump(), **changes})


def _ask(http: httpx.Client, query: str, **variables: Any) -> dict[str, Any]:
    answer = http.post("/graphql", json={"query": query, "variables": variables}).json()
    assert "errors" not in answer, answer
    data: dict[str, Any] = answer["data"]
    return data


def test_a_server_under_its_role_works_and_cannot_rewrite_the_log(secured: Settings) -> None:
    admin = {"name": "Ada Admin", "email": "ada@role.example.com", "password": PASSWORD}
    with server_process(secured) as address, httpx.Client(base_url=address, timeout=30) as http:
        http.headers = httpx.Headers({"Host": secured.root_domain, "X-Polyclinic-Client": "tests"})
        opened = http.post("/api/tenants/onboard", json={"name": "Role", "subdomain": "roleplay", "admin": admin})
        assert opened.status_code == 200, opened.text
        http.headers["Host"] = f"roleplay.{secured.root_domain}"
        login = "mutation($input: LoginInput!) { login(input: $input) { token } }"
        token = _ask(http, login, input={"email": admin["email"], "password": PASSWORD})["login"]["token"]
        http.cookies.clear()
        http.headers["Authorization"] = f"Bearer {token}"
        _ask(http, 'mutation { createPatient(input: {givenName: "Ana", familyName: "Role"}) { id } }')
        assert _ask(http, "{ patients { totalCount } }") == {"patients": {"totalCount": 1}}

    with MongoClient[dict[str, Any]](secured.mongodb_uri) as client:
        entries = client[secured.mongodb_database]["audit_entries"]
        before = list(entries.find({}))
        assert before
        for attempt in (
            lambda: entries.update_many({}, {"$set": {"action": "nothing"}}),
            lambda: entries.delete_many({}),
            entries.drop,
            lambda: client[secured.mongodb_database]["platform_audit"].delete_many({}),
            client[secured.mongodb_database]["legacy_quarantine"].find_one,
        ):
            with pytest.raises(OperationFailure) as refused:
                attempt()
            assert refused.value.code == UNAUTHORISED
        assert list(entries.find({})) == before


def test_a_role_of_admin_serves_clinics_in_databases_of_their_own(port: int, settings: Settings) -> None:
    name = f"roles_{uuid4().hex[:8]}"
    uri = _uri("operator", port, name)
    by_operator = {"MONGODB_URI": uri, "MONGODB_DATABASE": name}
    clinic = (
        "--name",
        "Apart",
        "--subdomain",
        "apart",
        "--admin-name",
        "Ada",
        "--admin-email",
        "ada@apart.example.com",
    )
    opened = [
        run(settings, "apply_schema", **by_operator),
        run(settings, "database_role", "--name", "everywhere", "--own-databases", **by_operator),
        run(
            settings, "onboard_tenant", *clinic, "--placement", "own_database", "--yes",
            POLYCLINIC_ADMIN_PASSWORD=PASSWORD, **by_operator,
        ),
    ]  # fmt: skip
    assert [ended.returncode for ended in opened] == [0, 0, 0], opened
    with MongoClient[dict[str, Any]](uri) as client:
        client[name].command("createUser", "server", pwd=PASSPHRASE, roles=[{"role": "everywhere", "db": "admin"}])
        [tenant] = client[name]["tenants"].find({})
    by_server = Settings(
        **{**settings.model_dump(), "mongodb_uri": _uri("server", port, name), "mongodb_database": name}
    )
    with server_process(by_server) as address, httpx.Client(base_url=address, timeout=30) as http:
        headers = {"Host": f"apart.{settings.root_domain}", "X-Polyclinic-Client": "tests"}
        http.headers = httpx.Headers(headers)
        login = "mutation($input: LoginInput!) { login(input: $input) { token } }"
        token = _ask(http, login, input={"email": "ada@apart.example.com", "password": PASSWORD})["login"]["token"]
        http.cookies.clear()
        http.headers["Authorization"] = f"Bearer {token}"
        _ask(http, 'mutation { createPatient(input: {givenName: "Ana", familyName: "Apart"}) { id } }')
        assert _ask(http, "{ patients { totalCount } }") == {"patients": {"totalCount": 1}}

    with MongoClient[dict[str, Any]](by_server.mongodb_uri) as client:
        own = client[tenant["placement"]["database"]]
        for attempt in (lambda: own["audit_entries"].delete_many({}), own["patients"].drop):
            with pytest.raises(OperationFailure) as refused:
                attempt()
            assert refused.value.code == UNAUTHORISED


def test_somebody_who_may_not_make_roles_is_told_so(secured: Settings) -> None:
    changes = {"MONGODB_URI": secured.mongodb_uri, "MONGODB_DATABASE": secured.mongodb_database}
    ended = run(secured, "database_role", **changes)
    assert ended.returncode == 1
    assert ended.stderr == "The database refused (13): use a user who may administer roles.\n"
