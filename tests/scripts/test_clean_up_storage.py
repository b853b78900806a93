"""`python -m scripts.clean_up_storage`: tells, and with --execute puts in order."""

from __future__ import annotations

import json

import pytest_asyncio

from app.config import Settings
from app.services.documents import quota
from app.tenancy.crossing import tenant_scope
from models import StorageUsage
from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.http.document_calls import PDF, uploaded
from tests.http.test_documents import files
from tests.resolvers.test_storage import stray
from tests.scripts.commands import run


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic, server: Server) -> Clinic:
    clinic = await make_clinic()
    await uploaded(await server.sign_in(clinic), PDF)
    return clinic


async def test_it_tells_first_and_puts_in_order_when_told_to(settings: Settings, clinic: Clinic) -> None:
    name = clinic.tenant.subdomain
    left = stray(settings, clinic)
    async with tenant_scope(clinic.ref):
        await StorageUsage.guarded().update_one({}, {"$inc": {"used": 12}})

    looked = run(settings, "clean_up_storage", "--tenant", name)
    assert looked.returncode == 1, looked.stderr
    assert "the count differed by 12 bytes" in looked.stdout
    assert "1 files (8 bytes) of no document, 0 removed" in looked.stdout
    assert left.exists()

    done = run(settings, "clean_up_storage", "--tenant", name, "--execute", "--json")
    assert done.returncode == 0, done.stderr
    [told] = json.loads(done.stdout)["clinics"]
    assert (told["removed"], told["miscounted"], told["used"]) == (1, 12, len(PDF))
    assert told["kinds"]["documents"] == {"bytes": len(PDF), "files": 1}
    assert not left.exists()
    async with tenant_scope(clinic.ref):
        assert (await quota.usage()).used == len(PDF)

    again = run(settings, "clean_up_storage", "--tenant", name)
    kinds = f"documents {len(PDF)} in 1, patient_attachments 0 in 0, visit_files 0 in 0, lab_files 0 in 0"
    assert (again.returncode, again.stdout) == (0, f"{name}: {len(PDF)} bytes ({kinds})\n")


async def test_a_lost_file_is_left_until_it_is_said_to_drop_it(settings: Settings, clinic: Clinic) -> None:
    name = clinic.tenant.subdomain
    files(settings, clinic)[0].unlink()

    kept = run(settings, "clean_up_storage", "--tenant", name, "--execute")
    assert kept.returncode == 1
    assert "1 contents without their file, 0 dropped" in kept.stdout
    dropped = run(settings, "clean_up_storage", "--tenant", name, "--execute", "--drop-lost")
    assert dropped.returncode == 0, dropped.stdout
    assert run(settings, "clean_up_storage", "--tenant", name).returncode == 0


def test_a_wrong_call_says_so(settings: Settings) -> None:
    nowhere = run(settings, "clean_up_storage", "--tenant", "nowhere-at-all")
    assert (nowhere.returncode, nowhere.stderr.strip()) == (1, "There is no clinic nowhere-at-all.")
    assert run(settings, "clean_up_storage", "--drop-lost").returncode == 2
