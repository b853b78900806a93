"""One run of a job, clinic by clinic: turns, failures that stay with their clinic, and parts that are done once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId

from app.config import Settings
from app.errors import Unavailable
from app.jobs import hands, runs
from app.jobs.history import failures, retries_due
from app.jobs.parts import MAX_STARTS, MAX_TRIES, Message, plan, work_on
from app.jobs.runs import Order, run_job
from app.services.jobs import More, job
from app.tenancy.scope import Scope, current_scope, open_scope
from models import JobPart, JobRun, Tenant
from models.job_run import PartStatus
from models.values import now
from tests.fixtures.clinics import Clinic, MakeClinic
from tests.fixtures.jobs import fresh

Counts = Mapping[str, int]


@pytest_asyncio.fixture(autouse=True)
async def scope(server: Any) -> AsyncIterator[None]:
    with open_scope(Scope(request_id="test")):
        yield


def here() -> str:
    tenant = current_scope().tenant
    assert tenant is not None
    return tenant.subdomain


async def part_of(name: str, clinic: Clinic) -> dict[str, Any] | None:
    return await JobPart.guarded().find_one({"job": name, "clinic_id": clinic.tenant.key})


# --- turns --------------------------------------------------------------------------------------------------------


async def test_a_clinic_with_ten_thousand_things_to_do_holds_up_no_other(
    jobs: Any, settings: Settings, clinic_a: Clinic, make_clinic: MakeClinic
) -> None:
    name, order, left = fresh(), list[str](), 10_000
    others = [await make_clinic() for _ in range(6)]

    @job(name, "Has much to do at one clinic.")
    async def work(_: Settings) -> Counts | More:
        nonlocal left
        order.append(here())
        if here() != clinic_a.tenant.subdomain:
            return {"done": 1}
        left -= 200
        return More({"done": 200}) if left else {"done": 200}

    clinics = [clinic.tenant.key for clinic in (clinic_a, *others)]
    report = await run_job(name, settings, Order(clinics))
    assert order.count(clinic_a.tenant.subdomain) == 50, "all of it was done"
    assert set(order[:7]) == {clinic.tenant.subdomain for clinic in (clinic_a, *others)}, "after everybody's turn"
    assert report.counts["done"] == 10_006
    assert report.by_clinic[clinic_a.tenant.subdomain] == {"done": 10_000}


async def test_several_with_much_to_do_take_turns(
    jobs: Any, settings: Settings, clinic_a: Clinic, clinic_b: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "WINDOW", 1)
    name, order = fresh(), list[str]()

    @job(name, "Has three batches to do at each.")
    async def work(_: Settings) -> Counts | More:
        order.append(here())
        return More({"done": 1}) if order.count(here()) < 3 else {"done": 1}

    await run_job(name, settings, Order([clinic_a.tenant.key, clinic_b.tenant.key]))
    first, second = order[:2]
    assert order == [first, second] * 3


async def test_a_clinic_that_never_ends_is_left_to_the_next_run(
    jobs: Any, settings: Settings, clinic_a: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "ROUNDS", 5)
    name = fresh()

    @job(name, "Has always more to do.")
    async def work(_: Settings) -> More:
        return More({"done": 1})

    assert (await run_job(name, settings, Order([clinic_a.tenant.key]))).counts == {"done": 5}


async def test_two_jobs_share_the_hands_of_a_process(
    jobs: Any, settings: Settings, clinic_a: Clinic, make_clinic: MakeClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first has two hundred batches to do, the second one: it does not wait for the two hundred."""
    monkeypatch.setattr(runs, "WINDOW", 5)
    long, short, ended = fresh(), fresh(), list[str]()
    gate = asyncio.Event()

    @job(long, "Is long.")
    async def work_long(_: Settings) -> More:
        await gate.wait()
        ended.append(long)
        return More({})

    @job(short, "Is short.")
    async def work_short(_: Settings) -> Counts:
        ended.append(short)
        return {}

    monkeypatch.setattr(runs, "ROUNDS", 40)
    five = [(await make_clinic()).tenant.key for _ in range(5)]
    mine = hands.Hands(settings, works=True)
    await mine.start()
    hands.use_hands(mine)
    try:
        many = asyncio.create_task(run_job(long, settings, Order(five)))
        while not await JobPart.guarded().find_one({"job": long, "status": PartStatus.RUNNING.value}):
            await asyncio.sleep(0.01)
        one = asyncio.create_task(run_job(short, settings, Order([clinic_a.tenant.key])))
        while not await part_of(short, clinic_a):
            await asyncio.sleep(0.01)
        gate.set()
        await asyncio.gather(many, one)
    finally:
        hands.use_hands(None)
        await mine.stop()
    assert ended.index(short) <= 20, "of 200"


