"""A patient's history at the clinic: everything of whatever kind, by time, page after page, by permission."""

from __future__ import annotations

from typing import Any

import pytest_asyncio

from app.permissions import Permission
from tests.fixtures.clinics import Client, Clinic
from tests.fixtures.commands import Commands
from tests.fixtures.mirror import Mirror
from tests.fixtures.people import SignedIn
from tests.resolvers.care_calls import appointment, fully_treated, only, started, step
from tests.resolvers.patient_calls import register

HISTORY = """query($patientId: ID!, $first: Int! = 20, $after: String, $kinds: [CareKind!]) {
    careHistory(patientId: $patientId, first: $first, after: $after, kinds: $kinds) {
        kind at cursor visit { id status } prescription { id items { name } } imaging { id } procedure { id }
        referral { id } appointment { id } } }"""
BARE = "query($patientId: ID!, $first: Int!) { careHistory(patientId: $patientId, first: $first) { kind at } }"


@pytest_asyncio.fixture
async def doctor(signed_in: SignedIn, clinic_a: Clinic) -> Client:
    return await signed_in(clinic_a, "doctor")


async def history(client: Client, patient_id: str, **values: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = only(await client.gql(HISTORY, patientId=patient_id, **values))
    return found


async def test_everything_stands_there_by_time_and_pages_follow_each_other(
    doctor: Client, clinic_a: Clinic, commands: Commands
) -> None:
    patient = (await register(doctor))["id"]
    made = await fully_treated(doctor, clinic_a, patient)
    booked = await appointment(clinic_a, patient)
    wrong = await started(doctor, patient)
    await step(doctor, "markVisitInError", wrong, reason="Another patient's")

    whole = await history(doctor, patient)

    assert [one["at"] for one in whole] == sorted((one["at"] for one in whole), reverse=True)
    ids: dict[str, list[str]] = {one["kind"]: [] for one in whole}
    for one in whole:
        ids[one["kind"]].append(one[one["kind"].lower()]["id"])
    assert {kind: len(found) for kind, found in ids.items()} == {
        "VISIT": 2, "PRESCRIPTION": 2, "IMAGING": 2, "PROCEDURE": 2, "REFERRAL": 2, "APPOINTMENT": 1
    }  # fmt: skip
    assert ids["APPOINTMENT"] == [booked]
    assert made["visit"]["id"] in ids["VISIT"]
    assert wrong["id"] not in ids["VISIT"]

    paged: list[dict[str, Any]] = []
    after = None
    while page := await history(doctor, patient, first=3, after=after):
        paged, after = paged + page, page[-1]["cursor"]
    assert [(one["kind"], one["at"]) for one in paged] == [(one["kind"], one["at"]) for one in whole]

    commands.clear()
    assert len(only(await doctor.gql(BARE, patientId=patient, first=100))) == len(whole)
    read = [name for name, content in commands.seen if "visits" in str(content.get(name))]
    assert read == ["aggregate"], "one query, however much there is"


async def test_kinds_are_chosen_and_each_needs_its_permission(doctor: Client, clinic_a: Clinic, mirror: Mirror) -> None:
    patient = (await register(doctor))["id"]
    await fully_treated(doctor, clinic_a, patient)
    chosen = await history(doctor, patient, kinds=["REFERRAL", "PRESCRIPTION"])
    assert {one["kind"] for one in chosen} == {"REFERRAL", "PRESCRIPTION"}

    side = mirror.spare
    generation = await side.grow()
    client = await side.person_with({Permission.VISIT_READ, Permission.IMAGING_READ})
    theirs = str(generation["patients"])
    seen = only(await client.gql(BARE, patientId=theirs, first=50))
    assert {one["kind"] for one in seen} == {"VISIT", "IMAGING"}
    refused = await client.gql(HISTORY, patientId=theirs, kinds=["REFERRAL"])
    assert refused.codes == ["FORBIDDEN"]


async def test_a_cursor_of_another_patient_and_a_wrong_page_are_refused(doctor: Client, clinic_a: Clinic) -> None:
    one, other = (await register(doctor))["id"], (await register(doctor))["id"]
    await started(doctor, one)
    [event] = await history(doctor, one)
    stolen = await doctor.gql(HISTORY, patientId=other, after=event["cursor"])
    assert (stolen.codes, stolen.paths) == (["VALIDATION_FAILED"], ["after"])
    for first in (0, 101):
        assert (await doctor.gql(HISTORY, patientId=one, first=first)).paths == ["first"]


async def test_another_clinic_sees_nothing_of_it(doctor: Client, stranger: Client) -> None:
    patient = (await register(doctor))["id"]
    await started(doctor, patient)
    answer = await stranger.gql(HISTORY, patientId=patient)
    assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["patientId"])
