"""Orders to laboratories: results find them by number, and they go where their results go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest_asyncio
from bson import ObjectId

from app.services.lab_sweeping import mark_abnormal
from app.tenancy.crossing import tenant_scope
from models import LabResult
from tests.fixtures.clinics import Answer, Client, Clinic, MakeClinic, Server
from tests.http.lab_support import Body, Lab, connect, quarantined, report, results
from tests.resolvers.care_calls import Row, only, started, step
from tests.resolvers.patient_calls import NOWHERE, register

FIELDS = """{ id version status number panels { name loinc } priority specimen reason collectedAt
    collectedBy { name } history { status reason by { name } } patient { id } doctor { name } visit { id }
    results { edges { node { id version status current order { number } observations { value } } } } }"""
ORDER = f"mutation($input: OrderLabTestsInput!) {{ orderLabTests(input: $input) {FIELDS} }}"
COLLECT = f"mutation($input: CollectLabSampleInput!) {{ collectLabSample(input: $input) {FIELDS} }}"
RECORD = "mutation($input: RecordLabResultInput!) { recordLabResult(input: $input) { id version status accession } }"
ONE = f"query($id: ID!) {{ labOrder(id: $id) {FIELDS} }}"
LIST = "query($filter: LabOrderFilter) { labOrders(filter: $filter) { edges { node { number } } } }"
STEP = """mutation($input: LabResultStepInput!) { %sLabResult(input: $input) { id version status } }"""
PANEL = {"name": "Comprehensive metabolic panel", "loinc": "24323-8"}
GLUCOSE = {"name": "Glucose", "value": "5.40", "unit": "mmol/L", "flag": "NORMAL"}


@pytest_asyncio.fixture(scope="module")
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture(scope="module")
async def doctor(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic, "doctor")


@pytest_asyncio.fixture(scope="module")
async def lab(server: Server, clinic: Clinic) -> Lab:
    return await connect(server, clinic, await server.sign_in(clinic))


@pytest_asyncio.fixture
async def patient(doctor: Client) -> Row:
    return await register(doctor)


async def ordered(client: Client, patient: Row, **values: Any) -> Row:
    found: Row = only(await client.gql(ORDER, input={"patientId": patient["id"], "panels": [PANEL], **values}))
    return found


async def now_of(client: Client, order: Row) -> Row:
    found: Row = only(await client.gql(ONE, id=order["id"]))
    return found


async def delivered(lab: Lab, patient: Row, order: Row, **changes: Any) -> Body:
    event = report(patient["record"]["code"], orderNumber=order["number"].lower(), **changes)
    assert (await lab.send(event)).status_code == 200
    return event


async def judged(client: Client, verb: str, result: Row) -> Answer:
    return await client.gql(STEP % verb, input={"id": result["id"], "version": result["version"]})


async def test_an_order_goes_from_the_sample_to_release_with_its_result(
    doctor: Client, clinic: Clinic, lab: Lab, patient: Row
) -> None:
    visit = await started(doctor, patient["id"])
    order = await ordered(doctor, patient, visitId=visit["id"], priority="URGENT", reason="Tired")
    assert (order["status"], order["number"][:3], order["priority"]) == ("ORDERED", "LO-", "URGENT")
    input = {"id": order["id"], "version": 1, "specimen": "serum"}
    order = only(await doctor.gql(COLLECT, input=input))
    assert (order["status"], order["specimen"]) == ("COLLECTED", "serum")
    assert order["collectedBy"] == {"name": clinic.staff["doctor"].name}
    assert (await doctor.gql(COLLECT, input={**input, "version": 2})).codes == ["INVALID_STATE"]

    await delivered(lab, patient, order)
    order = await now_of(doctor, order)
    [edge] = order["results"]["edges"]
    assert (order["status"], edge["node"]["order"]) == ("RESULTED", {"number": order["number"]})
    reviewed = only(await judged(doctor, "review", edge["node"]))
    assert (await now_of(doctor, order))["status"] == "REVIEWED"
    assert not (await judged(doctor, "release", reviewed)).errors
    order = await now_of(doctor, order)
    assert [one["status"] for one in order["history"]] == ["COLLECTED", "RESULTED", "REVIEWED", "RELEASED"]


async def test_a_correction_leads_an_order_back_until_it_is_looked_at(doctor: Client, lab: Lab, patient: Row) -> None:
    order = await ordered(doctor, patient)
    event = await delivered(lab, patient, order)
    [found] = await results(doctor, patientId=patient["id"])
    assert not (await judged(doctor, "release", only(await judged(doctor, "review", found)))).errors
    assert (await now_of(doctor, order))["status"] == "RELEASED"
    assert (await lab.send({**event, "eventId": f"{event['eventId']}-2", "version": 2})).status_code == 200
    order = await now_of(doctor, order)
    assert order["status"] == "RESULTED"
    assert [edge["node"]["current"] for edge in order["results"]["edges"]].count(True) == 1


async def test_an_order_with_several_results_waits_for_the_last_though_all_are_judged_at_once(
    doctor: Client, lab: Lab, patient: Row
) -> None:
    order = await ordered(doctor, patient)
    for _ in range(6):
        await delivered(lab, patient, order)
    found = await results(doctor, patientId=patient["id"])
    first = only(await judged(doctor, "review", found[0]))
    assert not (await judged(doctor, "release", first)).errors
    assert (await now_of(doctor, order))["status"] == "RESULTED"
    answers = await asyncio.gather(*(judged(doctor, "review", one) for one in found[1:]))
    assert (await now_of(doctor, order))["status"] == "REVIEWED"
    answers = await asyncio.gather(*(judged(doctor, "release", only(one)) for one in answers))
    assert [one.errors for one in answers] == [[]] * 5
    assert (await now_of(doctor, order))["status"] == "RELEASED"


async def test_a_report_that_names_another_patients_order_waits_for_a_person(
    doctor: Client, lab: Lab, patient: Row
) -> None:
    order = await ordered(doctor, await register(doctor))
    event = await delivered(lab, patient, order)
    message = await quarantined(doctor, event["eventId"])
    assert message is not None
    assert message["reason"] == "ORDER_DIFFERS"
    assert await results(doctor, patientId=patient["id"]) == []
    assign = "mutation($input: AssignLabMessageInput!) { assignLabMessage(input: $input) { status } }"
    input = {"labMessageId": message["id"], "patientId": patient["id"], "version": message["version"]}
    assert not (await doctor.gql(assign, input=input)).errors
    assert (await now_of(doctor, order))["status"] == "ORDERED"
    assert len(await results(doctor, patientId=patient["id"])) == 1


async def test_a_report_without_a_known_order_is_filed_as_ever(doctor: Client, lab: Lab, patient: Row) -> None:
    await delivered(lab, patient, {"number": "elsewhere-7"})
    [found] = await results(doctor, patientId=patient["id"])
    assert found["orderNumber"] == "elsewhere-7"


async def test_the_clinics_own_laboratory_enters_results(doctor: Client, clinic: Clinic, patient: Row) -> None:
    order = await ordered(doctor, patient)
    made = only(await doctor.gql(RECORD, input={"labOrderId": order["id"], "observations": [GLUCOSE]}))
    assert (made["status"], made["accession"]) == ("RESULTED", order["number"])
    order = await now_of(doctor, order)
    assert order["status"] == "RESULTED"
    assert order["results"]["edges"][0]["node"]["observations"] == [{"value": "5.40"}]
    [found] = await results(doctor, patientId=patient["id"])
    assert found["history"][0] == {
        "action": "entered",
        "status": "RESULTED",
        "by": {"name": clinic.staff["doctor"].name},
    }
    for wrong, path in (
        ({"labOrderId": NOWHERE}, "input.labOrderId"),
        ({"observations": []}, "input.observations"),
        ({"observations": [{**GLUCOSE, "loinc": "2345-1"}]}, "input.observations.0.loinc"),
        ({"performedAt": "2199-01-01T00:00:00Z"}, "input.performedAt"),
    ):
        input: Row = {"labOrderId": order["id"], "observations": [GLUCOSE], **wrong}
        assert (await doctor.gql(RECORD, input=input)).paths == [path]


async def test_a_cancelled_order_takes_nothing_and_one_with_results_is_not_cancelled(
    doctor: Client, patient: Row
) -> None:
    order = await ordered(doctor, patient)
    assert not (await step(doctor, "cancelLabOrder", order, reason="Done elsewhere")).errors
    late = await doctor.gql(RECORD, input={"labOrderId": order["id"], "observations": [GLUCOSE]})
    assert late.codes == ["INVALID_STATE"]
    other = await ordered(doctor, patient)
    assert not (await doctor.gql(RECORD, input={"labOrderId": other["id"], "observations": [GLUCOSE]})).errors
    refused = await step(doctor, "cancelLabOrder", await now_of(doctor, other), reason="Too late")
    assert (refused.codes, "REVIEWED" in refused.errors[0]["message"]) == (["INVALID_STATE"], True)


async def test_orders_are_found_by_number_and_numbers_are_given_once(doctor: Client, patient: Row) -> None:
    answers = await asyncio.gather(*(ordered(doctor, patient) for _ in range(20)))
    numbers = [one["number"] for one in answers]
    assert len(set(numbers)) == 20
    found = only(await doctor.gql(LIST, filter={"number": numbers[3].lower()}))
    assert found["edges"] == [{"node": {"number": numbers[3]}}]


BY = "query($filter: LabResultFilter) { labResults(filter: $filter) { edges { node { id abnormal doctor { id } } } } }"


async def listed(client: Client, patient: Row, **filter: Any) -> list[Row]:
    answer = await client.gql(BY, filter={"patientId": patient["id"], **filter})
    return [edge["node"] for edge in answer.data["labResults"]["edges"]]


async def test_results_are_listed_by_the_doctor_who_ordered_and_by_whether_a_value_is_abnormal(
    doctor: Client, lab: Lab, clinic: Clinic
) -> None:
    """Entered at the clinic and delivered by a laboratory; without an order nobody ordered it."""
    me, nurse, patient = str(clinic.staff["doctor"].id), str(clinic.staff["nurse"].id), await register(doctor)
    entered = await ordered(doctor, patient)
    odd = {**GLUCOSE, "flag": "CRITICAL_HIGH"}
    await doctor.gql(RECORD, input={"labOrderId": entered["id"], "observations": [GLUCOSE, odd]})
    await delivered(lab, patient, await ordered(doctor, patient))
    await delivered(lab, patient, {"number": "elsewhere-9"})

    abnormal, normal = await listed(doctor, patient, abnormal=True), await listed(doctor, patient, abnormal=False)

    assert [(one["abnormal"], one["doctor"]) for one in abnormal] == [(True, {"id": me})]
    assert sorted(str(one["doctor"]) for one in normal) == sorted([str({"id": me}), "None"])
    mine = {one["id"] for one in (*abnormal, *normal) if one["doctor"]}
    assert {one["id"] for one in await listed(doctor, patient, doctorId=me)} == mine
    assert await listed(doctor, patient, doctorId=nurse) == []
    assert await listed(doctor, patient, doctorId=me, abnormal=True) == abnormal


async def test_a_result_from_before_is_listed_with_the_abnormal_ones_until_a_job_has_read_it(
    doctor: Client, clinic: Clinic
) -> None:
    patient = await register(doctor)
    order = await ordered(doctor, patient)
    made = only(await doctor.gql(RECORD, input={"labOrderId": order["id"], "observations": [GLUCOSE]}))
    async with tenant_scope(clinic.ref):
        await LabResult.guarded().update_many({"patient_id": ObjectId(patient["id"])}, {"$unset": {"abnormal": ""}})
    assert [one["id"] for one in await listed(doctor, patient, abnormal=True)] == [made["id"]]

    async with tenant_scope(clinic.ref):
        assert (await mark_abnormal(), await mark_abnormal()) == (1, 0)

    assert await listed(doctor, patient, abnormal=True) == []
    assert [one["id"] for one in await listed(doctor, patient, abnormal=False)] == [made["id"]]
