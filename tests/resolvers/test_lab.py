"""Laboratory results over GraphQL: from result to release, what waits for a person, and the connections."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import AuditEntry, LabResult
from tests.fixtures.clinics import Answer, Client, Clinic, MakeClinic, Server
from tests.http.lab_support import CREATE, Body, Lab, connect, quarantined, report, results
from tests.resolvers.patient_calls import NOWHERE, register

REVIEW = "mutation($input: LabResultStepInput!) { reviewLabResult(input: $input) { id version status } }"
RELEASE = "mutation($input: LabResultStepInput!) { releaseLabResult(input: $input) { id version status } }"
ASSIGN = "mutation($input: AssignLabMessageInput!) { assignLabMessage(input: $input) { id status version } }"
DISCARD = """mutation($input: DiscardLabMessageInput!) {
    discardLabMessage(input: $input) { id status discardReason settledAt } }"""
ONE = "query($id: ID!) { labResult(id: $id) { id status current observations { value } } }"
ROTATE = """mutation($input: RotateLabConnectionInput!) {
    rotateLabConnection(input: $input) { secret connection { version previousUntil } } }"""
CONNECTIONS = "{ labConnections(first: 100) { edges { node { id version name keyId enabled } } } }"


@pytest_asyncio.fixture(scope="module")
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture(scope="module")
async def desk(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic)


@pytest_asyncio.fixture(scope="module")
async def doctor(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic, "doctor")


@pytest_asyncio.fixture(scope="module")
async def nurse(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic, "nurse")


@pytest_asyncio.fixture(scope="module")
async def lab(server: Server, clinic: Clinic, desk: Client) -> Lab:
    return await connect(server, clinic, desk)


async def delivered(lab: Lab, desk: Client, **changes: Any) -> tuple[str, Body, Body]:
    """A patient, the event about them, and the result that came of it."""
    patient = await register(desk)
    event = report(patient["record"]["code"], **changes)
    assert (await lab.send(event)).status_code == 200
    [found] = await results(desk, patientId=patient["id"])
    return patient["id"], event, found


async def waiting(lab: Lab, desk: Client, **changes: Any) -> tuple[Body, Body]:
    """An event about nobody whom the clinic knows, and the message that waits."""
    event = report(f"X-{uuid4().hex[:8]}", **changes)
    assert (await lab.send(event)).status_code == 200
    message = await quarantined(desk, event["eventId"])
    assert message is not None
    return event, message


async def step(client: Client, mutation: str, found: Body) -> Answer:
    return await client.gql(mutation, input={"id": found["id"], "version": found["version"]})


# --- review and release -------------------------------------------------------------------------------------------


async def test_a_result_is_reviewed_then_released_and_each_step_is_noted(
    lab: Lab, desk: Client, nurse: Client, doctor: Client, clinic: Clinic
) -> None:
    patient, _, found = await delivered(lab, desk)
    reviewed = (await step(nurse, REVIEW, found)).data["reviewLabResult"]
    assert (reviewed["status"], reviewed["version"]) == ("REVIEWED", found["version"] + 1)
    released = (await step(doctor, RELEASE, reviewed)).data["releaseLabResult"]
    assert released["status"] == "RELEASED"
    [after] = await results(desk, patientId=patient, status="RELEASED")
    assert [(one["action"], one["status"], one["by"]) for one in after["history"]] == [
        ("received", "RESULTED", None),
        ("reviewed", "REVIEWED", {"name": clinic.staff["nurse"].name}),
        ("released", "RELEASED", {"name": clinic.staff["doctor"].name}),
    ]
    async with tenant_scope(clinic.ref):
        noted = await AuditEntry.rows({"subject": f"lab_results/{found['id']}"}, sort=[("seq", 1)])
    assert [row["action"] for row in noted] == ["lab.receive", "lab_result.reviewed", "lab_result.released"]


async def test_a_step_that_may_not_follow_names_the_one_that_may(lab: Lab, desk: Client) -> None:
    _, _, found = await delivered(lab, desk)
    early = await step(desk, RELEASE, found)
    assert (early.codes, "REVIEWED" in early.errors[0]["message"]) == (["INVALID_STATE"], True)
    reviewed = (await step(desk, REVIEW, found)).data["reviewLabResult"]
    twice = await step(desk, REVIEW, reviewed)
    assert (twice.codes, "RELEASED" in twice.errors[0]["message"]) == (["INVALID_STATE"], True)
    released = (await step(desk, RELEASE, reviewed)).data["releaseLabResult"]
    for mutation in (REVIEW, RELEASE):
        late = await step(desk, mutation, released)
        assert (late.codes, "nothing" in late.errors[0]["message"]) == (["INVALID_STATE"], True)
    assert (await desk.gql(ONE, id=found["id"])).data["labResult"]["status"] == "RELEASED"


async def test_a_step_on_an_old_version_is_refused(lab: Lab, desk: Client) -> None:
    _, _, found = await delivered(lab, desk)
    answer = await step(desk, REVIEW, {**found, "version": found["version"] + 1})
    assert (answer.codes, answer.paths) == (["CONFLICT"], ["input.version"])
    assert (await desk.gql(ONE, id=found["id"])).data["labResult"]["status"] == "RESULTED"


async def test_of_many_reviews_at_once_one_counts(lab: Lab, desk: Client) -> None:
    patient, _, found = await delivered(lab, desk)
    answers = await asyncio.gather(*(step(desk, REVIEW, found) for _ in range(8)))
    assert sum(not answer.errors for answer in answers) == 1
    [after] = await results(desk, patientId=patient)
    assert [one["action"] for one in after["history"]] == ["received", "reviewed"]


async def test_what_a_newer_report_supersedes_is_not_released(lab: Lab, desk: Client) -> None:
    patient, event, found = await delivered(lab, desk)
    reviewed = (await step(desk, REVIEW, found)).data["reviewLabResult"]
    await lab.send({**event, "eventId": f"{event['eventId']}-2", "version": 2, "comment": "Corrected."})
    for version in (reviewed["version"], reviewed["version"] + 1):
        assert (await step(desk, RELEASE, {**reviewed, "version": version})).codes == ["INVALID_STATE"]
    [newest] = await results(desk, patientId=patient)
    assert (newest["comment"], newest["status"]) == ("Corrected.", "RESULTED")


async def test_a_correction_races_with_a_release_and_the_old_report_is_never_released_after_it(
    lab: Lab, desk: Client
) -> None:
    patient, event, found = await delivered(lab, desk)
    reviewed = (await step(desk, REVIEW, found)).data["reviewLabResult"]
    correction = {**event, "eventId": f"{event['eventId']}-2", "version": 2}
    await asyncio.gather(step(desk, RELEASE, reviewed), lab.send(correction))
    every = await results(desk, patientId=patient, superseded=True)
    old = next(one for one in every if one["reportVersion"] == 1)
    actions = [one["action"] for one in old["history"]]
    assert actions in (
        ["received", "reviewed", "superseded"],
        ["received", "reviewed", "released", "superseded"],
    )
    assert [one["reportVersion"] for one in every if one["current"]] == [2]


@pytest.mark.parametrize("role", ["receptionist", "accountant"])
async def test_those_who_treat_nobody_see_no_results(
    server: Server, clinic: Clinic, lab: Lab, desk: Client, role: str
) -> None:
    _, _, found = await delivered(lab, desk)
    client = await server.sign_in(clinic, role)
    for answer in (await client.gql(ONE, id=found["id"]), await client.gql("{ labResults { totalCount } }")):
        assert answer.codes == ["FORBIDDEN"]
        assert not any((answer.body["data"] or {}).values())


async def test_a_nurse_reviews_and_does_not_release(lab: Lab, desk: Client, nurse: Client) -> None:
    _, _, found = await delivered(lab, desk)
    reviewed = (await step(nurse, REVIEW, found)).data["reviewLabResult"]
    assert (await step(nurse, RELEASE, reviewed)).codes == ["FORBIDDEN"]
    assert (await desk.gql(ONE, id=found["id"])).data["labResult"]["status"] == "REVIEWED"


# --- what waits for a person --------------------------------------------------------------------------------------


async def test_a_person_says_whose_a_report_is(lab: Lab, desk: Client, clinic: Clinic) -> None:
    event, message = await waiting(lab, desk)
    patient = (await register(desk))["id"]
    input = {"labMessageId": message["id"], "patientId": patient, "version": message["version"]}
    answers = await asyncio.gather(*(desk.gql(ASSIGN, input=input) for _ in range(5)))
    assert sum(not answer.errors for answer in answers) == 1
    assert {code for answer in answers for code in answer.codes} <= {"CONFLICT", "INVALID_STATE"}
    [found] = await results(desk, patientId=patient)
    assert found["accession"] == event["accession"]
    assert found["history"][0]["by"] == {"name": clinic.staff["admin"].name}
    assert await quarantined(desk, event["eventId"]) is None
    assert (await lab.send(event)).json()["duplicate"] is True
    assert len(await results(desk, patientId=patient, superseded=True)) == 1


async def test_a_report_is_not_assigned_to_a_patient_of_another_clinic(
    lab: Lab, desk: Client, stranger: Client, clinic: Clinic
) -> None:
    event, message = await waiting(lab, desk)
    abroad = (await register(stranger))["id"]
    told = []
    for patient in (abroad, NOWHERE):
        input = {"labMessageId": message["id"], "patientId": patient, "version": message["version"]}
        answer = await desk.gql(ASSIGN, input=input)
        assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.patientId"])
        told.append(answer.errors[0]["message"])
    assert told[0] == told[1]
    assert await quarantined(desk, event["eventId"]) == message
    async with tenant_scope(clinic.ref):
        assert await LabResult.rows({"patient_id": ObjectId(abroad)}) == []


async def test_a_person_puts_a_report_aside(lab: Lab, desk: Client) -> None:
    event, message = await waiting(lab, desk)
    input = {"labMessageId": message["id"], "version": message["version"], "reason": "Sent to us by mistake."}
    assert (await desk.gql(DISCARD, input={**input, "reason": " "})).paths == ["input.reason"]
    discarded = (await desk.gql(DISCARD, input=input)).data["discardLabMessage"]
    assert (discarded["status"], discarded["discardReason"]) == ("DISCARDED", "Sent to us by mistake.")
    assert discarded["settledAt"]
    assert await quarantined(desk, event["eventId"]) is None
    patient = (await register(desk))["id"]
    late = {"labMessageId": message["id"], "patientId": patient, "version": message["version"] + 1}
    assert (await desk.gql(ASSIGN, input=late)).codes == ["INVALID_STATE"]
    assert await results(desk, patientId=patient) == []


async def test_a_version_with_two_contents_can_only_be_discarded(lab: Lab, desk: Client) -> None:
    patient, event, _ = await delivered(lab, desk)
    other = {**event, "eventId": f"{event['eventId']}-2", "comment": "Something else."}
    await lab.send(other)
    message = await quarantined(desk, other["eventId"])
    assert message is not None
    input = {"labMessageId": message["id"], "version": message["version"]}
    assert (await desk.gql(ASSIGN, input={**input, "patientId": patient})).codes == ["INVALID_STATE"]
    assert [one["comment"] for one in await results(desk, patientId=patient)] == [None]
    assert not (await desk.gql(DISCARD, input={**input, "reason": "The first is right."})).errors


async def test_a_correction_about_another_patient_takes_the_wrong_one_away_once_a_person_says_so(
    lab: Lab, desk: Client
) -> None:
    wrong, event, _ = await delivered(lab, desk)
    right = await register(desk)
    correction = {
        **event,
        "eventId": f"{event['eventId']}-2",
        "version": 2,
        "patient": {"code": right["record"]["code"]},
    }
    await lab.send(correction)
    message = await quarantined(desk, correction["eventId"])
    assert message is not None
    input = {"labMessageId": message["id"], "patientId": right["id"], "version": message["version"]}
    assert not (await desk.gql(ASSIGN, input=input)).errors
    assert await results(desk, patientId=wrong) == []
    assert [one["reportVersion"] for one in await results(desk, patientId=right["id"])] == [2]


async def test_a_released_result_that_was_somebody_elses_is_no_longer_shown_to_the_wrong_patient(
    lab: Lab, desk: Client
) -> None:
    wrong, event, found = await delivered(lab, desk)
    reviewed = (await step(desk, REVIEW, found)).data["reviewLabResult"]
    assert not (await step(desk, RELEASE, reviewed)).errors
    right = await register(desk)
    correction = {
        **event, "eventId": f"{event['eventId']}-2", "version": 2, "patient": {"code": right["record"]["code"]}
    }  # fmt: skip
    await lab.send(correction)
    message = await quarantined(desk, correction["eventId"])
    assert message is not None
    input = {"labMessageId": message["id"], "patientId": right["id"], "version": message["version"]}
    assert not (await desk.gql(ASSIGN, input=input)).errors

    [old] = await results(desk, patientId=wrong, superseded=True)
    assert old["status"] != "RELEASED"
    assert [one["action"] for one in old["history"]] == ["received", "reviewed", "released", "withdrawn"]
    for mutation in (REVIEW, RELEASE):
        assert (await step(desk, mutation, old)).codes == ["INVALID_STATE"]


# --- connections --------------------------------------------------------------------------------------------------


async def test_a_secret_is_shown_once_and_never_again(lab: Lab, desk: Client) -> None:
    made = (await desk.gql(CREATE, input={"name": "Another"})).data["createLabConnection"]
    listed = await desk.gql(CONNECTIONS)
    mine = next(edge["node"] for edge in listed.data["labConnections"]["edges"] if edge["node"]["name"] == "Another")
    assert mine == made["connection"]
    assert len(made["secret"]) >= 43
    assert made["secret"] not in listed.response.text


async def test_an_overlap_has_bounds_and_a_wrong_one_changes_nothing(
    server: Server, clinic: Clinic, desk: Client
) -> None:
    lab = await connect(server, clinic, desk, "Bounds")
    known = {"id": lab.connection["id"], "version": lab.connection["version"]}
    for hours in (-1, 169):
        answer = await desk.gql(ROTATE, input={**known, "overlapHours": hours})
        assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.overlapHours"])
    old = await desk.gql(ROTATE, input={**known, "version": 7})
    assert (old.codes, old.paths) == (["CONFLICT"], ["input.version"])
    assert (await lab.send(report("NOBODY-9"))).status_code == 200, "the secret is the same as before"


@pytest.mark.parametrize("role", ["doctor", "nurse", "receptionist", "accountant"])
async def test_only_those_who_run_the_clinic_connect_laboratories(server: Server, clinic: Clinic, role: str) -> None:
    client = await server.sign_in(clinic, role)
    answer = await client.gql(CREATE, input={"name": "Mine"})
    assert answer.codes == ["FORBIDDEN"]
