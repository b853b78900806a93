"""What patients see of their care in the portal, and how they ask for refills."""

from __future__ import annotations

import asyncio

import pytest_asyncio

from tests.fixtures.clinics import Client, Clinic
from tests.fixtures.people import SignedIn
from tests.fixtures.portal import Visit, Visitor
from tests.resolvers.care_calls import Row, fully_treated, only, step

CARE = """{ patientVisits { edges { node { id plan reason diagnoses { text } doctor { name } } } }
    patientPrescriptions { edges { node { id number status items { name dose refillsLeft instructions } } } }
    patientImaging { edges { node { id bodySite findings } } } }"""
ASK = """mutation($input: PatientRequestRefillInput!) { patientRequestRefill(input: $input) {
    id version status note prescription { number } } }"""
WITHDRAW = "mutation($input: PatientWithdrawRefillInput!) { patientWithdrawRefill(input: $input) { id status } }"
MINE = "{ patientRefillRequests { edges { node { id status answer } } } }"
REQUESTS = """{ refillRequests(filter: {status: REQUESTED}) { edges { node {
    id version byPatient requestedBy { name } note } } } }"""
DECLINE = "mutation($input: DeclineRefillInput!) { declineRefill(input: $input) { status } }"


@pytest_asyncio.fixture
async def doctor(signed_in: SignedIn, clinic_a: Clinic) -> Client:
    return await signed_in(clinic_a, "doctor")


@pytest_asyncio.fixture
async def visitor(visit: Visit, clinic_a: Clinic) -> Visitor:
    return await visit(clinic_a)


@pytest_asyncio.fixture
async def made(doctor: Client, clinic_a: Clinic, visitor: Visitor) -> dict[str, Row]:
    return await fully_treated(doctor, clinic_a, str(visitor.patient_id))


async def test_patients_see_what_was_signed_or_released_and_nothing_unfinished(
    visitor: Visitor, made: dict[str, Row]
) -> None:
    answer = await visitor.client.gql(CARE)
    seen = {name: [edge["node"] for edge in page["edges"]] for name, page in answer.data.items()}
    [visit], [rx], [study] = seen["patientVisits"], seen["patientPrescriptions"], seen["patientImaging"]
    assert (visit["id"], visit["plan"]) == (made["visit"]["id"], "Rest & ice")
    assert (rx["number"], rx["items"][0]["refillsLeft"]) == (made["prescription"]["number"], 1)
    assert study["findings"] == "No fracture."
    assert "unfinished" not in answer.response.text
    assert "Fell" not in answer.response.text


async def test_what_is_corrected_is_hidden_until_it_is_released_anew(
    doctor: Client, visitor: Visitor, made: dict[str, Row]
) -> None:
    report = "mutation($input: ReportImagingInput!) { reportImaging(input: $input) { id version } }"
    study = made["imaging"]
    told = {"id": study["id"], "version": study["version"], "findings": "A crack."}
    study = only(await doctor.gql(report, input=told))
    assert (await visitor.asks(CARE))["patientImaging"]["edges"] == []
    await step(doctor, "releaseImaging", study)
    [edge] = (await visitor.asks(CARE))["patientImaging"]["edges"]
    assert edge["node"]["findings"] == "A crack."
    await step(doctor, "markVisitInError", made["visit"], reason="Another patient's")
    assert (await visitor.asks(CARE))["patientVisits"]["edges"] == []


async def test_a_patient_asks_for_a_refill_once_and_reads_the_answer(
    doctor: Client, visitor: Visitor, made: dict[str, Row]
) -> None:
    input = {"prescriptionId": made["prescription"]["id"], "note": "Before my holidays"}
    answers = await asyncio.gather(*(visitor.client.gql(ASK, input=input) for _ in range(10)))
    [asked] = [only(one) for one in answers if not one.errors]
    assert (asked["status"], asked["prescription"]["number"]) == ("REQUESTED", made["prescription"]["number"])
    waiting = [edge["node"] for edge in only(await doctor.gql(REQUESTS))["edges"]]
    found = next(one for one in waiting if one["id"] == asked["id"])
    assert (found["byPatient"], found["requestedBy"], found["note"]) == (True, None, "Before my holidays")
    told = {"id": asked["id"], "version": asked["version"], "answer": "See me first."}
    assert not (await doctor.gql(DECLINE, input=told)).errors
    [edge] = (await visitor.asks(MINE))["patientRefillRequests"]["edges"]
    assert edge["node"] == {"id": asked["id"], "status": "DECLINED", "answer": "See me first."}
    late = await visitor.client.gql(WITHDRAW, input={"id": asked["id"], "version": asked["version"] + 1})
    assert late.codes == ["INVALID_STATE"]


async def test_nobody_asks_for_or_takes_back_what_is_anothers(
    visitor: Visitor, visit: Visit, clinic_a: Clinic, made: dict[str, Row]
) -> None:
    other = await visit(clinic_a)
    stolen = await other.client.gql(ASK, input={"prescriptionId": made["prescription"]["id"]})
    assert (stolen.codes, stolen.paths) == (["NOT_FOUND"], ["input.prescriptionId"])
    asked = only(await visitor.client.gql(ASK, input={"prescriptionId": made["prescription"]["id"]}))
    theirs = await other.client.gql(WITHDRAW, input={"id": asked["id"], "version": asked["version"]})
    assert (theirs.codes, theirs.paths) == (["NOT_FOUND"], ["input.id"])
    mine = only(await visitor.client.gql(WITHDRAW, input={"id": asked["id"], "version": asked["version"]}))
    assert mine["status"] == "CANCELLED"
