"""`python -m scripts.export_tenant`: all of one clinic in a folder, and nothing of another."""

from __future__ import annotations

import json
import stat
from hashlib import sha256
from pathlib import Path

from app.config import Settings
from app.tenancy.crossing import tenant_scope
from models import Patient, PatientRecord, Tenant
from models.values import now
from tests.fixtures.clinics import Clinic, MakeClinic
from tests.scripts.commands import run


async def with_patient(clinic: Clinic, name: str) -> None:
    async with tenant_scope(clinic.ref):
        patient = await Patient(given_name="Ana", family_name=name).keyed().insert()
        await PatientRecord(patient_id=patient.key, code="P-1", notes=f"Notes on {name}").insert()


async def test_a_running_clinic_is_written_out_whole(
    settings: Settings, make_clinic: MakeClinic, tmp_path: Path
) -> None:
    clinic, other = await make_clinic(), await make_clinic()
    await with_patient(clinic, "Mine")
    await with_patient(other, "Theirs")

    ended = run(settings, "export_tenant", "--tenant", clinic.tenant.subdomain, "--to", str(tmp_path), "--plain")

    assert ended.returncode == 0, ended.stderr
    folder = Path(ended.stdout.splitlines()[0].rpartition(" ")[2])
    assert folder.parent == tmp_path
    manifest = json.loads((folder / "manifest.json").read_text())
    for file in manifest["files"]:
        content = (folder / file["name"]).read_bytes()
        assert (len(content), sha256(content).hexdigest()) == (file["bytes"], file["sha256"])
        assert b"Theirs" not in content
        assert stat.S_IMODE((folder / file["name"]).stat().st_mode) == 0o600
    assert "Notes on Mine" in (folder / "patient_records.ndjson").read_text()


def test_an_unknown_clinic_is_told_in_a_sentence(settings: Settings, tmp_path: Path) -> None:
    ended = run(settings, "export_tenant", "--tenant", "nowhere-at-all", "--to", str(tmp_path), "--plain")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.strip() == "There is no clinic nowhere-at-all."
    assert list(tmp_path.iterdir()) == []


async def test_what_is_left_of_a_clinic_that_is_being_deleted_is_no_export(
    settings: Settings, make_clinic: MakeClinic, tmp_path: Path
) -> None:
    tenant = (await make_clinic()).tenant
    await Tenant.guarded().update_one({"_id": tenant.key}, {"$set": {"deletion_started_at": now()}})

    ended = run(settings, "export_tenant", "--tenant", tenant.subdomain, "--to", str(tmp_path), "--plain")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"{tenant.subdomain} is being deleted" in ended.stderr