# --- failures -----------------------------------------------------------------------------------------------------


async def test_a_failing_clinic_is_tried_again_then_given_up_and_forgiven_once_it_succeeds(
    jobs: Any, settings: Settings, clinic_a: Clinic, clinic_b: Clinic
) -> None:
    name, broken, at = fresh(), True, list[str]()

    @job(name, "Fails at one clinic for a while.")
    async def work(_: Settings) -> Counts:
        at.append(here())
        if here() == clinic_a.tenant.subdomain and broken:
            raise RuntimeError("patient Ana Example has a problem")
        return {"done": 1}

    report = await run_job(name, settings, Order([clinic_a.tenant.key, clinic_b.tenant.key]))
    assert (report.failed, report.counts) == ({clinic_a.tenant.subdomain: "RuntimeError"}, {"done": 1})
    [first] = await failures(name)
    assert (first["clinic_id"], first["tries"], first["error"]) == (clinic_a.tenant.key, 1, "RuntimeError")
    assert now() < first["next_at"] < now() + timedelta(minutes=1)
    assert name not in await retries_due()

    for tries in range(2, MAX_TRIES + 1):
        await JobPart.guarded().update_one({"_id": first["_id"]}, {"$set": {"next_at": now()}})
        due = (await retries_due())[name]
        assert due == [clinic_a.tenant.key]
        await run_job(name, settings, Order(due))
        [row] = await failures(name)
        assert row["tries"] == tries
    [row] = await failures(name)
    assert row["next_at"] is None, "it was given up"
    assert name not in await retries_due()
    assert at.count(clinic_b.tenant.subdomain) == 1, "the other clinic was not done again"

    broken = False
    await run_job(name, settings, Order([clinic_a.tenant.key]))
    assert await failures(name) == []
    assert await part_of(name, clinic_a) is None


async def test_what_a_run_did_at_a_clinic_before_it_failed_is_not_forgotten(
    jobs: Any, settings: Settings, clinic_a: Clinic
) -> None:
    name, calls = fresh(), 0

    @job(name, "Fails at its second batch.")
    async def work(_: Settings) -> More:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError
        return More({"done": 3})

    report = await run_job(name, settings, Order([clinic_a.tenant.key]))
    assert (report.counts, report.failed) == ({"done": 3}, {clinic_a.tenant.subdomain: "RuntimeError"})
    [row] = await JobRun.rows({"job": name})
    assert (row["result"], row["counts"], row["failed_clinic_ids"]) == ("partly", {"done": 3}, [clinic_a.tenant.key])


# --- parts --------------------------------------------------------------------------------------------------------


async def planned(name: str, clinic: Clinic) -> Message:
    message = Message(name, ObjectId(), clinic.tenant.key)
    await plan(name, message.run_id, [clinic.tenant.key])
    return message


async def test_a_message_that_comes_many_times_is_done_once(jobs: Any, settings: Settings, clinic_a: Clinic) -> None:
    name, done = fresh(), list[str]()

    @job(name, "Counts.")
    async def work(_: Settings) -> Counts:
        done.append(here())
        await asyncio.sleep(0)
        return {}

    message = await planned(name, clinic_a)
    await asyncio.gather(*(work_on(message, settings) for _ in range(20)))
    await work_on(message, settings)
    assert done == [clinic_a.tenant.subdomain]


async def test_a_message_of_a_run_that_is_over_or_of_none_does_nothing(
    jobs: Any, settings: Settings, clinic_a: Clinic, clinic_b: Clinic
) -> None:
    name, done = fresh(), list[str]()

    @job(name, "Counts.")
    async def work(_: Settings) -> Counts:
        done.append(here())
        return {}

    former = await planned(name, clinic_a)
    await planned(name, clinic_a)  # another run has begun since
    await work_on(former, settings)
    await work_on(Message(name, former.run_id, clinic_b.tenant.key), settings)
    await work_on(Message("no-such-job", ObjectId(), clinic_b.tenant.key), settings)
    assert done == []


