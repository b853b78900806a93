"""`python -m scripts.import_patients`, run as a person or a script runs it, also when it is killed on the way."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from app.config import Settings
from app.tenancy.crossing import tenant_scope
from models import PatientImport, PatientRecord
from tests.fixtures.clinics import MakeClinic
from tests.scripts.commands import ROOT, environment, run


def killed_at(settings: Settings, write: int, *arguments: str) -> int:
    """The exit code of a run that is killed before that write."""
    return subprocess.run(
        [sys.executable, "-m", "tests.standin_killed", "scripts.import_patients", str(write), *arguments],
        cwd=ROOT,
        env=environment(settings),
        capture_output=True,
        timeout=60,
        check=False,
    ).returncode


async def test_problems_are_listed_in_a_file_and_the_exit_code_tells(
    settings: Settings, make_clinic: MakeClinic, tmp_path: Path
) -> None:
    clinic = await make_clinic()
    path = tmp_path / "patients.csv"
    path.write_text("given_name,family_name,=SUM(1)\nAna,Lee,\nBo,,\n")

    ended = run(settings, "import_patients", clinic.tenant.subdomain, str(path), "--map", "=SUM(1)=email")

    assert ended.returncode == 1
    assert ended.stdout.splitlines()[0] == "2 lines: 1 imported, 0 known by their external id,"
    report = tmp_path / "patients.csv.problems.csv"
    assert str(report) in ended.stderr
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert report.read_text().splitlines() == ["line,column,problem", "3,family_name,is required"]
    async with tenant_scope(clinic.ref):
        assert len(await PatientRecord.rows()) == 1


@pytest.mark.parametrize("header", ["external_id,given_name,family_name", "notes,given_name,family_name"])
async def test_killed_at_any_write_it_is_finished_by_running_it_again(
    settings: Settings, make_clinic: MakeClinic, tmp_path: Path, header: str
) -> None:
    clinic = await make_clinic()
    path = tmp_path / "patients.csv"
    path.write_text("\n".join([header, *(f"old-{number},Given,Family {number}" for number in range(1_200))]))
    arguments = (clinic.tenant.subdomain, str(path), "--json", "--duplicates", "import")

    assert [killed_at(settings, write, *arguments) for write in (9, 4)] == [-signal.SIGKILL] * 2
    ended = run(settings, "import_patients", *arguments)

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["resumed_after"] > 0
    async with tenant_scope(clinic.ref):
        records = await PatientRecord.rows()
        [done] = await PatientImport.rows()
    assert len(records) == len({row["code"] for row in records}) == 1_200
    assert len({row["patient_id"] for row in records}) == 1_200
    assert (done["imported"], done["line"]) == (1_200, 1_201)
    assert done["ended_at"] is not None


async def test_an_unknown_clinic_and_a_strange_header_are_told(
    settings: Settings, make_clinic: MakeClinic, tmp_path: Path
) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("given_name,family_name,shoe\n")
    ended = run(settings, "import_patients", "nowhere-at-all", str(path))
    assert (ended.returncode, ended.stderr) == (1, "There is no clinic nowhere-at-all.\n")

    ended = run(settings, "import_patients", (await make_clinic()).tenant.subdomain, str(path))
    assert ended.returncode == 1
    assert "header.shoe: is no column that patients have" in ended.stderr
