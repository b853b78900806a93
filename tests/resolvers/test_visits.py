"""Visits over GraphQL: begun for an appointment or without, written, signed once, added to."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from beanie import PydanticObjectId

from models import Appointment, QueueEntry, Visit
from models.values import now
from tests.fixtures.clinics import Client, Clinic
from tests.fixtures.people import SignedIn
from tests.resolvers.care_calls import (
    ADD,
    START,
    VISIT,
    WRITE,
    appointment,
    only,
    queued,
    signed,
    started,
    step,
    stored,
    written,
)
from tests.resolvers.patient_calls import NOWHERE, register

ONE = f"query($id: ID!) {{ visit(id: $id) {VISIT} }}"
LIST = "query($filter: VisitFilter) { visits(first: 100, filter: $filter) { edges { node { id } } } }"
I10 = {"system": "ICD_10", "edition": "2019", "code": "i10", "text": "Essential hypertension"}


@pytest_asyncio.fixture
async def doctor(signed_in: SignedIn, clinic_a: Clinic) -> Client:
    return await signed_in(clinic_a, "doctor")


@pytest_asyncio.fixture
async def patient(admin: Client) -> str:
    return str((await register(admin))["id"])


async def listed(client: Client, **filter: Any) -> list[str]:
    return [edge["node"]["id"] for edge in only(await client.gql(LIST, filter=filter))["edges"]]


async def test_a_walk_in_is_seen_written_and_signed(doctor: Client, clinic_a: Clinic, patient: str) -> None:
    visit = await started(doctor, patient, reason="Headache")
    assert (visit["status"], visit["encounterClass"], visit["version"]) == ("OPEN", "AMB", 1)
    assert visit["doctor"]["id"] == str(clinic_a.staff["doctor"].id)

    visit = await written(
        doctor,
        visit,
        subjective="Since Monday.",
        objective="160/95.",
        assessment="Hypertension.",
        plan="Control in a week.",
        vitals={"systolicMmhg": 160, "diastolicMmhg": 95, "temperatureCelsius": "36.8", "weightKg": "82.5"},
        diagnoses=[{**I10, "primary": True}, {"text": "Tired", "certainty": "UNCONFIRMED"}],
    )
    assert [one["code"] for one in visit["diagnoses"]] == ["I10", None]
    assert visit["diagnoses"][0]["edition"] == "2019"
    assert (visit["vitals"]["temperatureCelsius"], visit["vitals"]["weightKg"]) == ("36.8", "82.5")
    assert visit["reason"] == "Headache"

    visit = await signed(doctor, visit)
    assert visit["status"] == "SIGNED"
    assert visit["signedBy"] == {"name": clinic_a.staff["doctor"].name}
    assert visit["signedAt"] == visit["endedAt"]
    assert [one["status"] for one in visit["history"]] == ["SIGNED"]
    assert only(await doctor.gql(ONE, id=visit["id"])) == visit


async def test_what_is_signed_never_changes_and_can_be_added_to(doctor: Client, clinic_a: Clinic, patient: str) -> None:
    visit = await signed(doctor, await written(doctor, await started(doctor, patient), assessment="A cold."))
    before = await stored(clinic_a, Visit, visit["id"])
    changes: list[dict[str, Any]] = [{"assessment": "Pneumonia."}, {"diagnoses": []}, {"encounterClass": "EMER"}]
    for changed in changes:
        late = await doctor.gql(WRITE, input={"id": visit["id"], "version": visit["version"], **changed})
        assert late.codes == ["INVALID_STATE"]
        assert "SIGNED. What may follow: AMENDED, ENTERED_IN_ERROR." in late.errors[0]["message"]
    for name in ("signVisit", "finishVisit"):
        assert (await step(doctor, name, visit)).codes == ["INVALID_STATE"]
    assert await stored(clinic_a, Visit, visit["id"]) == before

    for number in (1, 2):
        input = {"visitId": visit["id"], "version": visit["version"], "text": f"Called on day {number}."}
        visit = only(await doctor.gql(ADD, input=input))
    assert visit["status"] == "AMENDED"
    assert [one["text"] for one in visit["addenda"]] == ["Called on day 1.", "Called on day 2."]
    assert visit["addenda"][0]["by"] == {"name": clinic_a.staff["doctor"].name}
    after = await stored(clinic_a, Visit, visit["id"])
    kept = ("assessment", "diagnoses", "signed_at", "signed_by", "ended_at")
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}


async def test_an_open_visit_is_not_added_to_and_an_empty_addendum_is_none(doctor: Client, patient: str) -> None:
    visit = await started(doctor, patient)
    early = await doctor.gql(ADD, input={"visitId": visit["id"], "version": 1, "text": "Too early."})
    assert early.codes == ["INVALID_STATE"]
    visit = await signed(doctor, visit)
    empty = await doctor.gql(ADD, input={"visitId": visit["id"], "version": visit["version"], "text": "  "})
    assert (empty.codes, empty.paths) == (["VALIDATION_FAILED"], ["input.text"])


async def test_an_appointment_leads_to_one_visit(doctor: Client, clinic_a: Clinic, patient: str) -> None:
    booked = await appointment(clinic_a, patient)
    input = {"patientId": patient, "appointmentId": booked}
    answers = await asyncio.gather(*(doctor.gql(START, input=input) for _ in range(20)))
    made = [only(one) for one in answers if not one.errors]
    assert len(made) == 1
    assert made[0]["appointment"] == {"id": booked}
    assert made[0]["doctor"]["id"] == str(clinic_a.staff["doctor"].id)
    refused = [one for one in answers if one.errors]
    assert {(one.codes[0], one.paths[0]) for one in refused} == {("CONFLICT", "input.appointmentId")}
    await step(doctor, "markVisitInError", made[0], reason="Wrong patient opened")
    assert (await started(doctor, patient, appointmentId=booked))["status"] == "OPEN"


@pytest.mark.parametrize("status", ["cancelled", "fulfilled", "no_show", "entered_in_error"])
async def test_no_visit_begins_with_an_appointment_that_is_over(
    doctor: Client, clinic_a: Clinic, patient: str, status: str
) -> None:
    over = await appointment(clinic_a, patient, status)
    assert (await doctor.gql(START, input={"patientId": patient, "appointmentId": over})).codes == ["INVALID_STATE"]


@pytest.mark.parametrize("status", ["waiting", "called", "in_service"])
async def test_a_visit_from_the_queue_serves_the_patient_and_lets_them_go(
    doctor: Client, clinic_a: Clinic, patient: str, status: str
) -> None:
    booked = await appointment(clinic_a, patient, "booked")
    entry = await queued(clinic_a, patient, status, appointment_id=PydanticObjectId(booked))
    visit = await started(doctor, patient, queueEntryId=entry)
    assert visit["appointment"] == {"id": booked}
    assert (await stored(clinic_a, QueueEntry, entry))["status"] == "in_service"
    assert (await stored(clinic_a, Appointment, booked))["status"] == "checked_in"
    visit = only(await step(doctor, "finishVisit", visit))
    assert (await stored(clinic_a, QueueEntry, entry))["status"] == "done"
    assert (await stored(clinic_a, Appointment, booked))["status"] == "fulfilled"
    assert (await signed(doctor, visit))["status"] == "SIGNED"


async def test_signing_ends_what_nobody_has_ended(doctor: Client, clinic_a: Clinic, patient: str) -> None:
    booked, entry = await appointment(clinic_a, patient), await queued(clinic_a, patient)
    await signed(doctor, await started(doctor, patient, appointmentId=booked, queueEntryId=entry))
    assert (await stored(clinic_a, QueueEntry, entry))["status"] == "done"
    assert (await stored(clinic_a, Appointment, booked))["status"] == "fulfilled"


async def test_a_refused_signature_ends_nothing(doctor: Client, clinic_a: Clinic, patient: str) -> None:
    booked = await appointment(clinic_a, patient)
    visit = await started(doctor, patient, appointmentId=booked)
    assert (await step(doctor, "signVisit", {**visit, "version": 9})).codes == ["CONFLICT"]
    assert (await stored(clinic_a, Appointment, booked))["status"] == "checked_in"


async def test_a_place_in_the_queue_leads_to_one_visit_and_one_that_was_left_to_none(
    doctor: Client, admin: Client, clinic_a: Clinic, patient: str
) -> None:
    entry = await queued(clinic_a, patient)
    input = {"patientId": patient, "queueEntryId": entry}
    answers = await asyncio.gather(*(doctor.gql(START, input=input) for _ in range(20)))
    assert sum(not one.errors for one in answers) == 1
    assert {(one.codes[0], one.paths[0]) for one in answers if one.errors} == {("CONFLICT", "input.queueEntryId")}
    other = (await register(admin))["id"]
    left = await queued(clinic_a, other, "left")
    assert (await doctor.gql(START, input={"patientId": other, "queueEntryId": left})).codes == ["INVALID_STATE"]
    stolen = await doctor.gql(START, input={"patientId": other, "queueEntryId": entry})
    assert (stolen.codes, stolen.paths) == (["NOT_FOUND"], ["input.queueEntryId"])


async def test_references_that_are_not_the_clinics_or_the_patients_are_not_found(
    doctor: Client, admin: Client, stranger: Client, clinic_a: Clinic, clinic_b: Clinic, patient: str
) -> None:
    abroad = (await register(stranger))["id"]
    theirs = await appointment(clinic_a, (await register(admin))["id"])
    foreign = await appointment(clinic_b, abroad)
    for wrong, path in (
        ({"patientId": abroad}, "input.patientId"),
        ({"patientId": NOWHERE}, "input.patientId"),
        ({"appointmentId": theirs}, "input.appointmentId"),
        ({"appointmentId": foreign}, "input.appointmentId"),
        ({"doctorId": str(clinic_b.staff["doctor"].id)}, "input.doctorId"),
        ({"serviceId": NOWHERE}, "input.serviceId"),
    ):
        answer = await doctor.gql(START, input={"patientId": patient, **wrong})
        assert (answer.codes, answer.paths) == (["NOT_FOUND"], [path])
    assert await listed(doctor, patientId=patient) == []


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"diagnoses": [{"text": "x", "system": "ICD_10", "edition": "2019"}]}, "input.diagnoses.0"),
        ({"diagnoses": [{"text": "x", "system": "ICD_10", "code": "I10"}]}, "input.diagnoses.0"),
        ({"diagnoses": [{**I10, "code": "I1"}]}, "input.diagnoses.0.code"),
        ({"diagnoses": [{**I10, "code": "I10.123"}]}, "input.diagnoses.0"),
        ({"diagnoses": [{**I10, "edition": "19"}]}, "input.diagnoses.0.edition"),
        ({"diagnoses": [{"text": "x", "code": "I10", "edition": "2019"}]}, "input.diagnoses.0"),
        ({"diagnoses": [{**I10, "system": "ICD_10_CM", "code": "S52.521AXX"}]}, "input.diagnoses.0"),
        ({"diagnoses": [{**I10, "system": "ICD_11", "code": "BO00"}]}, "input.diagnoses.0"),
        ({"diagnoses": [{**I10, "primary": True}, {**I10, "primary": True}]}, "input.diagnoses"),
        ({"vitals": {"systolicMmhg": 80, "diastolicMmhg": 120}}, "input.vitals"),
        ({"vitals": {"temperatureCelsius": "50"}}, "input.vitals.temperatureCelsius"),
        ({"vitals": {"temperatureCelsius": "36.85"}}, "input.vitals.temperatureCelsius"),
        ({"vitals": {"pain": 11}}, "input.vitals.pain"),
        ({"plan": "x" * 5001}, "input.plan"),
        ({"subjective": "a\u0000b"}, "input.subjective"),
    ],
    ids=str,
)
async def test_bad_values_are_refused_at_their_path_and_nothing_is_written(
    doctor: Client, clinic_a: Clinic, patient: str, wrong: dict[str, Any], path: str
) -> None:
    visit = await started(doctor, patient)
    before = await stored(clinic_a, Visit, visit["id"])
    answer = await doctor.gql(WRITE, input={"id": visit["id"], "version": 1, **wrong})
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
    assert await stored(clinic_a, Visit, visit["id"]) == before


@pytest.mark.parametrize(
    ("system", "code"),
    [("ICD_10", "E11.9"), ("ICD_10_CM", "S52.521A"), ("ICD_10_GM", "E11.90+"), ("ICD_11", "BA00.Z"), ("ICD_10", "J45")],
)
async def test_codes_of_each_classification_are_taken(doctor: Client, patient: str, system: str, code: str) -> None:
    diagnosis = {"text": "x", "system": system, "edition": "2024", "code": code}
    visit = await written(doctor, await started(doctor, patient), diagnoses=[diagnosis])
    assert visit["diagnoses"][0]["code"] == code


async def test_a_stale_version_is_a_conflict_and_null_clears(doctor: Client, patient: str) -> None:
    visit = await written(doctor, await started(doctor, patient, reason="Cough"), plan="Rest", vitals={"pain": 3})
    stale = await doctor.gql(WRITE, input={"id": visit["id"], "version": 1, "plan": "Run"})
    assert (stale.codes, stale.paths) == (["CONFLICT"], ["input.version"])
    cleared = await written(doctor, visit, plan=None, vitals=None)
    assert (cleared["plan"], cleared["vitals"], cleared["reason"]) == (None, None, "Cough")


async def test_a_visit_that_has_not_begun_yet_is_refused(doctor: Client, patient: str) -> None:
    ahead = (now() + timedelta(hours=1)).isoformat()
    answer = await doctor.gql(START, input={"patientId": patient, "startedAt": ahead})
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.startedAt"])


async def test_visits_are_listed_by_patient_doctor_status_and_day(
    doctor: Client, clinic_a: Clinic, patient: str
) -> None:
    early = (now() - timedelta(days=3)).isoformat()
    old, new = await started(doctor, patient, startedAt=early), await started(doctor, patient)
    assert await listed(doctor, patientId=patient) == [new["id"], old["id"]]
    assert await listed(doctor, patientId=patient, to=(now() - timedelta(days=1)).isoformat()) == [old["id"]]
    await signed(doctor, new)
    assert await listed(doctor, patientId=patient, status="OPEN") == [old["id"]]
    mine = await listed(doctor, doctorId=str(clinic_a.staff["doctor"].id), day=new["startedAt"][:10])
    assert old["id"] not in mine
    wrong = await doctor.gql(LIST, filter={"from": early, "to": early})
    assert (wrong.codes, wrong.paths) == (["VALIDATION_FAILED"], ["filter.to"])


async def test_nurses_write_and_do_not_sign_and_the_desk_sees_nothing(
    signed_in: SignedIn, clinic_a: Clinic, patient: str
) -> None:
    nurse, desk = await signed_in(clinic_a, "nurse"), await signed_in(clinic_a, "receptionist")
    visit = await written(nurse, await started(nurse, patient), vitals={"heartRate": 80})
    assert visit["doctor"]["name"] == clinic_a.staff["nurse"].name
    assert (await step(nurse, "signVisit", visit)).codes == ["FORBIDDEN"]
    for answer in (await desk.gql(ONE, id=visit["id"]), await desk.gql(START, input={"patientId": patient})):
        assert answer.codes == ["FORBIDDEN"]
