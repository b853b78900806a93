"""Prescriptions over GraphQL: drafted, warned of, signed, held, stopped, replaced, and never changed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from models import Prescription
from tests.fixtures.clinics import Client, Clinic
from tests.fixtures.people import SignedIn
from tests.resolvers.care_calls import (
    PRESCRIBE,
    REASON,
    REPLACE,
    RX,
    SIGN,
    Row,
    item,
    medicine,
    only,
    prescribed,
    rx_signed,
    started,
    step,
    stored,
)
from tests.resolvers.patient_calls import NOWHERE, register

UPDATE = f"mutation($input: UpdatePrescriptionInput!) {{ updatePrescription(input: $input) {RX} }}"
LIST = """query($filter: PrescriptionFilter) {
    prescriptions(filter: $filter) { edges { node { id openWarnings { key } } } } }"""


@pytest_asyncio.fixture
async def doctor(signed_in: SignedIn, clinic_a: Clinic) -> Client:
    return await signed_in(clinic_a, "doctor")


@pytest_asyncio.fixture
async def patient(admin: Client) -> str:
    return str((await register(admin))["id"])


@pytest_asyncio.fixture
async def metformin(clinic_a: Clinic) -> str:
    return await medicine(clinic_a, "Metformin", "A10BA02")


async def listed(client: Client, **filter: Any) -> list[Row]:
    return [edge["node"] for edge in only(await client.gql(LIST, filter=filter))["edges"]]


async def test_a_prescription_is_drafted_signed_and_gets_its_number(
    doctor: Client, clinic_a: Clinic, patient: str, metformin: str
) -> None:
    visit = await started(doctor, patient)
    told = {"refills": 2, "durationDays": 30, "instructions": "With meals", "route": "ORAL"}
    draft = await prescribed(doctor, patient, item(metformin, **told), visitId=visit["id"], note="HbA1c 7.9")
    assert (draft["status"], draft["number"], draft["openWarnings"]) == ("DRAFT", None, [])
    [line] = draft["items"]
    assert (line["number"], line["name"], line["atcCode"], line["refillsLeft"]) == (1, "Metformin", "A10BA02", 2)
    done = await rx_signed(doctor, draft)
    assert done["status"] == "ACTIVE"
    assert done["number"].startswith("RX-")
    assert done["signedBy"] == {"name": clinic_a.staff["doctor"].name}
    assert [one["status"] for one in done["history"]] == ["ACTIVE"]
    other = await rx_signed(doctor, await prescribed(doctor, (await register(doctor))["id"], item(metformin)))
    assert other["number"] > done["number"]


async def test_what_the_catalogue_says_later_changes_no_prescription(
    doctor: Client, admin: Client, clinic_a: Clinic, patient: str
) -> None:
    key = await medicine(clinic_a, "Passing name", "C01")
    draft = await prescribed(doctor, patient, item(key))
    renamed = "mutation($input: UpdateMedicineInput!) { updateMedicine(input: $input) { id } }"
    assert not (await admin.gql(renamed, input={"id": key, "version": 1, "name": "New name"})).errors
    assert (await rx_signed(doctor, draft))["items"][0]["name"] == "Passing name"


async def test_an_allergy_must_be_gone_over_with_a_reason(doctor: Client, clinic_a: Clinic, admin: Client) -> None:
    made = await register(admin, allergies=[{"substance": "Penicillin", "severe": True}])
    key = await medicine(clinic_a, "Amoxicillin", "J01CA04")
    draft = await prescribed(doctor, made["id"], item(key))
    [warning] = draft["openWarnings"]
    assert (warning["kind"], warning["severe"], warning["itemNumber"]) == ("ALLERGY", True, 1)
    assert warning["text"] == "The patient is allergic to Penicillin: Amoxicillin."
    known = {"id": draft["id"], "version": draft["version"]}
    for given, path in (
        (None, "input.acknowledgements"),
        ([], "input.acknowledgements"),
        ([{"key": warning["key"], "reason": "because"}], "input.acknowledgements.0.reason"),
        ([{"key": "0" * 16, "reason": REASON}], "input.acknowledgements.0.key"),
    ):
        refused = await doctor.gql(SIGN, input={**known, "acknowledgements": given})
        assert refused.codes == ["VALIDATION_FAILED"]
        assert refused.paths[0] == path
    assert (await stored(clinic_a, Prescription, draft["id"]))["status"] == "draft"
    done = await rx_signed(doctor, draft)
    assert [(one["kind"], one["reason"]) for one in done["warnings"]] == [("ALLERGY", REASON)]
    assert done["warnings"][0]["by"] == {"name": clinic_a.staff["doctor"].name}
    assert done["openWarnings"] == []
    raw = await stored(clinic_a, Prescription, draft["id"])
    assert raw["warnings"][0]["text"] == warning["text"]


async def test_what_is_taken_already_is_warned_of_until_it_is_stopped(
    doctor: Client, clinic_a: Clinic, patient: str, metformin: str
) -> None:
    enalapril = await medicine(clinic_a, "Enalapril", "C09AA02")
    ramipril = await medicine(clinic_a, "Ramipril", "C09AA05")
    first = await rx_signed(doctor, await prescribed(doctor, patient, item(metformin), item(enalapril)))
    draft = await prescribed(doctor, patient, item(metformin), item(ramipril))
    assert [one["kind"] for one in draft["openWarnings"]] == ["SAME_INGREDIENT", "SAME_GROUP"]
    assert [len(one["openWarnings"]) for one in await listed(doctor, patientId=patient)] == [2, 0]
    held = only(await step(doctor, "holdPrescription", first, RX, reason="Surgery"))
    assert len((await prescribed(doctor, patient, item(ramipril)))["openWarnings"]) == 1
    await step(doctor, "stopPrescription", held, reason="Not needed")
    assert (await prescribed(doctor, patient, item(metformin), item(ramipril)))["openWarnings"] == []
    assert len((await prescribed(doctor, patient, item(metformin), item(metformin)))["openWarnings"]) == 1


async def test_signed_content_is_amended_by_replacement_alone(
    doctor: Client, clinic_a: Clinic, patient: str, metformin: str
) -> None:
    old = await rx_signed(doctor, await prescribed(doctor, patient, item(metformin), note="Start low"))
    before = await stored(clinic_a, Prescription, old["id"])
    late = await doctor.gql(UPDATE, input={"id": old["id"], "version": old["version"], "items": [item(metformin)]})
    assert late.codes == ["INVALID_STATE"]
    assert await stored(clinic_a, Prescription, old["id"]) == before

    input = {"id": old["id"], "version": old["version"], "items": [item(metformin, dose="2 tablets")]}
    draft = only(await doctor.gql(REPLACE, input=input))
    assert (draft["replaces"]["id"], draft["note"], draft["openWarnings"]) == (old["id"], "Start low", [])
    again = await doctor.gql(REPLACE, input=input)
    assert (again.codes, again.paths) == (["CONFLICT"], ["input.id"])
    new = await rx_signed(doctor, draft)
    assert (new["status"], new["replaces"]["status"], new["items"][0]["dose"]) == ("ACTIVE", "STOPPED", "2 tablets")
    after = await stored(clinic_a, Prescription, old["id"])
    assert after["items"] == before["items"]
    assert after["history"][-1]["reason"] == f"Replaced by {new['number']}."
    assert (await doctor.gql(REPLACE, input={**input, "version": after["version"]})).codes == ["INVALID_STATE"]


async def test_a_replacement_of_what_is_over_meanwhile_is_not_signed(
    doctor: Client, patient: str, metformin: str
) -> None:
    old = await rx_signed(doctor, await prescribed(doctor, patient, item(metformin)))
    draft = only(await doctor.gql(REPLACE, input={"id": old["id"], "version": old["version"]}))
    assert not (await step(doctor, "completePrescription", old)).errors
    refused = await doctor.gql(SIGN, input={"id": draft["id"], "version": draft["version"]})
    assert refused.codes == ["INVALID_STATE"]
    assert (await listed(doctor, patientId=patient, status="DRAFT"))[0]["id"] == draft["id"]


async def test_of_twenty_who_sign_at_once_one_does(doctor: Client, patient: str, metformin: str) -> None:
    draft = await prescribed(doctor, patient, item(metformin))
    input = {"id": draft["id"], "version": draft["version"]}
    answers = await asyncio.gather(*(doctor.gql(SIGN, input=input) for _ in range(20)))
    assert sum(not one.errors for one in answers) == 1
    assert {code for one in answers for code in one.codes} <= {"INVALID_STATE", "CONFLICT"}


async def test_steps_follow_their_order(doctor: Client, patient: str, metformin: str) -> None:
    draft = await prescribed(doctor, patient, item(metformin))
    resumed = await step(doctor, "resumePrescription", draft)
    assert (resumed.codes, "by signPrescription" in resumed.errors[0]["message"]) == (["INVALID_STATE"], True)
    active = await rx_signed(doctor, draft)
    held = only(await step(doctor, "holdPrescription", active, reason="Before surgery"))
    on = only(await step(doctor, "resumePrescription", held))
    assert on["status"] == "ACTIVE"
    done = only(await step(doctor, "completePrescription", on))
    for name in ("resumePrescription", "completePrescription"):
        assert (await step(doctor, name, done)).codes == ["INVALID_STATE"]
    assert (
        "What may follow: nothing." in (await step(doctor, "cancelPrescription", done, reason="x")).errors[0]["message"]
    )


async def test_medicines_must_be_the_clinics_and_in_use(
    doctor: Client, admin: Client, clinic_a: Clinic, clinic_b: Clinic, patient: str, metformin: str
) -> None:
    foreign = await medicine(clinic_b, "Metformin", "A10BA02")
    gone = await medicine(clinic_a, "Gone from the market", "C01")
    archive = "mutation($input: ArchiveInput!) { archiveMedicine(input: $input) { id } }"
    assert not (await admin.gql(archive, input={"id": gone, "version": 1})).errors
    for wrong, code in ((foreign, "NOT_FOUND"), (NOWHERE, "NOT_FOUND"), (gone, "VALIDATION_FAILED")):
        input = {"patientId": patient, "items": [item(metformin), item(wrong)]}
        answer = await doctor.gql(PRESCRIBE, input=input)
        assert (answer.codes, answer.paths) == ([code], ["input.items.1.medicineId"])
    assert await listed(doctor, patientId=patient) == []


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"quantity": 0}, "input.items.0.quantity"),
        ({"refills": 25}, "input.items.0.refills"),
        ({"durationDays": 0}, "input.items.0.durationDays"),
        ({"dose": " "}, "input.items.0.dose"),
        ({"frequency": "x" * 81}, "input.items.0.frequency"),
    ],
    ids=str,
)
async def test_bad_items_are_refused_at_their_path(
    doctor: Client, patient: str, metformin: str, wrong: Row, path: str
) -> None:
    answer = await doctor.gql(PRESCRIBE, input={"patientId": patient, "items": [item(metformin, **wrong)]})
    assert answer.codes == ["VALIDATION_FAILED"]
    assert path in answer.paths


async def test_an_empty_prescription_is_none(doctor: Client, patient: str) -> None:
    answer = await doctor.gql(PRESCRIBE, input={"patientId": patient, "items": []})
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.items"])


async def test_a_visit_of_another_patient_is_not_found(
    doctor: Client, admin: Client, patient: str, metformin: str
) -> None:
    other = await started(doctor, (await register(admin))["id"])
    input = {"patientId": patient, "items": [item(metformin)], "visitId": other["id"]}
    answer = await doctor.gql(PRESCRIBE, input=input)
    assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.visitId"])


async def test_prescriptions_are_found_by_medicine_and_nurses_only_read(
    doctor: Client, signed_in: SignedIn, clinic_a: Clinic, patient: str
) -> None:
    key = await medicine(clinic_a, "Rarely given", "C01")
    draft = await prescribed(doctor, patient, item(key))
    assert [one["id"] for one in await listed(doctor, medicineId=key)] == [draft["id"]]
    nurse, desk = await signed_in(clinic_a, "nurse"), await signed_in(clinic_a, "receptionist")
    assert [one["id"] for one in await listed(nurse, medicineId=key)] == [draft["id"]]
    assert (await nurse.gql(SIGN, input={"id": draft["id"], "version": 1})).codes == ["FORBIDDEN"]
    assert (await desk.gql(LIST)).codes == ["FORBIDDEN"]
