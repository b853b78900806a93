"""Imaging over GraphQL: from the order to a report that the patient may see, and its corrections."""

from __future__ import annotations

from typing import Any

import pytest_asyncio

from tests.fixtures.clinics import Client, Clinic
from tests.fixtures.people import SignedIn
from tests.resolvers.care_calls import Row, only, step
from tests.resolvers.patient_calls import register

FIELDS = """{ id version status number modality bodySite laterality scheduledAt performedAt releasedAt
    report { findings impression by { name } } reports { findings } history { status } }"""
ORDER = f"mutation($input: OrderImagingInput!) {{ orderImaging(input: $input) {FIELDS} }}"
SCHEDULE = f"mutation($input: ScheduleImagingInput!) {{ scheduleImaging(input: $input) {FIELDS} }}"
PERFORM = f"mutation($input: PerformImagingInput!) {{ performImaging(input: $input) {FIELDS} }}"
REPORT = f"mutation($input: ReportImagingInput!) {{ reportImaging(input: $input) {FIELDS} }}"
LIST = f"query($filter: ImagingFilter) {{ imagingStudies(filter: $filter) {{ edges {{ node {FIELDS} }} }} }}"


@pytest_asyncio.fixture
async def doctor(signed_in: SignedIn, clinic_a: Clinic) -> Client:
    return await signed_in(clinic_a, "doctor")


@pytest_asyncio.fixture
async def study(doctor: Client) -> Row:
    patient = (await register(doctor))["id"]
    input = {"patientId": patient, "modality": "DX", "bodySite": "Knee", "laterality": "LEFT", "reason": "A fall"}
    made: Row = only(await doctor.gql(ORDER, input=input))
    return {**made, "patient": patient}


async def on(client: Client, document: str, study: Row, **values: Any) -> Row:
    found: Row = only(await client.gql(document, input={"id": study["id"], "version": study["version"], **values}))
    return found


async def test_a_study_goes_from_order_to_release(doctor: Client, clinic_a: Clinic, study: Row) -> None:
    assert (study["status"], study["number"][:3], study["report"]) == ("ORDERED", "IM-", None)
    one = await on(doctor, SCHEDULE, study, scheduledAt="2030-01-07T15:00:00Z")
    one = await on(doctor, SCHEDULE, one, scheduledAt="2030-01-08T15:00:00Z")
    one = await on(doctor, PERFORM, one)
    assert (await step(doctor, "releaseImaging", one)).codes == ["INVALID_STATE"]
    one = await on(doctor, REPORT, one, findings="No fracture.", impression="Normal.")
    assert one["report"]["by"] == {"name": clinic_a.staff["doctor"].name}
    one = only(await step(doctor, "releaseImaging", one, FIELDS))
    assert one["releasedAt"]
    steps = ["SCHEDULED", "SCHEDULED", "PERFORMED", "REPORTED", "RELEASED"]
    assert [taken["status"] for taken in one["history"]] == steps
    listed = only(await doctor.gql(LIST, filter={"patientId": study["patient"]}))
    assert [edge["node"]["id"] for edge in listed["edges"]] == [study["id"]]


async def test_a_correction_takes_the_release_back_and_loses_nothing(doctor: Client, study: Row) -> None:
    one = await on(doctor, REPORT, await on(doctor, PERFORM, study), findings="No fracture.")
    one = only(await step(doctor, "releaseImaging", one, FIELDS))
    one = await on(doctor, REPORT, one, findings="A hairline fracture.")
    assert (one["status"], one["releasedAt"]) == ("REPORTED", None)
    assert one["report"]["findings"] == "A hairline fracture."
    assert [report["findings"] for report in one["reports"]] == ["No fracture.", "A hairline fracture."]


async def test_bad_values_and_stale_versions_change_nothing(doctor: Client, study: Row) -> None:
    one = await on(doctor, PERFORM, study)
    input = {"id": one["id"], "version": one["version"], "findings": " "}
    assert (await doctor.gql(REPORT, input=input)).paths == ["input.findings"]
    assert (await doctor.gql(REPORT, input={**input, "version": 1, "findings": "x"})).codes == ["CONFLICT"]
    future = await doctor.gql(PERFORM, input={"id": one["id"], "version": 1, "performedAt": "2199-01-01T00:00:00Z"})
    assert future.paths == ["input.performedAt"]
    assert (await step(doctor, "cancelImaging", one, reason="Too late")).codes == ["INVALID_STATE"]


async def test_nurses_see_and_do_not_order(signed_in: SignedIn, clinic_a: Clinic, study: Row) -> None:
    nurse = await signed_in(clinic_a, "nurse")
    assert not (await nurse.gql(LIST)).errors
    assert (await step(nurse, "cancelImaging", study, reason="x")).codes == ["FORBIDDEN"]
