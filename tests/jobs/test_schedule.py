"""The schedule: each job once in each stretch of time, whoever looks, and again soon where it failed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from pymongo import AsyncMongoClient

from app.config import Settings
from app.jobs import hands, history, runs, schedule
from app.jobs.history import Due, due, failures, slot_of
from app.jobs.parts import MAX_TRIES
from app.jobs.runs import Order, run_job
from app.jobs.schedule import Schedule
from app.services.cron import JOBS
from app.services.jobs import DAILY, HOURLY, MINUTE, Job, job
from app.tenancy.scope import Scope, current_scope, open_scope
from models import JobLock, JobPart, JobRun, Tenant
from models.values import now
from tests.fixtures.clinics import Clinic, MakeClinic
from tests.fixtures.jobs import fresh
from tests.server_process import server_process

Counts = Mapping[str, int]


@pytest_asyncio.fixture(autouse=True)
async def scope(server: Any) -> AsyncIterator[None]:
    with open_scope(Scope(request_id="test")):
        yield


@pytest.fixture
def alone(jobs: dict[str, Job]) -> dict[str, Job]:
    """A registry in which there are a test's own jobs and no others."""
    jobs.clear()
    return jobs


@pytest_asyncio.fixture
async def looking(settings: Settings) -> AsyncIterator[Any]:
    """Makes schedules as other processes have them, which look when they are told to."""
    made: list[Schedule] = []

    async def make() -> Schedule:
        made.append(Schedule(settings))
        await made[-1].start()
        return made[-1]

    yield make
    for one in made:
        await one.stop()


async def results(name: str) -> list[str]:
    return [row["result"] for row in await JobRun.rows({"job": name}, sort=[("started_at", 1)])]


async def long_ago(name: str, ago: timedelta = DAILY) -> None:
    """As if what was run had been run so long ago."""
    for row in await JobRun.rows({"job": name}):
        moved = {"started_at": row["started_at"] - ago, "ended_at": row["ended_at"] and row["ended_at"] - ago}
        await JobRun.guarded().update_one({"_id": row["_id"]}, {"$set": moved})


