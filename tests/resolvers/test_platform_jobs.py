"""What those who run the system see of jobs and of PayPal's inbox: where it fails, and nothing of what is worked on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest_asyncio
from bson import ObjectId

from app.jobs.parts import MAX_TRIES
from app.permissions import PlatformRole
from app.services.cron import JOBS
from models import JobPart, JobRun, PaypalEvent, PlatformAudit
from models.job_run import JobResult, PartStatus
from models.subscription import EventState
from models.values import now
from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.fixtures.operators import MakeOperator

REASON = "PayPal was down all morning, see #4711"
JOB = "recount-storage"
JOBS_LIST = """{ jobs {
    name description everySeconds perClinic succeededAt failingClinics givenUpClinics
    latestRun { result milliseconds clinics counts { what count } failedClinics { subdomain } }
} }"""
RUNS = """query($filter: JobRunFilter, $first: Int, $after: String) {
    jobRuns(filter: $filter, first: $first, after: $after) {
        edges { node { job result milliseconds retry error failedClinics { subdomain } } }
        pageInfo { endCursor hasNextPage }
    }
}"""
FAILURES = """query($filter: JobFailureFilter, $first: Int, $after: String) {
    jobFailures(filter: $filter, first: $first, after: $after) {
        edges { node { job clinic { subdomain } tries error nextAt } } pageInfo { endCursor hasNextPage } totalCount
    }
}"""
EVENTS = """query($filter: PaypalEventFilter) {
    paypalEvents(filter: $filter, first: 100) {
        edges { node { id eventType state clinic { subdomain } tries error } }
    }
}"""
REPLAY = "mutation($input: ReplayPaypalEventsInput!) { replayPaypalEvents(input: $input) }"


async def part(clinic: Clinic, tries: int, job: str = JOB) -> None:
    later = now() + timedelta(minutes=5)
    await JobPart(
        job=job,
        clinic_id=clinic.tenant.key,
        status=PartStatus.FAILED,
        tries=tries,
        error="Unavailable",
        failed_at=now(),
        next_at=None if tries >= MAX_TRIES else later,
        purge_at=later,
    ).insert()


@pytest_asyncio.fixture
async def failing(server: Server, make_clinic: MakeClinic) -> list[Clinic]:
    """Three clinics at which a job fails, the last of which was given up; and its run."""
    clinics = [await make_clinic() for _ in range(3)]
    await JobRun.find({"job": JOB}).delete()
    await JobPart.find({"job": JOB}).delete()
    for clinic, tries in zip(clinics, (1, 2, MAX_TRIES), strict=True):
        await part(clinic, tries)
    began = now() - timedelta(minutes=1)
    for minutes, result, failed in ((60, JobResult.DONE, []), (0, JobResult.PARTLY, clinics)):
        start = began - timedelta(minutes=minutes)
        await JobRun(
            job=JOB,
            started_at=start,
            ended_at=start + timedelta(seconds=1.5),
            result=result,
            clinics=7,
            counts={"repaired": 4},
            failed_clinic_ids=[clinic.tenant.key for clinic in failed],
            purge_at=now() + timedelta(days=1),
        ).insert()
    return clinics


async def test_each_job_is_told_with_how_it_went_and_where_it_fails(
    failing: list[Clinic], make_operator: MakeOperator
) -> None:
    reader = await make_operator(PlatformRole.READONLY)

    answer = await reader.client.gql(JOBS_LIST)

    jobs = {job["name"]: job for job in answer.data["jobs"]}
    assert jobs.keys() == JOBS.keys()
    told = jobs[JOB]
    assert (told["everySeconds"], told["perClinic"], told["description"]) == (86_400, True, JOBS[JOB].description)
    assert (told["failingClinics"], told["givenUpClinics"]) == (3, 1)
    assert told["succeededAt"] is not None
    latest = told["latestRun"]
    assert (latest["result"], latest["milliseconds"], latest["clinics"]) == ("PARTLY", 1500, 7)
    assert latest["counts"] == [{"what": "repaired", "count": 4}]
    assert {one["subdomain"] for one in latest["failedClinics"]} == {one.tenant.subdomain for one in failing}


async def test_runs_and_failures_come_page_by_page(failing: list[Clinic], make_operator: MakeOperator) -> None:
    client = (await make_operator(PlatformRole.SUPPORT)).client
    of_job = {"filter": {"job": JOB}, "first": 2}

    first = (await client.gql(FAILURES, **of_job)).data["jobFailures"]
    rest = (await client.gql(FAILURES, **of_job, after=first["pageInfo"]["endCursor"])).data["jobFailures"]

    assert (first["totalCount"], first["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasNextPage"]) == (3, True, False)
    told = [edge["node"] for edge in first["edges"] + rest["edges"]]
    assert [one["tries"] for one in told] == [MAX_TRIES, 2, 1]
    assert [one["clinic"]["subdomain"] for one in told] == [one.tenant.subdomain for one in reversed(failing)]
    assert [one["nextAt"] is None for one in told] == [True, False, False]
    runs = (await client.gql(RUNS, filter={"job": JOB})).data["jobRuns"]["edges"]
    assert [edge["node"]["result"] for edge in runs] == ["PARTLY", "DONE"]
    assert (await client.gql(RUNS, filter={"job": "none-such"})).data["jobRuns"]["edges"] == []


async def event(state: EventState, clinic: Clinic | None = None) -> str:
    made = PaypalEvent(
        id=f"WH-{uuid4().hex}",
        event_type="CHECKOUT.ORDER.APPROVED",
        subjects=["A-SECRET-OF-THEIRS"],
        clinic_id=clinic.tenant.key if clinic else None,
        status=state,
        tries=8,
        error="PaypalDown",
        settled_at=now(),
    )
    await made.insert()
    return str(made.id)


async def test_what_paypal_told_and_was_given_up_is_listed_and_replayed_once_noted(
    clinic_a: Clinic, make_operator: MakeOperator
) -> None:
    dead, done = await event(EventState.DEAD, clinic_a), await event(EventState.HANDLED)
    boss = await make_operator()

    answer = await boss.client.gql(EVENTS)
    listed = {edge["node"]["id"]: edge["node"] for edge in answer.data["paypalEvents"]["edges"]}
    assert listed[dead]["clinic"] == {"subdomain": clinic_a.tenant.subdomain}
    assert (listed[dead]["error"], done in listed) == ("PaypalDown", False)
    assert "A-SECRET-OF-THEIRS" not in answer.response.text
    other = (await boss.client.gql(EVENTS, filter={"state": "HANDLED"})).data["paypalEvents"]["edges"]
    assert done in {edge["node"]["id"] for edge in other}

    replayed = await boss.client.gql(REPLAY, input={"eventId": dead, "reason": REASON})

    assert replayed.data == {"replayPaypalEvents": 1}
    row = await PaypalEvent.get(dead)
    assert row is not None
    assert (row.status, row.tries, row.settled_at) == (EventState.WAITING, 0, None)
    [act] = await PlatformAudit.find({"subject": f"paypal_events/{dead}"}).to_list()
    assert (act.action, act.actor, act.reason, act.tenant) == (
        "paypal_event.replay",
        str(boss.user.id),
        REASON,
        clinic_a.tenant.key,
    )


async def test_all_that_were_given_up_are_replayed_together_by_one_act(make_operator: MakeOperator) -> None:
    await PaypalEvent.find({"status": EventState.DEAD}).delete()
    two = [await event(EventState.DEAD), await event(EventState.DEAD)]
    kept = await event(EventState.IGNORED)
    boss = await make_operator()

    assert (await boss.client.gql(REPLAY, input={"reason": REASON})).data == {"replayPaypalEvents": 2}
    assert (await boss.client.gql(REPLAY, input={"reason": REASON})).data == {"replayPaypalEvents": 0}

    states = [row["status"] for row in await PaypalEvent.rows({"_id": {"$in": [*two, kept]}}, sort=[("status", 1)])]
    assert states == ["ignored", "waiting", "waiting"]
    assert await PlatformAudit.find({"actor": str(boss.user.id), "action": "paypal_event.replay"}).count() == 1


async def test_whoever_may_only_look_and_whoever_says_no_reason_replays_nothing(make_operator: MakeOperator) -> None:
    dead = await event(EventState.DEAD)
    for role in (PlatformRole.SUPPORT, PlatformRole.READONLY):
        looking = (await make_operator(role)).client
        assert (await looking.gql(REPLAY, input={"eventId": dead, "reason": REASON})).codes == ["FORBIDDEN"]
    boss = (await make_operator()).client
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"eventId": dead, "reason": "short"}, "input.reason"),
        ({"eventId": str(ObjectId()), "reason": REASON}, "input.eventId"),
    ]
    for values, path in wrong:
        assert (await boss.gql(REPLAY, input=values)).paths == [path]
    row = await PaypalEvent.get(dead)
    assert row is not None
    assert row.status is EventState.DEAD
