"""Jobs whose parts go through a real Redis to worker processes, some of which are killed."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any, cast

import pytest
import pytest_asyncio
from pydantic import SecretStr
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from app.config import Settings
from app.db.mongod import free_port
from app.errors import Unavailable
from app.jobs import runs
from app.jobs.runs import Order, Report, run_job
from app.jobs.streams import GROUP, stream_of
from app.services.cron import JOBS
from app.services.jobs import Counts, job
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from models import JobPart, JobRun, Room
from tests.fixtures.clinics import Clinic, Server
from tests.fixtures.jobs import another_process, environment, fresh
from tests.fixtures.redis import RedisServer

ROOMS = 6
Worker = subprocess.Popen[bytes]


@pytest_asyncio.fixture(autouse=True)
async def scope(server: Server) -> AsyncIterator[None]:
    with open_scope(Scope(request_id="test")):
        yield


@pytest.fixture
def queued(settings: Settings, redis: RedisServer) -> Settings:
    """Settings that send parts through the Redis."""
    return Settings(**{**settings.model_dump(), "jobs_url": SecretStr(redis.url)})


@pytest_asyncio.fixture
async def stream(queued: Settings, redis: RedisServer) -> AsyncIterator[Redis]:
    client = Redis.from_url(redis.url)
    yield client
    await client.aclose()


@pytest.fixture
def opener(jobs: Any) -> str:
    """A job that the workers do; here it is known by its name alone."""
    name = fresh()

    @job(name, "Is done by workers.", every=None)
    async def work(_: Settings) -> Counts:
        raise AssertionError("done by the wrong process")

    return name


class Workers:
    """Worker processes of one test."""

    def __init__(self, settings: Settings, name: str, stack: ExitStack) -> None:
        self._env = environment(settings, JOBS_URL=settings.jobs_url.get_secret_value() if settings.jobs_url else "")
        self._name = name
        self._stack = stack

    def start(self, kind: str) -> Worker:
        module = another_process("tests.standin_worker", self._name, kind, str(ROOMS), env=self._env)
        return self._stack.enter_context(module)


@pytest.fixture
def workers(queued: Settings, opener: str) -> Iterator[Workers]:
    with ExitStack() as stack:
        yield Workers(queued, opener, stack)


async def line(worker: Worker) -> str:
    assert worker.stdout is not None
    async with asyncio.timeout(60):
        return (await asyncio.to_thread(worker.stdout.readline)).decode().strip()


async def rooms(name: str, clinic: Clinic) -> list[str]:
    async with tenant_scope(clinic.ref):
        found = await Room.rows({"name": {"$regex": f"^{name} "}}, projection=["name"], sort=[("name", 1)])
    return [row["name"] for row in found]


def all_of(name: str) -> list[str]:
    return [f"{name} {number}" for number in range(ROOMS)]


def started(name: str, settings: Settings, *clinics: Clinic) -> asyncio.Task[Report]:
    return asyncio.create_task(run_job(name, settings, Order([clinic.tenant.key for clinic in clinics])))


async def test_workers_do_what_another_process_asks_for(
    opener: str, queued: Settings, workers: Workers, clinic_a: Clinic, clinic_b: Clinic, stream: Redis
) -> None:
    worker = workers.start("works")
    report = await started(opener, queued, clinic_a, clinic_b)
    assert (report.counts, report.failed) == ({"opened": 2 * ROOMS}, {})
    for clinic in (clinic_a, clinic_b):
        assert await rooms(opener, clinic) == all_of(opener)
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, 20) == 0
    assert await stream.xlen(stream_of(queued)) == 0, "what was done is gone"
    assert await stream.xinfo_consumers(stream_of(queued), GROUP) == [], "and so is who did it"


async def test_messages_hold_ids_and_nothing_of_a_clinic(
    opener: str, queued: Settings, clinic_a: Clinic, stream: Redis
) -> None:
    asked = started(opener, queued, clinic_a)
    while not (found := await stream.xrange(stream_of(queued))):
        await asyncio.sleep(0.01)
    asked.cancel()
    [(_, fields)] = cast(list[tuple[bytes, dict[bytes, bytes]]], found)
    part = await JobPart.guarded().find_one({"job": opener})
    assert part is not None
    message = json.loads(fields[b"data"])
    assert message["args"] == [opener, str(part["run_id"]), str(clinic_a.tenant.key)]
    assert message["kwargs"] == message["labels"] == {}
    assert set(message) == {"task_id", "task_name", "args", "kwargs", "labels", "labels_types"}
    for told in (clinic_a.tenant.subdomain, clinic_a.tenant.name):
        assert told not in fields[b"data"].decode()
    await asyncio.wait([asked])
    await stream.flushall()


async def test_a_worker_that_is_killed_at_work_leaves_its_part_to_another_and_nothing_is_done_twice(
    opener: str, queued: Settings, workers: Workers, clinic_a: Clinic, stream: Redis
) -> None:
    first = workers.start("hangs")
    asked = started(opener, queued, clinic_a)
    assert await line(first) == "half"
    assert len(await rooms(opener, clinic_a)) == ROOMS // 2
    second = workers.start("works")
    first.kill()
    report = await asked
    assert await line(second) == "done"
    assert await rooms(opener, clinic_a) == all_of(opener)
    assert (report.counts, report.failed) == ({"opened": ROOMS - ROOMS // 2}, {}), "the other half"
    [row] = await JobRun.rows({"job": opener})
    assert row["result"] == "done"


async def test_a_worker_that_is_told_to_end_finishes_its_part(
    opener: str, queued: Settings, workers: Workers, clinic_a: Clinic
) -> None:
    worker = workers.start("stops")
    asked = started(opener, queued, clinic_a)
    assert await line(worker) == "half"
    worker.send_signal(signal.SIGTERM)
    assert (await asked).counts == {"opened": ROOMS}
    assert await line(worker) == "done"
    assert await asyncio.to_thread(worker.wait, 20) == 0


async def test_a_worker_that_cannot_finish_in_time_hands_its_part_back(
    opener: str, queued: Settings, workers: Workers, clinic_a: Clinic
) -> None:
    first = workers.start("hangs")
    asked = started(opener, queued, clinic_a)
    assert await line(first) == "half"
    first.send_signal(signal.SIGTERM)
    assert await line(first) == "cut off"
    assert await asyncio.to_thread(first.wait, 20) == 0
    part = await JobPart.guarded().find_one({"job": opener})
    assert part is not None
    assert (part["status"], part["lease"]) == ("waiting", None)
    workers.start("works")
    report = await asked
    assert await rooms(opener, clinic_a) == all_of(opener)
    assert report.failed == {}


async def test_a_redis_that_lost_its_memory_costs_time_and_nothing_else(
    opener: str, queued: Settings, workers: Workers, clinic_a: Clinic, redis: RedisServer, monkeypatch: Any
) -> None:
    monkeypatch.setattr(runs, "AGAIN_SECONDS", 1.0)
    first = workers.start("hangs")
    asked = started(opener, queued, clinic_a)
    assert await line(first) == "half"
    first.kill()
    redis.kill()
    redis.start()
    workers.start("works")
    report = await asked
    assert (report.counts, report.failed) == ({"opened": ROOMS - ROOMS // 2}, {})
    assert await rooms(opener, clinic_a) == all_of(opener)


async def test_a_worker_outlasts_a_redis_that_is_away_for_a_while(
    opener: str, queued: Settings, workers: Workers, clinic_a: Clinic, clinic_b: Clinic, redis: RedisServer
) -> None:
    worker = workers.start("works")
    await started(opener, queued, clinic_a)
    redis.kill()
    with pytest.raises(Unavailable, match="JOBS_URL"):
        await started(opener, queued, clinic_b)
    redis.start()
    report = await started(opener, queued, clinic_b)
    assert report.counts == {"opened": ROOMS}
    assert worker.poll() is None


async def test_without_a_worker_a_run_ends_and_says_why(
    opener: str, queued: Settings, clinic_a: Clinic, monkeypatch: pytest.MonkeyPatch, stream: Redis
) -> None:
    monkeypatch.setattr(runs, "STALLED_SECONDS", 0.5)
    with pytest.raises(Unavailable, match="is a worker running"):
        await started(opener, queued, clinic_a)
    await stream.flushall()


async def test_a_worker_without_its_queue_does_not_start(settings: Settings, opener: str) -> None:
    env = environment(settings, JOBS_URL=f"redis://127.0.0.1:{free_port()}")
    with another_process("scripts.worker", env=env) as worker:
        assert await asyncio.to_thread(worker.wait, 60) == 1


async def test_several_workers_keep_one_schedule(queued: Settings, redis: RedisServer) -> None:
    """On a database of their own, where no clinic is."""
    name = f"{queued.mongodb_database}_two"
    env = environment(queued, JOBS_URL=redis.url, JOBS_SECONDS="1", MONGODB_DATABASE=name)
    async with AsyncMongoClient[dict[str, Any]](queued.mongodb_uri) as client:
        with another_process("scripts.worker", env=env) as one, another_process("scripts.worker", env=env) as other:
            async with asyncio.timeout(60):
                while len(await client[name]["job_runs"].distinct("job", {"result": "done"})) < len(JOBS):
                    await asyncio.sleep(0.2)
            for worker in (one, other):
                worker.send_signal(signal.SIGTERM)
            ended = [await asyncio.to_thread(worker.wait, 20) for worker in (one, other)]
        counts = Counter([row["job"] async for row in client[name]["job_runs"].find({})])
    assert ended == [0, 0]
    assert {job: count for job, count in counts.items() if count > 1 and job != "dispatch-outbox"} == {}
