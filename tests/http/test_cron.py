"""Jobs over HTTP and from the command line: who may start them, one run at a time, clinic by clinic."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.config import PROJECT_ROOT, Settings
from app.errors import Unavailable
from app.jobs import lock, parts, runs
from app.services.cron import JOBS, job
from app.tenancy.scope import Scope, current_scope, open_scope
from models import JobLock, JobRun, Room, Tenant
from models.values import now
from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.fixtures.jobs import another_process, environment, fresh

SECRET = "Hq4wN8zb-T6xJ1vKe3_PfRm9cYuDs2GaLo7iBt5n"
Counts = Mapping[str, int]


@pytest.fixture(scope="module")
def told(server: Server) -> Server:
    """A server that was told the secret."""
    return server.variant(cron_secret=SECRET)


@pytest_asyncio.fixture
async def database(settings: Settings) -> AsyncIterator[Any]:
    async with AsyncMongoClient[dict[str, Any]](settings.mongodb_uri, tz_aware=True) as client:
        yield client[settings.mongodb_database]


async def start(server: Server, name: str, method: str = "POST", **headers: str) -> httpx.Response:
    given = {"Authorization": f"Bearer {SECRET}", **headers}
    address = f"10.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(1, 255)}"
    return await server.client(address=address).http.request(method, f"/api/cron/{name}", headers=given)


# --- who may ------------------------------------------------------------------------------------------------------


async def test_a_scheduler_with_the_secret_runs_a_job_and_is_told_what_was_done(told: Server) -> None:
    for method in ("POST", "GET"):
        answer = await start(told, "retry-lab-inbox", method)
        body = answer.json()
        assert answer.status_code == 200
        assert (body["success"], body["job"], body["status"]) == (True, "retry-lab-inbox", "done")
        assert body["clinics"]["total"] == await Tenant.find({"deletion_started_at": None, "importing": None}).count()
        assert body["clinics"]["failed"] == {}


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", f"Basic {SECRET}", f"Bearer {SECRET}x", SECRET])
async def test_without_the_secret_no_job_runs(told: Server, given: str) -> None:
    before = await JobRun.find({}).count()
    answer = await told.client().http.post("/api/cron/retry-lab-inbox", headers={"Authorization": given})
    unknown = await told.client().http.post("/api/cron/no-such-job", headers={"Authorization": given})
    assert answer.status_code == unknown.status_code == 401
    assert SECRET not in answer.text
    assert await JobRun.find({}).count() == before


async def test_two_secrets_are_none(told: Server) -> None:
    twice = [("Authorization", f"Bearer {SECRET}"), ("Authorization", f"Bearer {SECRET}")]
    assert (await told.client().http.post("/api/cron/retry-lab-inbox", headers=twice)).status_code == 401


@pytest.mark.parametrize("environment", ["test", "development"])
async def test_a_secret_that_is_not_set_never_means_open(server: Server, environment: str) -> None:
    untold = server.variant(environment=environment)
    before = await JobRun.find({}).count()
    for given in ("", "Bearer ", "Bearer None", f"Bearer {SECRET}"):
        answer = await start(untold, "retry-lab-inbox", Authorization=given)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "UNAVAILABLE")
    assert await JobRun.find({}).count() == before


async def test_guessing_is_limited(told: Server) -> None:
    client = told.client(address="203.0.113.91").http
    wrong = {"Authorization": "Bearer wrong"}
    codes = [(await client.post("/api/cron/retry-lab-inbox", headers=wrong)).status_code for _ in range(31)]
    assert codes == [401] * 30 + [429]
    right = {"Authorization": f"Bearer {SECRET}"}
    assert (await client.post("/api/cron/retry-lab-inbox", headers=right)).status_code == 429


async def test_what_is_no_job_is_not_found_and_a_clinics_host_has_none(told: Server, clinic_a: Clinic) -> None:
    assert (await start(told, "no-such-job")).status_code == 404
    headers = {"Authorization": f"Bearer {SECRET}"}
    there = await told.client(clinic_a.host).http.post("/api/cron/retry-lab-inbox", headers=headers)
    assert there.status_code == 404


async def test_where_one_clinic_owns_the_system_its_host_takes_the_jobs(server: Server, clinic_a: Clinic) -> None:
    lone = server.variant(cron_secret=SECRET, single_clinic=True, default_tenant=clinic_a.tenant.subdomain)
    done = await start(lone, "dispatch-outbox")
    assert (done.status_code, done.json()["status"]) == (200, "done")


async def test_a_look_at_the_headers_runs_nothing(told: Server) -> None:
    before = await JobRun.find({}).count()
    assert (await start(told, "retry-lab-inbox", "HEAD")).status_code == 405
    assert await JobRun.find({}).count() == before


# --- clinic by clinic ---------------------------------------------------------------------------------------------


async def test_a_job_works_in_each_clinic_and_in_no_other(
    told: Server, jobs: Any, clinic_a: Clinic, clinic_b: Clinic
) -> None:
    name = fresh()

    @job(name, "Counts rooms.")
    async def work(_: Settings) -> Counts:
        await Room(name=name, name_key=name).insert()
        return {"rooms": await Room.find({"name_key": name}).count()}

    report = (await start(told, name)).json()
    for clinic in (clinic_a, clinic_b):
        assert report["clinics"]["counts"][clinic.tenant.subdomain] == {"rooms": 1}
    assert report["counts"]["rooms"] == report["clinics"]["total"]


async def test_one_clinics_failure_or_slowness_does_not_stop_the_others(
    told: Server,
    jobs: Any,
    clinic_a: Clinic,
    clinic_b: Clinic,
    make_clinic: MakeClinic,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, done, third = fresh(), set[str](), await make_clinic()
    monkeypatch.setattr(parts, "CLINIC_SECONDS", 0.5)

    @job(name, "Fails at one, hangs at another.")
    async def work(_: Settings) -> Counts:
        tenant = current_scope().tenant
        assert tenant is not None
        if tenant.subdomain == clinic_a.tenant.subdomain:
            raise RuntimeError("patient Ana Example has a problem")
        if tenant.subdomain == clinic_b.tenant.subdomain:
            await asyncio.sleep(60)
        done.add(tenant.subdomain)
        return {"done": 1}

    answer = await start(told, name)
    body = answer.json()
    assert (answer.status_code, body["success"]) == (200, False)
    assert body["clinics"]["failed"] == {
        clinic_a.tenant.subdomain: "RuntimeError",
        clinic_b.tenant.subdomain: "TimeoutError",
    }
    assert body["counts"]["done"] == len(done) == body["clinics"]["total"] - 2
    assert third.tenant.subdomain in done
    assert "Ana" not in answer.text
    [row] = await JobRun.rows({"job": name})
    assert (row["result"], row["clinics"]) == ("partly", body["clinics"]["total"])
    assert set(row["failed_clinic_ids"]) == {clinic_a.tenant.key, clinic_b.tenant.key}


async def test_a_job_that_breaks_as_a_whole_is_noted_and_free_again(told: Server, jobs: Any) -> None:
    name, calls = fresh(), list[int]()

    @job(name, "Breaks at first.", per_clinic=False)
    async def work(_: Settings) -> Counts:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError
        return {"done": 1}

    assert (await start(told, name)).status_code == 500
    assert (await start(told, name)).json()["counts"] == {"done": 1}
    rows = await JobRun.rows({"job": name}, sort=[("started_at", 1)])
    assert [(row["result"], row["error"]) for row in rows] == [("failed", "RuntimeError"), ("done", None)]


async def test_large_numbers_of_clinics_are_taken_in_batches(
    told: Server, jobs: Any, clinic_a: Clinic, clinic_b: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, seen = fresh(), list[str]()
    monkeypatch.setattr(runs, "WINDOW", 1)

    @job(name, "Notes the clinics.")
    async def work(_: Settings) -> Counts:
        seen.append(str(current_scope().tenant_id))
        return {}

    total = (await start(told, name)).json()["clinics"]["total"]
    assert len(seen) == len(set(seen)) == total >= 2


# --- one run at a time --------------------------------------------------------------------------------------------


async def test_of_many_calls_at_once_one_runs(told: Server, jobs: Any) -> None:
    name, runs = fresh(), list[int]()

    @job(name, "Takes a while.", per_clinic=False)
    async def work(_: Settings) -> Counts:
        runs.append(1)
        await asyncio.sleep(1)
        return {"done": 1}

    answers = await asyncio.gather(*(start(told, name) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [202] * 19
    running = next(answer for answer in answers if answer.status_code == 202)
    assert running.json() == {"success": True, "job": name, "status": "running"}
    assert len(runs) == 1
    assert await JobRun.find({"job": name}).count() == 1
    assert (await start(told, name)).status_code == 200, "it is free again"


async def test_a_long_run_keeps_its_job(told: Server, jobs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LEASE", timedelta(seconds=0.9))
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.1)
    name = fresh()

    @job(name, "Outlives its lease.", per_clinic=False)
    async def work(_: Settings) -> Counts:
        await asyncio.sleep(2)
        return {}

    first = asyncio.create_task(start(told, name))
    await asyncio.sleep(1.5)
    assert (await start(told, name)).status_code == 202
    assert (await first).status_code == 200


async def test_a_run_that_lost_its_job_stops(
    told: Server, jobs: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "BEAT_SECONDS", 0.1)
    name, ended = fresh(), list[str]()

    @job(name, "Is overtaken.", per_clinic=False)
    async def work(_: Settings) -> Counts:
        await JobLock.guarded().update_one({"_id": name}, {"$set": {"holder": "another"}})
        await asyncio.sleep(30)
        ended.append("work")
        return {}

    with open_scope(Scope(request_id="test")), pytest.raises(Unavailable):
        await runs.run_job(name, settings)
    assert ended == []
    assert (await JobLock.rows({"_id": name}))[0]["holder"] == "another", "the other's hold is not taken away"


def working_process(settings: Settings, name: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    """Another process, at work on that job under a lease of four seconds."""
    return another_process("tests.standin_job", name, "4", env=environment(settings))


async def test_a_run_that_was_killed_frees_its_job_by_itself(
    told: Server, jobs: Any, settings: Settings, database: Any
) -> None:
    """The other process has a lease of some seconds and is killed (kill -9) at work, on the same database."""
    name = fresh()

    @job(name, "Runs here once it is free.", per_clinic=False)
    async def work(_: Settings) -> Counts:
        return {"done": 1}

    with working_process(settings, name) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == b"working\n"
        assert (await start(told, name)).status_code == 202
        process.kill()
    assert (await start(told, name)).status_code == 202, "nobody knows yet that it is dead"
    answer = await start(told, name)
    for _ in range(80):
        if answer.status_code == 200:
            break
        await asyncio.sleep(0.1)
        answer = await start(told, name)
    assert answer.json()["counts"] == {"done": 1}
    rows = await JobRun.rows({"job": name}, sort=[("started_at", 1)])
    assert [row["result"] for row in rows] == ["abandoned", "done"]


# --- the command --------------------------------------------------------------------------------------------------


def command(settings: Settings, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.cron", *arguments],
        cwd=PROJECT_ROOT,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


async def test_the_command_runs_a_job_and_lists_the_latest_runs(server: Server, settings: Settings) -> None:
    done = await asyncio.to_thread(command, settings, "dispatch-outbox", "--json")
    assert (done.returncode, json.loads(done.stdout)["status"]) == (0, "done"), done.stderr
    shown = await asyncio.to_thread(command, settings, "--list", "--json")
    by_name = {row["job"]: row for row in json.loads(shown.stdout)["jobs"]}
    assert by_name.keys() == JOBS.keys()
    assert by_name["dispatch-outbox"]["result"] == "done"
    assert by_name["dispatch-outbox"]["started"][:10] == now().isoformat()[:10]


async def test_a_failure_at_a_clinic_is_in_the_answer_and_logged_beside_it_without_values(
    server: Server, settings: Settings, clinic_a: Clinic, database: Any
) -> None:
    broken = {"_id": ObjectId(), "tenant_id": clinic_a.tenant.id, "version": 1, "entry": "Ana Example"}
    await database["audit_pending"].insert_one(broken, bypass_document_validation=True)
    try:
        done = await asyncio.to_thread(command, settings, "chain-audit", "--json")
    finally:
        await database["audit_pending"].delete_one({"_id": broken["_id"]})
    assert done.returncode == 1
    report = json.loads(done.stdout)
    failing = await asyncio.to_thread(command, settings, "--failures", "--json")
    mended = await asyncio.to_thread(command, settings, "chain-audit", "--retry", "--json")
    after = await asyncio.to_thread(command, settings, "--failures", "--json")
    assert report["success"] is False
    mine = {"job": "chain-audit", "clinic": str(clinic_a.tenant.key), "tries": 1, "error": "TypeError"}
    assert any(row.items() >= mine.items() for row in json.loads(failing.stdout)["failures"])
    assert (mended.returncode, json.loads(mended.stdout)["clinics"]["total"]) == (0, 1)
    assert "chain-audit" not in {row["job"] for row in json.loads(after.stdout)["failures"]}
    assert report["clinics"]["failed"][clinic_a.tenant.subdomain] == "TypeError"
    assert "a job failed at a clinic" in done.stderr
    assert "Ana" not in done.stdout + done.stderr


async def test_the_command_names_the_jobs_when_it_is_called_wrongly(settings: Settings) -> None:
    wrong = await asyncio.to_thread(command, settings, "no-such-job")
    assert wrong.returncode == 2
    assert "retry-lab-inbox" in wrong.stderr
    assert (await asyncio.to_thread(command, settings)).returncode == 2


def test_no_two_jobs_have_one_name(jobs: Any) -> None:
    with pytest.raises(ValueError, match="chain-audit"):
        job("chain-audit", "Again.")(JOBS["chain-audit"].work)
