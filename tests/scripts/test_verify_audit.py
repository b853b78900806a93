"""`python -m scripts.verify_audit`: says that every chain holds, or which entry is the first that does not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio
from pymongo import AsyncMongoClient

from app.config import Settings
from app.services.audit import record
from app.services.audit_chain import drain
from app.services.deletion import delete_tenant
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Database
from tests.fixtures.clinics import Clinic, MakeClinic
from tests.scripts.commands import run


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    """A clinic with five entries and more in its log."""
    clinic = await make_clinic()
    async with tenant_scope(clinic.ref):
        for number in range(5):
            await record(f"something.done{number}")
    await drain()
    return clinic


@pytest_asyncio.fixture
async def stored(settings: Settings) -> AsyncIterator[Database]:
    async with AsyncMongoClient[dict[str, Any]](settings.mongodb_uri) as client:
        yield client[settings.mongodb_database]


async def test_a_sound_log_is_said_to_be_in_order(settings: Settings, clinic: Clinic) -> None:
    ended = run(settings, "verify_audit", "--clinic", clinic.tenant.subdomain)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == f"{clinic.tenant.subdomain}: 6 entries, all in order.\n"


async def test_the_first_broken_entry_is_named(settings: Settings, clinic: Clinic, stored: Database) -> None:
    where = {"tenant_id": clinic.tenant.id, "seq": 3}
    entry = await stored["audit_entries"].find_one_and_update(where, {"$set": {"action": "nothing"}})
    assert entry is not None
    ended = run(settings, "verify_audit", "--clinic", clinic.tenant.subdomain)
    assert ended.returncode == 1
    assert ended.stdout.startswith(f"{clinic.tenant.subdomain}: entry 3 ({entry['_id']}) was changed")
    as_json = json.loads(run(settings, "verify_audit", "--clinic", clinic.tenant.subdomain, "--json").stdout)
    assert (as_json[0]["broken"]["seq"], as_json[0]["head"]["seq"]) == (3, 2)


async def test_anchors_kept_outside_show_a_cut_that_the_database_hides(
    settings: Settings, clinic: Clinic, stored: Database, tmp_path: Path
) -> None:
    kept, name = tmp_path / "anchors.json", clinic.tenant.subdomain
    assert run(settings, "verify_audit", "--clinic", name, "--anchors", str(kept)).returncode == 0
    before = kept.read_text()
    await stored["audit_entries"].delete_many({"tenant_id": clinic.tenant.id, "seq": {"$gt": 4}})
    await stored["audit_anchors"].delete_many({"clinic_id": clinic.tenant.id})
    assert run(settings, "verify_audit", "--clinic", name).returncode == 0  # nothing inside tells of it any more
    ended = run(settings, "verify_audit", "--clinic", name, "--anchors", str(kept))
    assert ended.returncode == 1
    assert "entry 5 is missing: the chain had 6 entries" in ended.stdout
    assert kept.read_text() == before


async def test_a_clinic_that_vanished_with_its_log_is_missed_and_a_deleted_one_is_not(
    settings: Settings, make_clinic: MakeClinic, stored: Database, tmp_path: Path
) -> None:
    kept, told = tmp_path / "anchors.json", dict[str, Any]()
    clinics = [await make_clinic() for _ in range(2)]
    for one in clinics:
        alone = tmp_path / one.tenant.subdomain
        await drain()
        run(settings, "verify_audit", "--clinic", one.tenant.subdomain, "--anchors", str(alone))
        told |= json.loads(alone.read_text())
    kept.write_text(json.dumps(told))
    deleted, vanished = clinics
    await delete_tenant(deleted.tenant, actor="test", exports=None, settle=timedelta(0))
    for name in ("audit_entries", "audit_anchors", "tenants"):
        column = {"audit_entries": "tenant_id", "audit_anchors": "clinic_id", "tenants": "_id"}[name]
        await stored[name].delete_many({column: vanished.tenant.id})

    ended = run(settings, "verify_audit", "--anchors", str(kept))

    lines = {line.partition(":")[0]: line for line in ended.stdout.splitlines()}
    assert ended.returncode == 1
    assert "is gone with the clinic" in lines[vanished.tenant.subdomain]
    assert lines[deleted.tenant.subdomain].endswith("all in order.")


async def test_a_key_that_was_changed_is_still_known_by_its_old_value(settings: Settings, clinic: Clinic) -> None:
    new, old = "Zq8-rT5nKz1_PdYb7hLs9uMfEcGa2iRoBt4jX0v3W", settings.audit_secret.get_secret_value()
    name = clinic.tenant.subdomain
    with_both = run(settings, "verify_audit", "--clinic", name, AUDIT_SECRET=new, AUDIT_SECRETS_OLD=old)
    assert with_both.returncode == 0
    without = run(settings, "verify_audit", "--clinic", name, AUDIT_SECRET=new)
    assert (without.returncode, "secret that is not known here" in without.stdout) == (1, True)


def test_wrong_calls_are_told_in_a_sentence(settings: Settings, tmp_path: Path) -> None:
    unknown = run(settings, "verify_audit", "--clinic", "nowhere-at-all")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.strip() == "There is no clinic nowhere-at-all."
    broken = tmp_path / "anchors.json"
    broken.write_text("[1, 2")
    ended = run(settings, "verify_audit", "--anchors", str(broken))
    assert (ended.returncode, "cannot be read as anchors" in ended.stderr) == (2, True)
