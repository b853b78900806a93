"""The two checks for CI and production: on a sound system they are silent, on a broken one they name the fault."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.config import PROJECT_ROOT, Settings
from app.db.mongod import free_port
from app.db.schema import apply_schema
from scripts.check_tenant_scope import FAILED, PASSED, Result, _show
from tests.conftest import TEST_ENCRYPTION_KEY, TEST_SECRET
from tests.fixtures.clinics import PASSWORD, Clinic, MakeClinic
from tests.fixtures.twins import Twins
from tests.processes import answers


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    out: str
    errors: str


def environment(settings: Settings, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "ENVIRONMENT": "test",
        "MONGODB_URI": settings.mongodb_uri,
        "MONGODB_DATABASE": settings.mongodb_database,
        "SESSION_SECRET": TEST_SECRET,
        "ENCRYPTION_KEY": TEST_ENCRYPTION_KEY,
        "AUDIT_SECRET": TEST_SECRET[::-1],
        "ROOT_DOMAIN": settings.root_domain,
        "COLUMNS": "160",
        **more,
    }


async def run(module: str, *arguments: str, env: Mapping[str, str]) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        cwd=PROJECT_ROOT,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), errors.decode())


# --- columns ------------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def own_database(settings: Settings) -> AsyncIterator[Settings]:
    """Settings of a database with schema and one clinic, which other tests' faults do not reach."""
    own = settings.model_copy(update={"mongodb_database": f"{settings.mongodb_database}_tool"})
    async with AsyncMongoClient[dict[str, Any]](settings.mongodb_uri) as client:
        await apply_schema(client[own.mongodb_database], force=True)
        await client[own.mongodb_database]["tenants"].insert_one({"_id": ObjectId(), "subdomain": "one"})
        yield own
        await client.drop_database(own.mongodb_database)


async def test_columns_says_clean_and_exits_0(own_database: Settings) -> None:
    ended = await run("scripts.check_tenant_columns", env=environment(own_database))

    assert (ended.code, ended.errors) == (0, "")
    assert "is clean" in ended.out


async def test_columns_names_the_fault_and_exits_1(own_database: Settings) -> None:
    async with AsyncMongoClient[dict[str, Any]](own_database.mongodb_uri) as client:
        rooms = client[own_database.mongodb_database].get_collection("rooms")
        planted = await rooms.insert_one({"name": "nobody's"}, bypass_document_validation=True)

    readable = await run("scripts.check_tenant_columns", env=environment(own_database))
    machine = await run("scripts.check_tenant_columns", "--json", env=environment(own_database))

    assert (readable.code, machine.code) == (1, 1)
    assert f"rooms: tenant_id is missing (1, for instance {planted.inserted_id})" in readable.out
    assert [(one["collection"], one["count"]) for one in json.loads(machine.out)["findings"]] == [("rooms", 1)]


async def test_columns_that_cannot_look_exits_2(settings: Settings) -> None:
    nowhere = environment(
        settings, MONGODB_URI=f"mongodb://127.0.0.1:{free_port()}/?replicaSet=none", TIME_LIMIT_MS="300"
    )

    ended = await run("scripts.check_tenant_columns", env=nowhere)

    assert ended.code == 2
    assert len(ended.errors.strip().splitlines()) == 1


