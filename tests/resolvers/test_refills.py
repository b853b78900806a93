"""Requests for refills over GraphQL: one open at a time, counted off once, refused with an answer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest_asyncio

from tests.fixtures.clinics import Answer, Client, Clinic
from tests.fixtures.people import SignedIn
from tests.resolvers.care_calls import Row, item, medicine, only, prescribed, rx_signed, step
from tests.resolvers.patient_calls import register

FIELDS = """{ id version status itemNumbers note answer byPatient requestedBy { name } decidedBy { name }
    prescription { id version items { refillsLeft } } }"""
ASK = f"mutation($input: RequestRefillInput!) {{ requestRefill(input: $input) {FIELDS} }}"
APPROVE = f"mutation($input: ApproveRefillInput!) {{ approveRefill(input: $input) {FIELDS} }}"
DECLINE = f"mutation($input: DeclineRefillInput!) {{ declineRefill(input: $input) {FIELDS} }}"
LIST = f"query($filter: RefillRequestFilter) {{ refillRequests(filter: $filter) {{ edges {{ node {FIELDS} }} }} }}"


@pytest_asyncio.fixture
async def doctor(signed_in: SignedIn, clinic_a: Clinic) -> Client:
    return await signed_in(clinic_a, "doctor")


@pytest_asyncio.fixture
async def prescription(doctor: Client, clinic_a: Clinic) -> Row:
    """Two items: one with two refills, one without any."""
    first, second = await medicine(clinic_a, "Metformin", "A10BA02"), await medicine(clinic_a, "Losartan", "C09CA01")
    patient = (await register(doctor))["id"]
    return await rx_signed(doctor, await prescribed(doctor, patient, item(first, refills=2), item(second)))


async def ask(client: Client, prescription: Row, **values: Any) -> Answer:
    return await client.gql(ASK, input={"prescriptionId": prescription["id"], **values})


async def decide(client: Client, document: str, request: Row, **values: Any) -> Answer:
    return await client.gql(document, input={"id": request["id"], "version": request["version"], **values})


async def test_a_refill_is_asked_for_and_counted_off_once(doctor: Client, clinic_a: Clinic, prescription: Row) -> None:
    made = only(await ask(doctor, prescription, note="Travels"))
    assert (made["status"], made["itemNumbers"], made["byPatient"]) == ("REQUESTED", [1], False)
    assert made["requestedBy"] == {"name": clinic_a.staff["doctor"].name}
    answers = await asyncio.gather(*(decide(doctor, APPROVE, made, answer="Come by") for _ in range(20)))
    [granted] = [only(one) for one in answers if not one.errors]
    assert (granted["status"], granted["answer"]) == ("APPROVED", "Come by")
    assert [one["refillsLeft"] for one in granted["prescription"]["items"]] == [1, 0]
    assert {code for one in answers for code in one.codes} <= {"INVALID_STATE", "CONFLICT"}


async def test_one_request_is_open_at_a_time(doctor: Client, prescription: Row) -> None:
    answers = await asyncio.gather(*(ask(doctor, prescription) for _ in range(20)))
    [made] = [only(one) for one in answers if not one.errors]
    assert {(one.codes[0], one.paths[0]) for one in answers if one.errors} == {("CONFLICT", "input.prescriptionId")}
    declined = only(await decide(doctor, DECLINE, made, answer="Come and see me first."))
    assert (declined["status"], declined["prescription"]["items"][0]["refillsLeft"]) == ("DECLINED", 2)
    assert not (await ask(doctor, prescription)).errors


async def test_no_more_is_granted_than_was_prescribed(doctor: Client, prescription: Row) -> None:
    for _ in range(2):
        assert not (await decide(doctor, APPROVE, only(await ask(doctor, prescription)))).errors
    assert (await ask(doctor, prescription)).codes == ["INVALID_STATE"]


async def test_items_without_refills_are_not_asked_for(doctor: Client, prescription: Row) -> None:
    for numbers, path in (([2], "input.itemNumbers.0"), ([1, 9], "input.itemNumbers.1")):
        answer = await ask(doctor, prescription, itemNumbers=numbers)
        assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])


async def test_what_is_stopped_meanwhile_is_not_granted_and_the_request_stays_open(
    doctor: Client, prescription: Row
) -> None:
    made = only(await ask(doctor, prescription))
    assert not (await step(doctor, "stopPrescription", prescription, reason="Rash")).errors
    assert (await decide(doctor, APPROVE, made)).codes == ["INVALID_STATE"]
    filter = {"prescriptionId": prescription["id"], "status": "REQUESTED"}
    [open_one] = only(await doctor.gql(LIST, filter=filter))["edges"]
    assert open_one["node"]["version"] == made["version"]
    assert not (await step(doctor, "withdrawRefill", made)).errors
    assert (await ask(doctor, prescription)).codes == ["INVALID_STATE"]


async def test_a_draft_has_no_refills(doctor: Client, clinic_a: Clinic) -> None:
    key = await medicine(clinic_a, "Metformin", "A10BA02")
    draft = await prescribed(doctor, (await register(doctor))["id"], item(key, refills=1))
    assert (await ask(doctor, draft)).codes == ["INVALID_STATE"]


async def test_requests_are_listed_for_the_doctor_whose_prescription_it_is(
    signed_in: SignedIn, doctor: Client, clinic_a: Clinic, prescription: Row
) -> None:
    admin = await signed_in(clinic_a, "admin")
    made = only(await ask(admin, prescription))
    mine, others = str(clinic_a.staff["doctor"].id), str(clinic_a.staff["nurse"].id)

    listed = only(await doctor.gql(LIST, filter={"doctorId": mine}))["edges"]

    assert made["id"] in {edge["node"]["id"] for edge in listed}
    assert only(await doctor.gql(LIST, filter={"doctorId": others}))["edges"] == []
    shown = await doctor.gql("query($id: ID!) { refillRequest(id: $id) { doctor { id } } }", id=made["id"])
    assert shown.data["refillRequest"]["doctor"] == {"id": mine}
