"""Referrals over GraphQL: written, sent, answered; what was sent stays as it was."""

from __future__ import annotations

from typing import Any

import pytest_asyncio

from models import Referral
from tests.fixtures.clinics import Client, Clinic
from tests.fixtures.people import SignedIn
from tests.resolvers.care_calls import Row, only, step, stored
from tests.resolvers.patient_calls import NOWHERE, register

FIELDS = """{ id version status recipient { name organization email } specialization { name } priority reason summary
    diagnoses { code text } sentAt sentBy { name } answer answeredAt history { status reason } }"""
WRITE = f"mutation($input: WriteReferralInput!) {{ writeReferral(input: $input) {FIELDS} }}"
UPDATE = f"mutation($input: UpdateReferralInput!) {{ updateReferral(input: $input) {FIELDS} }}"
ANSWER = "mutation($input: AnswerReferralInput!) { %sReferral(input: $input) " + FIELDS + " }"
LIST = "query($filter: ReferralFilter) { referrals(filter: $filter) { edges { node { id } } } }"
HEART = {"name": "Dr. Hart", "organization": "City Hospital", "email": "hart@example.com"}


@pytest_asyncio.fixture
async def doctor(signed_in: SignedIn, clinic_a: Clinic) -> Client:
    return await signed_in(clinic_a, "doctor")


@pytest_asyncio.fixture
async def patient(doctor: Client) -> str:
    return str((await register(doctor))["id"])


async def wrote(client: Client, patient_id: str, **values: Any) -> Row:
    found: Row = only(await client.gql(WRITE, input={"patientId": patient_id, "reason": "Murmur?", **values}))
    return found


async def answered(client: Client, verb: str, one: Row, answer: str | None = None) -> Row:
    input = {"id": one["id"], "version": one["version"], "answer": answer}
    found: Row = only(await client.gql(ANSWER % verb, input=input))
    return found


async def test_a_referral_is_written_sent_and_answered(doctor: Client, clinic_a: Clinic, patient: str) -> None:
    one = await wrote(doctor, patient, recipient=HEART, priority="URGENT", diagnoses=[{"text": "Murmur"}])
    input = {"id": one["id"], "version": 1, "summary": "Known since June."}
    one = only(await doctor.gql(UPDATE, input=input))
    one = only(await step(doctor, "sendReferral", one, FIELDS))
    assert (one["status"], one["sentBy"]) == ("SENT", {"name": clinic_a.staff["doctor"].name})
    before = await stored(clinic_a, Referral, one["id"])
    late = await doctor.gql(UPDATE, input={**input, "version": one["version"], "summary": "No."})
    assert late.codes == ["INVALID_STATE"]
    assert await stored(clinic_a, Referral, one["id"]) == before
    one = await answered(doctor, "accept", one)
    one = await answered(doctor, "complete", one, "Harmless.")
    assert (one["status"], one["answer"], one["summary"]) == ("COMPLETED", "Harmless.", "Known since June.")
    assert (await step(doctor, "cancelReferral", one, reason="x")).codes == ["INVALID_STATE"]


async def test_one_that_says_not_to_whom_is_not_sent(doctor: Client, patient: str) -> None:
    one = await wrote(doctor, patient)
    assert (await step(doctor, "sendReferral", one)).codes == ["INVALID_STATE"]
    one = only(await doctor.gql(UPDATE, input={"id": one["id"], "version": 1, "recipient": HEART}))
    one = only(await step(doctor, "sendReferral", one, FIELDS))
    one = await answered(doctor, "decline", one, "No room before June.")
    assert (one["status"], one["answer"]) == ("DECLINED", "No room before June.")


async def test_references_and_values_are_checked_at_their_path(doctor: Client, patient: str) -> None:
    for wrong, code, path in (
        ({"specializationId": NOWHERE}, "NOT_FOUND", "input.specializationId"),
        ({"visitId": NOWHERE}, "NOT_FOUND", "input.visitId"),
        ({"recipient": {"name": "x", "email": "none"}}, "VALIDATION_FAILED", "input.recipient.email"),
        ({"reason": "x" * 5001}, "VALIDATION_FAILED", "input.reason"),
    ):
        input = {"patientId": patient, "reason": "Why", **wrong}
        answer = await doctor.gql(WRITE, input=input)
        assert (answer.codes, answer.paths) == ([code], [path])
    assert only(await doctor.gql(LIST, filter={"patientId": patient}))["edges"] == []


async def test_nurses_do_not_see_referrals(signed_in: SignedIn, clinic_a: Clinic) -> None:
    assert (await (await signed_in(clinic_a, "nurse")).gql(LIST)).codes == ["FORBIDDEN"]
