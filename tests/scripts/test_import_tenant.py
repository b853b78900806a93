"""`python -m scripts.import_tenant`: a clinic from an export's folder, also when it is killed on the way."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from app.config import Settings
from app.services.audit_verification import verify
from app.services.moving.folders import open_export
from app.services.tenant_export import export_tenant
from app.tenancy.crossing import tenant_scope
from models import Appointment, DocumentContent, Tenant
from models.tenant import TenantStatus
from tests.fixtures.clinics import ROLE_NAMES, Clinic, Server
from tests.fixtures.twins import Twins, fingerprints
from tests.http.document_calls import PDF, uploaded
from tests.scripts.commands import ROOT, environment, run

PASSPHRASE = "what nobody guesses, ever"


@pytest_asyncio.fixture
async def clinic(twins: Twins, server: Server) -> Clinic:
    await uploaded(await server.sign_in(twins.going), PDF)
    return twins.going


@pytest.fixture
def passphrase(tmp_path: Path) -> str:
    (tmp_path / "passphrase").write_text(PASSPHRASE + "\n")
    return str(tmp_path / "passphrase")


def exported(settings: Settings, clinic: Clinic, to: Path, *flags: str) -> tuple[Path, str]:
    """The folder, and its fingerprint."""
    ended = run(settings, "export_tenant", "--tenant", clinic.tenant.subdomain, "--to", str(to), *flags)
    assert ended.returncode == 0, ended.stderr
    where, fingerprint = (line.rpartition(" ")[2] for line in ended.stdout.splitlines()[:2])
    return Path(where), fingerprint


async def test_a_sealed_export_becomes_a_clinic(
    settings: Settings, clinic: Clinic, tmp_path: Path, passphrase: str
) -> None:
    folder, fingerprint = exported(settings, clinic, tmp_path / "out", "--passphrase-file", passphrase)
    name = f"{clinic.tenant.subdomain}-cli"
    flags = ["--as", name, "--passphrase-file", passphrase, "--fingerprint", fingerprint]

    checked = run(settings, "import_tenant", str(folder), *flags, "--check", DATA_DIR=str(tmp_path))
    assert checked.returncode == 0, checked.stderr
    assert await Tenant.find_one({"subdomain": name}) is None

    ended = run(settings, "import_tenant", str(folder), *flags, DATA_DIR=str(tmp_path))

    assert ended.returncode == 0, ended.stderr
    assert f"Its status is active. People: {len(ROLE_NAMES)} known, 0 new." in ended.stdout
    tenant = await Tenant.find_one({"subdomain": name})
    assert tenant is not None
    async with tenant_scope(tenant):
        assert await Appointment.guarded().count_documents({}) == 5
        assert await DocumentContent.guarded().count_documents({}) == 1


async def test_it_may_have_a_database_of_its_own(
    settings: Settings, clinic: Clinic, tmp_path: Path, passphrase: str
) -> None:
    folder, _ = exported(settings, clinic, tmp_path / "out", "--passphrase-file", passphrase)
    name = f"{clinic.tenant.subdomain}-own"
    flags = ["--as", name, "--passphrase-file", passphrase, "--placement", "own_database"]

    ended = run(settings, "import_tenant", str(folder), *flags, DATA_DIR=str(tmp_path))

    assert ended.returncode == 0, ended.stderr
    tenant = await Tenant.find_one({"subdomain": name})
    assert tenant is not None
    assert f"Its data is in a database of its own, {tenant.placement.database}." in ended.stdout
    async with tenant_scope(tenant):
        assert await Appointment.guarded().count_documents({}) == 5


async def test_what_cannot_be_is_a_sentence_and_changes_nothing(
    settings: Settings, clinic: Clinic, tmp_path: Path, passphrase: str
) -> None:
    folder, _ = exported(settings, clinic, tmp_path / "out", "--passphrase-file", passphrase)
    without = run(settings, "import_tenant", str(folder), "--as", "somewhere-else", DATA_DIR=str(tmp_path))
    assert (without.returncode, without.stdout) == (1, "")
    assert "--passphrase-file: is needed: this export is sealed" in without.stderr
    taken = run(settings, "import_tenant", str(folder), "--passphrase-file", passphrase, DATA_DIR=str(tmp_path))
    assert "--as: is already taken" in taken.stderr
    nowhere = run(settings, "import_tenant", str(tmp_path), "--passphrase-file", passphrase, DATA_DIR=str(tmp_path))
    assert "this is no export" in nowhere.stderr
    assert await Tenant.find_one({"subdomain": "somewhere-else"}) is None


def test_an_export_is_plain_only_if_somebody_says_so(settings: Settings, tmp_path: Path) -> None:
    ended = run(settings, "export_tenant", "--tenant", "nowhere", "--to", str(tmp_path))
    assert ended.returncode == 2
    assert "--passphrase-file" in ended.stderr
    (tmp_path / "short").write_text("short")
    short = run(settings, "export_tenant", "--tenant", "nowhere", "--passphrase-file", str(tmp_path / "short"))
    assert (short.returncode, "must have at least 12 characters" in short.stderr) == (1, True)


async def killed(settings: Settings, die_at: int, data: Path, *arguments: str) -> tuple[int, str]:
    """The command, killed before that write; its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.standin_killed", "scripts.import_tenant", str(die_at), *arguments),
        cwd=ROOT,
        env=environment(settings, DATA_DIR=str(data)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, errors.decode()


async def test_killed_at_any_point_nobody_sees_it_and_the_next_run_finishes(
    settings: Settings, clinic: Clinic, twins: Twins, server: Server, tmp_path: Path
) -> None:
    folder = await export_tenant(clinic.tenant, tmp_path / "out")
    name = f"{clinic.tenant.subdomain}-kill"
    originals = {**await fingerprints(twins.raw, clinic), **await fingerprints(twins.raw, twins.staying)}
    kills, code, errors = 0, -int(signal.SIGKILL), ""
    for die_at in sorted(random.Random(7).sample(range(2, 24), 7)):
        code, errors = await killed(settings, die_at, tmp_path, str(folder), "--as", name)
        if code == 0:  # what the earlier ones had done was left out
            break
        assert code == -signal.SIGKILL, errors
        kills += 1
        seen = await Tenant.find_one({"subdomain": name})
        assert seen is None or (seen.status, seen.importing is not None) == (TenantStatus.SUSPENDED, True)
    assert kills >= 4
    if code:
        code, errors = await killed(settings, 10_000, tmp_path, str(folder), "--as", name)
        assert code == 0, errors

    tenant = await Tenant.find_one({"subdomain": name})
    assert tenant is not None
    assert (tenant.status, tenant.importing) == (TenantStatus.ACTIVE, None)
    there = {**await fingerprints(twins.raw, clinic), **await fingerprints(twins.raw, twins.staying)}
    assert there == originals
    again = await open_export(await export_tenant(tenant, tmp_path / "again"), None)
    first = await open_export(folder, None)
    for file, told in first.files.items():
        if file.startswith(("appointments", "patient", "staff", "roles", "permissions", "memberships", "documents")):
            assert again.files[file].documents == told.documents, file
    assert len([one for one in again.files if one.startswith("files/")]) == 1
    assert (await verify(tenant)).broken is None