@given(
    every=st.integers(1, 7 * 86_400).map(lambda seconds: timedelta(seconds=seconds)),
    moment=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_each_moment_lies_in_one_stretch(every: timedelta, moment: datetime) -> None:
    begun = slot_of(every, moment)
    assert begun <= moment < begun + every
    assert slot_of(every, begun) == begun
    assert slot_of(every, begun + every) == begun + every


def test_every_job_has_its_time() -> None:
    assert all(job.every is not None and MINUTE <= job.every <= DAILY for job in JOBS.values())


async def test_of_many_processes_that_look_one_runs_what_is_due_and_only_once(alone: Any, looking: Any) -> None:
    name, done = fresh(), list[int]()

    @job(name, "Counts.", per_clinic=False)
    async def work(_: Settings) -> Counts:
        done.append(1)
        await asyncio.sleep(0.05)
        return {"done": 1}

    processes = [await looking() for _ in range(5)]
    for _ in range(3):
        for one in processes:
            await one.look()
        for one in processes:
            await one.settled()
    assert done == [1]
    await long_ago(name, HOURLY)
    for one in processes:
        one._known.clear()  # an hour later
        await one.look()
    for one in processes:
        await one.settled()
    assert done == [1, 1]
    assert await results(name) == ["done", "done"]


async def test_what_was_missed_is_done_once(alone: Any, looking: Any) -> None:
    name, done = fresh(), list[int]()

    @job(name, "Counts.", per_clinic=False, every=DAILY)
    async def work(_: Settings) -> Counts:
        done.append(1)
        return {}

    await run_job(name, (await looking())._settings)
    await long_ago(name, 9 * DAILY)
    one = await looking()
    await one.look()
    await one.settled()
    await one.look()
    await one.settled()
    assert len(done) == 2


async def test_a_run_that_somebody_asked_for_counts_and_a_retry_does_not(
    alone: Any, settings: Settings, clinic_a: Clinic
) -> None:
    name = fresh()

    @job(name, "Counts.", every=DAILY)
    async def work(_: Settings) -> Counts:
        return {}

    await run_job(name, settings, Order([clinic_a.tenant.key]))
    assert await due(JOBS[name], now()) is Due.NOW
    await run_job(name, settings)
    assert await due(JOBS[name], now()) is Due.OVER


async def test_a_run_that_failed_as_a_whole_is_due_again_in_a_while_and_not_for_ever(
    alone: Any, looking: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, calls = fresh(), list[int]()

    @job(name, "Fails.", per_clinic=False, every=DAILY)
    async def work(_: Settings) -> Counts:
        calls.append(1)
        raise RuntimeError

    one = await looking()
    await one.look()
    await one.settled()
    assert (len(calls), await due(JOBS[name], now())) == (1, Due.LATER)
    monkeypatch.setattr(history, "delay_after", lambda _: timedelta(0))
    for _ in range(10):
        await one.look()
        await one.settled()
    assert len(calls) == MAX_TRIES
    assert await due(JOBS[name], now()) is Due.OVER


async def test_a_clinic_at_which_a_job_failed_is_tried_again_before_the_next_run_of_all(
    alone: Any, looking: Any, clinic_a: Clinic
) -> None:
    name, at = fresh(), list[str]()

    @job(name, "Fails at one clinic, once.")
    async def work(_: Settings) -> Counts:
        tenant = current_scope().tenant
        assert tenant is not None
        at.append(tenant.subdomain)
        if at.count(clinic_a.tenant.subdomain) == 1 and tenant.subdomain == clinic_a.tenant.subdomain:
            raise RuntimeError
        return {}

    one = await looking()
    await one.look()
    await one.settled()
    [failed] = await failures(name)
    before = len(at)
    await one.look()
    await one.settled()
    assert len(at) == before, "not yet"
    await JobPart.guarded().update_one({"_id": failed["_id"]}, {"$set": {"next_at": now()}})
    await one.look()
    await one.settled()
    assert at[before:] == [clinic_a.tenant.subdomain]
    assert await failures(name) == []
    assert await results(name) == ["partly", "done"]


async def test_a_job_with_an_hour_waits_for_the_clinics_own_day(
    alone: Any, looking: Any, settings: Settings, make_clinic: MakeClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 14:00 UTC it is 03:00 of the next day in Auckland, and 15:00 in Lagos."""
    name, at = fresh(), set[str]()
    early, late = await make_clinic(), await make_clinic()
    for clinic, zone in ((early, "Pacific/Auckland"), (late, "Africa/Lagos")):
        await Tenant.guarded().update_one({"_id": clinic.tenant.key}, {"$set": {"settings.timezone": zone}})
    monkeypatch.setattr(runs, "now", lambda: datetime(2026, 6, 1, 14, 0, tzinfo=UTC))

    @job(name, "Reminds.", from_hour=12)
    async def work(_: Settings) -> Counts:
        tenant = current_scope().tenant
        assert tenant is not None
        at.add(tenant.subdomain)
        return {}

    monkeypatch.setattr(schedule, "due", _now)
    one = await looking()
    await one.look()
    await one.settled()
    assert late.tenant.subdomain in at
    assert early.tenant.subdomain not in at
    await run_job(name, settings)
    assert early.tenant.subdomain in at, "who asks for it gets it"


async def _now(_: Job, __: datetime) -> Due:
    return Due.NOW


async def test_when_its_process_ends_a_run_begins_nothing_new_and_another_process_goes_on(
    alone: Any, looking: Any, make_clinic: MakeClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "WINDOW", 1)
    monkeypatch.setattr(history, "delay_after", lambda _: timedelta(0))
    for _ in range(3):
        await make_clinic()
    name, begun, gate, done = fresh(), asyncio.Event(), asyncio.Event(), list[str]()

    @job(name, "Is slow.")
    async def work(_: Settings) -> Counts:
        begun.set()
        await gate.wait()
        tenant = current_scope().tenant
        assert tenant is not None
        done.append(tenant.subdomain)
        return {"done": 1}

    one = await looking()
    await one.look()
    await begun.wait()
    stopping = asyncio.create_task(one.stop())
    await asyncio.sleep(0)
    gate.set()
    await stopping
    assert len(done) == 1, "what was begun was finished"
    [row] = await JobRun.rows({"job": name})
    assert (row["result"], row["counts"]) == ("abandoned", {"done": 1})
    assert await JobLock.rows({"_id": name}) == [], "another one may have it at once"

    another = await looking()
    await another.look()
    await another.settled()
    assert len(set(done)) == await Tenant.find({"deletion_started_at": None, "importing": None}).count()
    assert await results(name) == ["abandoned", "done"]


async def test_a_part_that_does_not_finish_in_time_is_handed_back(
    alone: Any, looking: Any, clinic_a: Clinic, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hands, "STOP_SECONDS", 0.1)
    monkeypatch.setattr(schedule, "STOP_SECONDS", 0.1)
    name, begun = fresh(), asyncio.Event()

    @job(name, "Hangs.")
    async def work(_: Settings) -> Counts:
        begun.set()
        await asyncio.sleep(600)
        return {}

    one = await looking()
    await one.look()
    await begun.wait()
    await one.stop()
    parts = await JobPart.rows({"job": name, "starts": {"$gt": 0}})
    assert parts == [], "it counts as not begun"
    assert {row["status"] for row in await JobPart.rows({"job": name})} == {"waiting"}
    assert await results(name) == ["abandoned"]


async def test_a_server_runs_its_schedule_beside_requests(
    alone: Any, settings: Settings, clinic_a: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schedule itself looks, at its own time."""
    name, ran = fresh(), asyncio.Event()

    @job(name, "Tells that it ran.", per_clinic=False)
    async def work(_: Settings) -> Counts:
        ran.set()
        return {}

    hurried = Schedule(Settings(**{**settings.model_dump(), "jobs_seconds": 1}))
    await hurried.start()
    async with asyncio.timeout(20):
        await ran.wait()
    await hurried.stop()


async def until_all_ran(database: Any, count: int) -> list[dict[str, Any]]:
    """The runs, once each job of the schedule has ended one."""
    async with asyncio.timeout(60):
        while len(await database["job_runs"].distinct("job", {"result": "done"})) < count:
            await asyncio.sleep(0.2)
    rows: list[dict[str, Any]] = await database["job_runs"].find({}).to_list()
    return rows


async def test_the_processes_of_a_server_keep_the_schedule_by_themselves(settings: Settings) -> None:
    """On a database of their own, where no clinic is."""
    elsewhere = {"MONGODB_DATABASE": f"{settings.mongodb_database}_own"[:38], "JOBS_SECONDS": "1", "WORKERS": "2"}
    async with AsyncMongoClient[dict[str, Any]](settings.mongodb_uri, tz_aware=True) as client:
        database = client[elsewhere["MONGODB_DATABASE"]]
        with server_process(settings, **elsewhere):
            rows = await until_all_ran(database, len(JOBS))
    often = {"dispatch-outbox"}  # the minute may have ended meanwhile
    counts = Counter(row["job"] for row in rows if row["job"] not in often)
    assert counts == dict.fromkeys(JOBS.keys() - often, 1)