async def test_a_part_whose_process_died_is_taken_over_once_its_lease_is_over(
    jobs: Any, settings: Settings, clinic_a: Clinic
) -> None:
    name, done = fresh(), list[str]()

    @job(name, "Counts.")
    async def work(_: Settings) -> Counts:
        done.append(here())
        return {}

    message = await planned(name, clinic_a)
    held = {"status": PartStatus.RUNNING.value, "lease": "dead", "lease_until": now() + timedelta(seconds=60)}
    await JobPart.guarded().update_one({"run_id": message.run_id}, {"$set": held})
    await work_on(message, settings)
    assert done == [], "it may be alive"
    await JobPart.guarded().update_one({"run_id": message.run_id}, {"$set": {"lease_until": now()}})
    await work_on(message, settings)
    assert done == [clinic_a.tenant.subdomain]


async def test_a_part_that_kills_its_process_each_time_is_not_tried_for_ever(
    jobs: Any, settings: Settings, clinic_a: Clinic
) -> None:
    name, done = fresh(), list[str]()

    @job(name, "Kills.")
    async def work(_: Settings) -> Counts:
        done.append(here())
        return {}

    message = await planned(name, clinic_a)
    await JobPart.guarded().update_one({"run_id": message.run_id}, {"$set": {"starts": MAX_STARTS}})
    await work_on(message, settings)
    [row] = await failures(name)
    assert (row["error"], done) == ("Interrupted", [])


async def test_who_lost_a_part_does_not_settle_it(jobs: Any, settings: Settings, clinic_a: Clinic) -> None:
    name = fresh()

    @job(name, "Is overtaken.")
    async def work(_: Settings) -> Counts:
        await JobPart.guarded().update_one({"run_id": message.run_id}, {"$set": {"lease": "another's"}})
        return {"done": 1}

    message = await planned(name, clinic_a)
    await work_on(message, settings)
    part = await part_of(name, clinic_a)
    assert part is not None
    assert (part["status"], part["lease"], part["counts"]) == ("running", "another's", {})


async def test_a_message_that_is_lost_is_sent_again(
    jobs: Any, settings: Settings, clinic_a: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "AGAIN_SECONDS", 0.3)
    name, sent = fresh(), list[Message]()
    send = hands.Hands.send

    async def lossy(self: hands.Hands, message: Message) -> None:
        sent.append(message)
        if len(sent) > 1:
            await send(self, message)

    monkeypatch.setattr(hands.Hands, "send", lossy)

    @job(name, "Counts.")
    async def work(_: Settings) -> Counts:
        return {"done": 1}

    report = await run_job(name, settings, Order([clinic_a.tenant.key]))
    assert (report.counts, len(sent)) == ({"done": 1}, 2)


async def test_a_clinic_that_is_deleted_meanwhile_is_waited_for_no_longer(
    jobs: Any, settings: Settings, make_clinic: MakeClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "AGAIN_SECONDS", 0.3)
    name, clinic = fresh(), await make_clinic()

    @job(name, "Sees its clinic go.")
    async def work(_: Settings) -> Counts:
        await JobPart.guarded().delete_many({"clinic_id": clinic.tenant.key})  # as its deletion does
        return {"done": 1}

    assert (await run_job(name, settings, Order([clinic.tenant.key]))).counts == {}


async def test_a_clinic_that_is_being_deleted_is_left_alone(
    jobs: Any, settings: Settings, make_clinic: MakeClinic
) -> None:
    name, clinic, done = fresh(), await make_clinic(), list[str]()

    @job(name, "Counts.")
    async def work(_: Settings) -> Counts:
        done.append(here())
        return {}

    message = await planned(name, clinic)
    await Tenant.guarded().update_one({"_id": clinic.tenant.key}, {"$set": {"deletion_started_at": now()}})
    await work_on(message, settings)
    assert (await run_job(name, settings, Order([clinic.tenant.key]))).clinics == 0
    assert done == []


async def test_a_run_by_which_nobody_works_ends(
    jobs: Any, settings: Settings, clinic_a: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "STALLED_SECONDS", 0.5)
    monkeypatch.setattr(hands, "STOP_SECONDS", 0.1)
    name = fresh()

    @job(name, "Waits.")
    async def work(_: Settings) -> Counts:
        await asyncio.sleep(3600)
        return {}

    with pytest.raises(Unavailable, match="is a worker running"):
        await run_job(name, settings, Order([clinic_a.tenant.key]))
    [row] = await JobRun.rows({"job": name})
    assert (row["result"], row["error"]) == ("failed", "Unavailable")
