"""Procedures over GraphQL: planned, begun, done, broken off."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from models.values import now
from tests.fixtures.clinics import Client, Clinic
from tests.fixtures.people import SignedIn
from tests.resolvers.care_calls import Row, only, step
from tests.resolvers.patient_calls import register

FIELDS = """{ id version status name coding { system edition code } startedAt endedAt findings outcome complications
    performedBy { name } history { status reason } }"""
PLAN = f"mutation($input: PlanProcedureInput!) {{ planProcedure(input: $input) {FIELDS} }}"
COMPLETE = f"mutation($input: CompleteProcedureInput!) {{ completeProcedure(input: $input) {FIELDS} }}"
STOP = f"mutation($input: StopProcedureInput!) {{ stopProcedure(input: $input) {FIELDS} }}"
LIST = "query($filter: ProcedureFilter) { procedures(filter: $filter) { edges { node { id } } } }"


@pytest_asyncio.fixture
async def doctor(signed_in: SignedIn, clinic_a: Clinic) -> Client:
    return await signed_in(clinic_a, "doctor")


@pytest_asyncio.fixture
async def patient(doctor: Client) -> str:
    return str((await register(doctor))["id"])


async def planned(client: Client, patient_id: str, **values: Any) -> Row:
    found: Row = only(await client.gql(PLAN, input={"patientId": patient_id, "name": "Wound suture", **values}))
    return found


async def over(client: Client, document: str, one: Row, **values: Any) -> Row:
    found: Row = only(await client.gql(document, input={"id": one["id"], "version": one["version"], **values}))
    return found


async def test_a_procedure_is_planned_begun_and_done(doctor: Client, clinic_a: Clinic, patient: str) -> None:
    code = {"system": "CPT", "edition": "2024", "code": "12001"}
    one = await planned(doctor, patient, coding=code, reason="A cut")
    assert (one["status"], one["coding"]) == ("PLANNED", code)
    one = only(await step(doctor, "startProcedure", one, FIELDS))
    one = await over(doctor, COMPLETE, one, findings="Clean", outcome="Closed")
    assert (one["status"], one["findings"], one["outcome"]) == ("COMPLETED", "Clean", "Closed")
    assert one["performedBy"] == {"name": clinic_a.staff["doctor"].name}
    assert one["startedAt"] <= one["endedAt"]
    assert (await step(doctor, "cancelProcedure", one, reason="x")).codes == ["INVALID_STATE"]
    wrong = only(await step(doctor, "markProcedureInError", one, FIELDS, reason="Another patient's"))
    assert [taken["status"] for taken in wrong["history"]] == ["IN_PROGRESS", "COMPLETED", "ENTERED_IN_ERROR"]


async def test_one_that_was_noted_afterwards_has_its_times(doctor: Client, patient: str) -> None:
    began, ended = now() - timedelta(hours=2), now() - timedelta(hours=1)
    one = await planned(doctor, patient)
    backwards = {"id": one["id"], "version": 1, "startedAt": ended.isoformat(), "endedAt": began.isoformat()}
    assert (await doctor.gql(COMPLETE, input=backwards)).paths == ["input.endedAt"]
    one = await over(doctor, COMPLETE, one, startedAt=began.isoformat(), endedAt=ended.isoformat())
    assert one["startedAt"] < one["endedAt"]


async def test_one_that_is_broken_off_says_why(doctor: Client, patient: str) -> None:
    one = only(await step(doctor, "startProcedure", await planned(doctor, patient), FIELDS))
    one = await over(doctor, STOP, one, reason="The patient asked", complications="None")
    assert (one["status"], one["history"][-1]["reason"]) == ("STOPPED", "The patient asked")
    found = only(await doctor.gql(LIST, filter={"patientId": patient, "status": "STOPPED"}))
    assert [edge["node"]["id"] for edge in found["edges"]] == [one["id"]]


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"name": " "}, "input.name"),
        ({"coding": {"system": "OPS", "code": "5-900"}}, "input.coding"),
        ({"coding": {"system": "LOCAL", "code": "x" * 19}}, "input.coding.code"),
    ],
    ids=str,
)
async def test_bad_values_are_refused_at_their_path(doctor: Client, patient: str, wrong: Row, path: str) -> None:
    answer = await doctor.gql(PLAN, input={"patientId": patient, "name": "Suture", **wrong})
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
