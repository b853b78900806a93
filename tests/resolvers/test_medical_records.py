"""The problem list over GraphQL: entries that are active, over, back, or were never true."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from tests.fixtures.clinics import Client, Clinic
from tests.fixtures.people import SignedIn
from tests.resolvers.care_calls import RECORD, Row, only, started, step
from tests.resolvers.patient_calls import register

ADD = f"mutation($input: AddMedicalRecordInput!) {{ addMedicalRecord(input: $input) {RECORD} }}"
CHANGE = f"mutation($input: UpdateMedicalRecordInput!) {{ updateMedicalRecord(input: $input) {RECORD} }}"
RESOLVE = f"mutation($input: ResolveMedicalRecordInput!) {{ resolveMedicalRecord(input: $input) {RECORD} }}"
LIST = f"""query($filter: MedicalRecordFilter!) {{
    medicalRecords(filter: $filter) {{ totalCount edges {{ node {RECORD} }} }} }}"""
ASTHMA = {"system": "ICD_10", "edition": "2019", "code": "J45.9", "text": "Asthma"}


@pytest_asyncio.fixture
async def doctor(signed_in: SignedIn, clinic_a: Clinic) -> Client:
    return await signed_in(clinic_a, "doctor")


@pytest_asyncio.fixture
async def patient(admin: Client) -> str:
    return str((await register(admin))["id"])


async def added(client: Client, patient_id: str, **values: Any) -> Row:
    found: Row = only(await client.gql(ADD, input={"patientId": patient_id, "diagnosis": ASTHMA, **values}))
    return found


async def listed(client: Client, **filter: Any) -> list[Row]:
    return [edge["node"] for edge in only(await client.gql(LIST, filter=filter))["edges"]]


async def test_a_problem_is_listed_resolved_and_comes_back(doctor: Client, clinic_a: Clinic, patient: str) -> None:
    visit = await started(doctor, patient)
    entry = await added(doctor, patient, onset="2019-05-01", note="As a child", visitIds=[visit["id"]])
    assert (entry["status"], entry["kind"], entry["onset"]) == ("ACTIVE", "PROBLEM", "2019-05-01")
    assert entry["visits"] == [{"id": visit["id"]}]
    assert entry["recordedBy"] == {"name": clinic_a.staff["doctor"].name}
    input = {"id": entry["id"], "version": 1, "resolvedOn": "2024-01-31"}
    over = only(await doctor.gql(RESOLVE, input=input))
    assert (over["status"], over["resolvedOn"]) == ("RESOLVED", "2024-01-31")
    assert (await doctor.gql(RESOLVE, input={**input, "version": 2})).codes == ["INVALID_STATE"]
    assert await listed(doctor, patientId=patient, status="ACTIVE") == []
    back = only(await step(doctor, "reopenMedicalRecord", over, RECORD))
    assert (back["status"], back["resolvedOn"]) == ("ACTIVE", None)
    assert await listed(doctor, patientId=patient) == [back]


async def test_an_entry_is_changed_until_it_turns_out_wrong(doctor: Client, patient: str) -> None:
    entry = await added(doctor, patient, kind="FAMILY_HISTORY")
    input = {"id": entry["id"], "version": 1, "note": "Mother", "diagnosis": {"text": "Diabetes"}}
    entry = only(await doctor.gql(CHANGE, input=input))
    assert (entry["note"], entry["diagnosis"]["text"], entry["diagnosis"]["code"]) == ("Mother", "Diabetes", None)
    wrong = only(await step(doctor, "markMedicalRecordInError", entry, RECORD, reason="Another patient's"))
    assert wrong["history"][-1] == {"status": "ENTERED_IN_ERROR", "reason": "Another patient's"}
    late = await doctor.gql(CHANGE, input={"id": entry["id"], "version": wrong["version"], "note": "x"})
    assert (late.codes, "What may follow: nothing." in late.errors[0]["message"]) == (["INVALID_STATE"], True)


async def test_visits_of_another_patient_are_not_linked(doctor: Client, admin: Client, patient: str) -> None:
    other = await started(doctor, (await register(admin))["id"])
    input = {"patientId": patient, "diagnosis": ASTHMA, "visitIds": [other["id"]]}
    answer = await doctor.gql(ADD, input=input)
    assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.visitIds"])
    entry = await added(doctor, patient)
    linked = await doctor.gql(CHANGE, input={"id": entry["id"], "version": 1, "visitIds": [other["id"]]})
    assert (linked.codes, linked.paths) == (["NOT_FOUND"], ["input.visitIds"])


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"diagnosis": {"text": " "}}, "input.diagnosis.text"),
        ({"diagnosis": {**ASTHMA, "code": "J4"}}, "input.diagnosis.code"),
        ({"note": "x" * 5001}, "input.note"),
    ],
    ids=str,
)
async def test_bad_values_are_refused_at_their_path(
    doctor: Client, patient: str, wrong: dict[str, Any], path: str
) -> None:
    answer = await doctor.gql(ADD, input={"patientId": patient, "diagnosis": ASTHMA, **wrong})
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
    assert await listed(doctor, patientId=patient) == []


async def test_nothing_ends_in_the_future(doctor: Client, patient: str) -> None:
    entry = await added(doctor, patient)
    answer = await doctor.gql(RESOLVE, input={"id": entry["id"], "version": 1, "resolvedOn": "2199-01-01"})
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.resolvedOn"])
