"""`python -m scripts.offboard_tenant`: schedule, status, cancel, run-due; also when it is killed on the way."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from itertools import count
from pathlib import Path

import pytest

from app.config import Settings
from app.services.audit_chain import drain
from app.services.tenant_traces import find_traces
from models import Tombstone
from tests.fixtures.clinics import Clinic, MakeClinic
from tests.fixtures.twins import Twins, fingerprints
from tests.scripts.commands import ROOT, environment, run

pytestmark = pytest.mark.usefixtures("nothing_left_over")
REASON = ("--reason", "the contract has ended, ticket 4711")


def steps(settings: Settings) -> dict[str, str]:
    ended = run(settings, "offboard_tenant", "status", "--json")
    assert ended.returncode == 0, ended.stderr
    return {one["clinic"]: one["step"] for one in json.loads(ended.stdout)["clinics"]}


async def test_a_clinic_is_scheduled_shown_kept_and_in_the_end_deleted(
    settings: Settings, make_clinic: MakeClinic, tmp_path: Path
) -> None:
    clinic = await make_clinic()
    name, data = clinic.tenant.subdomain, {"DATA_DIR": str(tmp_path)}
    await drain()

    assert run(settings, "offboard_tenant", "schedule", name, *REASON).returncode == 0
    assert steps(settings)[name] == "scheduled"
    kept = run(settings, "offboard_tenant", "cancel", name, *REASON)
    assert (kept.returncode, kept.stdout) == (0, f"{name} is kept; its status is active.\n")
    assert name not in steps(settings)

    assert run(settings, "offboard_tenant", "schedule", name, *REASON, "--days", "0").returncode == 0
    unsealed = run(settings, "offboard_tenant", "run-due", **data)
    assert unsealed.returncode == 2
    done = run(settings, "offboard_tenant", "run-due", "--settle", "0", "--plain", **data)

    assert done.returncode == 0, done.stderr
    assert f"{name} was written out.\n{name} is deleted." in done.stdout
    assert len([*(tmp_path / "exports").glob(f"{name}-*")]) == 1
    assert await Tombstone.find_one({"subdomain": name}) is not None
    gone = run(settings, "offboard_tenant", "schedule", name, *REASON)
    assert (gone.returncode, "was deleted already" in gone.stderr) == (1, True)


async def test_a_wrong_call_is_a_sentence(settings: Settings, clinic_a: Clinic) -> None:
    name = clinic_a.tenant.subdomain
    short = run(settings, "offboard_tenant", "schedule", name, "--reason", "short")
    assert (short.returncode, "--reason:" in short.stderr) == (1, True)
    long = run(settings, "offboard_tenant", "schedule", name, *REASON, "--days", "1000")
    assert (long.returncode, "--days: must be between 0 and 365" in long.stderr) == (1, True)
    idle = run(settings, "offboard_tenant", "cancel", name, *REASON)
    assert (idle.returncode, idle.stderr) == (1, "This clinic is not to be deleted.\n")


async def test_killed_at_any_point_the_next_run_finishes(settings: Settings, twins: Twins, tmp_path: Path) -> None:
    name = twins.going.tenant.subdomain
    await drain()
    others = await fingerprints(twins.raw, twins.staying)
    assert run(settings, "offboard_tenant", "schedule", name, *REASON, "--days", "0").returncode == 0
    kills = 0

    for die_at in count(1, step=6):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.standin_killed", "scripts.offboard_tenant", str(die_at)),
            *("run-due", "--settle", "0", "--plain"),
            cwd=ROOT,
            env=environment(settings, DATA_DIR=str(tmp_path)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        assert await fingerprints(twins.raw, twins.staying) == others
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, errors.decode()
        kills += 1

    assert kills >= 3
    assert await find_traces(twins.going.tenant.key) == {}
    assert len([*(tmp_path / "exports").glob(f"{name}-*Z")]) == 1
    assert await Tombstone.find_one({"subdomain": name}) is not None