# --- scope --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def serving(settings: Settings, application: str) -> AsyncIterator[str]:
    """The base URL of the application as a process of its own."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "scripts.serve", application),
        cwd=PROJECT_ROOT,
        env=environment(settings, PORT=str(port)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        for _ in range(1_600):
            if process.returncode is not None or answers(f"http://127.0.0.1:{port}"):
                break
            await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def credentials(folder: Path, *clinics: Clinic) -> str:
    people = {
        name: {"clinic": clinic.tenant.subdomain, "email": clinic.emails["admin"], "password": PASSWORD}
        for name, clinic in zip("ab", clinics, strict=True)
    }
    file = folder / "people.json"
    file.write_text(json.dumps(people))
    return str(file)


async def check_scope(settings: Settings, application: str, file: str, *more: str) -> tuple[int, dict[str, str], str]:
    """Exit code, verdict by attempt and what was told on stderr."""
    async with serving(settings, application) as url:
        where = ("--base-url", url, "--root-domain", settings.root_domain, "--credentials", file)
        ended = await run("scripts.check_tenant_scope", *where, "--json", *more, env={"PATH": os.environ["PATH"]})
    results = json.loads(ended.out) if ended.out else []
    return ended.code, {one["attempt"]: one["verdict"] for one in results}, ended.errors


async def test_a_sound_system_passes_every_attempt(twins: Twins, settings: Settings, tmp_path: Path) -> None:
    before = await twins.raw["patients"].count_documents({"tenant_ids": twins.going.tenant.id, "archived_in": []})

    code, verdicts, errors = await check_scope(
        settings, "app.main:create_app", credentials(tmp_path, twins.going, twins.staying)
    )

    assert code == 0, ({name: verdict for name, verdict in verdicts.items() if verdict != "pass"}, errors)
    assert len(verdicts) > 20
    nothing_to_read = {"read by id: room", "read by id: service", "read by id: specialization"}
    assert {name for name, verdict in verdicts.items() if verdict != "pass"} <= nothing_to_read
    after = await twins.raw["patients"].count_documents({"tenant_ids": twins.going.tenant.id, "archived_in": []})
    assert after == before


async def test_a_system_without_its_guard_fails(twins: Twins, settings: Settings, tmp_path: Path) -> None:
    code, verdicts, _ = await check_scope(
        settings, "tests.standin_leaky:create_app", credentials(tmp_path, twins.going, twins.staying)
    )

    assert code == 1
    failed = {name for name, verdict in verdicts.items() if verdict == "FAIL"}
    assert {"patient: read by id", "patient: search and count", "read by id: role", "patient: change"} <= failed


async def test_read_only_writes_no_patient_and_still_looks(twins: Twins, settings: Settings, tmp_path: Path) -> None:
    before = await twins.raw["patients"].count_documents({})

    code, verdicts, errors = await check_scope(
        settings, "app.main:create_app", credentials(tmp_path, twins.going, twins.staying), "--read-only"
    )

    assert code == 0, ({name: verdict for name, verdict in verdicts.items() if verdict != "pass"}, errors)
    assert verdicts["read by id: appointment"] == "pass"
    assert not any(name.startswith("patient") for name in verdicts)
    assert await twins.raw["patients"].count_documents({}) == before


async def test_unknown_people_and_a_silent_system_are_one_sentence_and_exit_2(
    make_clinic: MakeClinic, tmp_path: Path
) -> None:
    clinics = await make_clinic(), await make_clinic()
    nowhere = f"http://127.0.0.1:{free_port()}"
    env = {"PATH": os.environ["PATH"]}

    silent = await run(
        *("scripts.check_tenant_scope", "--base-url", nowhere, "--credentials", credentials(tmp_path, *clinics)),
        env=env,
    )
    unknown = await run("scripts.check_tenant_scope", "--base-url", nowhere, env=env)
    odd = await run("scripts.check_tenant_scope", "--base-url", "ftp:/x", env=env)

    assert [one.code for one in (silent, unknown, odd)] == [2, 2, 2]
    assert "does not answer" in silent.errors
    assert "CHECK_A_CLINIC" in unknown.errors
    assert "is not a base URL" in odd.errors


@pytest.mark.parametrize("content", ["not json", '{"a": 1}', "[]"])
async def test_a_credentials_file_that_is_none_is_one_sentence(tmp_path: Path, content: str) -> None:
    file = tmp_path / "people.json"
    file.write_text(content)

    ended = await run("scripts.check_tenant_scope", "--credentials", str(file), env={"PATH": os.environ["PATH"]})

    assert ended.code == 2
    assert len(ended.errors.strip().splitlines()) == 1


def test_the_table_names_each_attempt_its_result_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    _show([Result("read by id", PASSED), Result("booking", FAILED, "it is [accepted]")], as_json=False)

    table = capsys.readouterr().out
    assert all(text in table for text in ("read by id", "pass", "booking", "FAIL", "it is [accepted]"))
