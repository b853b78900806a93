"""The command that deletes clinics, run as a person or a script runs it, also when it is killed on the way."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from app.config import PROJECT_ROOT, Settings
from app.services.tenant_traces import find_traces
from models.tenant import TenantStatus
from tests.conftest import TEST_ENCRYPTION_KEY, TEST_SECRET
from tests.fixtures.twins import Twins, fingerprints


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    out: str
    errors: str


@dataclass(frozen=True, slots=True)
class Command:
    """Runs the command against the test's database."""

    environment: Mapping[str, str]
    data_dir: Path

    async def run(self, *arguments: str, die_at: int | None = None, typed: str = "") -> Ended:
        module = (
            ["scripts.delete_tenant"]
            if die_at is None
            else ["tests.standin_killed", "scripts.delete_tenant", str(die_at)]
        )
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *module, *arguments),
            cwd=PROJECT_ROOT,
            env=self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await process.communicate(typed.encode())
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), errors.decode())

    @property
    def exports(self) -> list[Path]:
        return sorted((self.data_dir / "exports").glob("*-*"))


@pytest.fixture
def command(settings: Settings, tmp_path: Path) -> Command:
    environment = {
        "ENVIRONMENT": "test",
        "MONGODB_URI": settings.mongodb_uri,
        "MONGODB_DATABASE": settings.mongodb_database,
        "SESSION_SECRET": TEST_SECRET,
        "ENCRYPTION_KEY": TEST_ENCRYPTION_KEY,
        "AUDIT_SECRET": TEST_SECRET[::-1],
        "EXPORT_PASSPHRASE": TEST_SECRET[5:] + "export",
        "ROOT_DOMAIN": settings.root_domain,
        "DATA_DIR": str(tmp_path),
        "COLUMNS": "160",
    }
    return Command(environment, tmp_path)


async def test_without_execute_it_tells_and_changes_nothing(twins: Twins, command: Command) -> None:
    before = await fingerprints(twins.raw, twins.going)

    ended = await command.run(twins.going.tenant.subdomain)

    assert ended.code == 0, ended.errors
    rows = {line.split("│")[1].strip(): line.split("│")[2:4] for line in ended.out.splitlines() if line.count("│") > 2}
    assert [part.strip() for part in rows["patients"]] == ["3", "2"]
    assert [part.strip() for part in rows["appointments"]] == ["5", ""]
    assert [part.strip() for part in rows["users"]] == ["5", "1"]
    assert "Nothing was changed." in ended.out
    assert await fingerprints(twins.raw, twins.going) == before


async def test_it_exports_deletes_and_says_that_nothing_is_left(twins: Twins, command: Command) -> None:
    subdomain = twins.going.tenant.subdomain

    ended = await command.run(subdomain, "--execute", "--settle", "0", typed=f"{subdomain}\n")

    assert ended.code == 0, ended.errors
    assert "nothing of it is left" in ended.out
    (folder,) = command.exports
    assert str(folder) in ended.out
    assert await find_traces(twins.going.tenant.key) == {}


@pytest.mark.parametrize("arguments", [("--confirm", "another"), ()])
async def test_another_name_typed_deletes_nothing(twins: Twins, command: Command, arguments: tuple[str, ...]) -> None:
    before = await fingerprints(twins.raw, twins.going)

    ended = await command.run(twins.going.tenant.subdomain, "--execute", *arguments, typed="another\n")

    assert ended.code == 1
    assert "Nothing was deleted." in ended.errors
    assert await fingerprints(twins.raw, twins.going) == before
    row = await twins.raw["tenants"].find_one({"_id": twins.going.tenant.id})
    assert row is not None
    assert row["status"] == TenantStatus.ACTIVE


async def test_an_unknown_clinic_is_one_sentence(twins: Twins, command: Command) -> None:
    ended = await command.run("no-such-clinic", "--execute")

    assert (ended.code, ended.errors) == (1, "There is no clinic no-such-clinic.\n")


async def test_killed_at_any_point_it_is_finished_by_running_it_again(twins: Twins, command: Command) -> None:
    subdomain = twins.going.tenant.subdomain
    arguments = (subdomain, "--execute", "--confirm", subdomain, "--settle", "0")
    others = await fingerprints(twins.raw, twins.staying)
    kills = 0

    for die_at in count(2, step=3):
        ended = await command.run(*arguments, die_at=die_at)
        assert await fingerprints(twins.raw, twins.staying) == others
        if ended.code == 0:
            break
        assert ended.code == -signal.SIGKILL, ended.errors
        kills += 1

    assert kills >= 5
    assert await find_traces(twins.going.tenant.key) == {}
    assert len(command.exports) == 1
    tombstone = await twins.raw["tombstones"].find_one({"subdomain": subdomain})
    assert tombstone is not None
    assert tombstone["counts"]["appointments"] == 5
    again = await command.run(*arguments)
    assert again.code == 1
    assert "was deleted already" in again.errors
