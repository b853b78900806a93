"""The day of docs/guide/doctor.md, walked with the operations of that page."""

from __future__ import annotations

from beanie import PydanticObjectId

from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.portal import Visit
from tests.guide.page import Page
from tests.resolvers.care_calls import appointment, fully_treated, medicine, queued
from tests.resolvers.sharing_calls import Desk

CODED = {"system": "ICD_10", "edition": "2019", "code": "J18.9", "text": "Pneumonia", "primary": True}
ASTHMA = {"system": "ICD_10", "edition": "2019", "code": "J45.9", "text": "Asthma"}
NOTE = {
    "subjective": "Coughs for a week, fever since Monday.",
    "objective": "Crackles at the right base.",
    "assessment": "Pneumonia.",
    "plan": "Amoxicillin for seven days.",
    "vitals": {"temperatureCelsius": "38.6", "systolicMmhg": 128, "diastolicMmhg": 82, "heartRate": 96},
    "diagnoses": [CODED],
}
REASON = "Was given it twice since without any reaction."
AFTERWARDS = {"AskForMore", "Refills", "Grant", "Decline", "Answered"}


async def shared_from_elsewhere(server: Server, there: Clinic, here: Clinic) -> str:
    """A patient whom another clinic has treated, and lets this one see by their consent."""
    giver, taker = Desk(there, await server.sign_in(there)), Desk(here, await server.sign_in(here))
    patient = await giver.patient(allergies=[{"substance": "Penicillin", "severe": True}])
    await fully_treated(giver.client, there, patient["id"])
    opened = ["DEMOGRAPHICS", "VISITS", "PRESCRIPTIONS"]
    assert not (await giver.try_consent(patient, await giver.form(categories=opened))).errors
    assert not (await taker.redeem((await giver.share(patient, categories=opened))["code"])).errors
    return str(patient["id"])


async def prescription(page: Page, doctor: Client, patient: str, visit: str, medicine_id: str) -> None:
    """Drafted, warned of, refused without a reason, signed with one."""
    found = await page.told(doctor, "Medicines", search="amox")
    assert medicine_id in [edge["node"]["id"] for edge in found["edges"]]
    line = {"medicineId": medicine_id, "dose": "1 capsule", "frequency": "3 times a day", "quantity": 21, "refills": 1}
    input = {"patientId": patient, "visitId": visit, "items": [{**line, "durationDays": 7}]}
    draft = await page.told(doctor, "Prescribe", input=input)
    [warning] = draft["openWarnings"]
    assert warning["text"] == "The patient is allergic to Penicillin: Amoxicillin."
    known = {"id": draft["id"], "version": draft["version"]}
    refused = await page.ask(doctor, "Sign", input=known)
    assert (refused.codes, refused.paths) == (["VALIDATION_FAILED"], ["input.acknowledgements"])
    reasons = [{"key": warning["key"], "reason": REASON}]
    signed = await page.told(doctor, "Sign", input={**known, "acknowledgements": reasons})
    assert (signed["status"], signed["number"]) == ("ACTIVE", "RX-000001")
    assert signed["warnings"][0]["reason"] == REASON


async def test_the_doctors_day(server: Server, make_clinic: MakeClinic) -> None:
    page, clinic = Page("doctor"), await make_clinic()
    patient = await shared_from_elsewhere(server, await make_clinic(), clinic)
    doctor = await server.sign_in(clinic, "doctor")
    amoxicillin = await medicine(clinic, "Amoxicillin", "J01CA04")

    # the patient comes in from the queue
    booked = await appointment(clinic, patient, "booked")
    entry = await queued(clinic, patient, appointment_id=PydanticObjectId(booked))
    input = {"patientId": patient, "queueEntryId": entry, "encounterClass": "AMB", "reason": "Cough for a week"}
    visit = await page.told(doctor, "StartVisit", input=input)
    assert (visit["queueEntry"]["status"], visit["appointment"]["status"]) == ("IN_SERVICE", "CHECKED_IN")
    assert (await page.ask(doctor, "StartVisit", input=input)).codes == ["CONFLICT"]

    # what is known here, and at another clinic
    known = await page.told(doctor, "History", patientId=patient)
    assert sorted(one["kind"] for one in known) == ["APPOINTMENT", "VISIT"]
    assert (await page.told(doctor, "Problems", patientId=patient))["edges"] == []
    [elsewhere] = await page.told(doctor, "Elsewhere", patientId=patient)
    assert (elsewhere["basis"], elsewhere["visits"][0]["plan"]) == ("CONSENT", "Rest & ice")
    assert elsewhere["prescriptions"][0]["items"][0]["name"] == "Ibuprofen"

    # the note, and the problem list
    noted = await page.told(doctor, "Write", input={"id": visit["id"], "version": visit["version"], **NOTE})
    assert noted["diagnoses"][0] == {**CODED, "certainty": "CONFIRMED"}
    about = {"patientId": patient, "visitIds": [visit["id"]], "onset": "2019-05-01", "diagnosis": ASTHMA}
    assert (await page.told(doctor, "Remember", input=about))["visits"] == [{"id": visit["id"]}]

    # a prescription with a warning, orders, a referral
    await prescription(page, doctor, patient, visit["id"], amoxicillin)
    for_visit = {"patientId": patient, "visitId": visit["id"]}
    lab = await page.told(doctor, "OrderLab", input={**for_visit, "panels": [{"name": "Blood count"}]})
    images = await page.told(doctor, "OrderImages", input={**for_visit, "modality": "DX", "bodySite": "Chest"})
    assert (lab["number"], images["number"]) == ("LO-000001", "IM-000001")
    await page.told(doctor, "PlanProcedure", input={**for_visit, "name": "Spirometry"})
    letter = {**for_visit, "reason": "Recurrent pneumonia", "recipient": {"name": "Dr. Lung"}}
    letter = await page.told(doctor, "Refer", input=letter)
    sent = await page.told(doctor, "SendReferral", input={"id": letter["id"], "version": letter["version"]})
    assert sent["status"] == "SENT"

    # the signature, and the next day
    signed = await page.told(doctor, "SignVisit", input={"id": visit["id"], "version": noted["version"]})
    assert (signed["signedBy"]["name"], signed["queueEntry"]["status"]) == (clinic.staff["doctor"].name, "DONE")
    assert signed["appointment"]["status"] == "FULFILLED"
    late = await page.ask(doctor, "Write", input={"id": visit["id"], "version": signed["version"], "plan": "None."})
    assert late.errors[0]["message"] == "The visit is SIGNED. What may follow: AMENDED, ENTERED_IN_ERROR."
    added = {"visitId": visit["id"], "version": signed["version"], "text": "Called: the fever is gone."}
    amended = await page.told(doctor, "Add", input=added)
    assert (amended["status"], amended["assessment"]) == ("AMENDED", "Pneumonia.")
    assert [one["kind"] for one in await page.told(doctor, "History", patientId=patient)].count("PRESCRIPTION") == 1
    assert page.used == page.operations.keys() - AFTERWARDS


async def test_the_patient_needs_more(server: Server, make_clinic: MakeClinic, visit: Visit) -> None:
    page, clinic = Page("doctor"), await make_clinic()
    visitor, doctor = await visit(clinic), await server.sign_in(clinic, "doctor")
    metformin = await medicine(clinic, "Metformin", "A10BA02")
    line = {"medicineId": metformin, "dose": "1 tablet", "frequency": "twice a day", "quantity": 60, "refills": 2}
    draft = await page.told(doctor, "Prescribe", input={"patientId": str(visitor.patient_id), "items": [line]})
    signed = await page.told(doctor, "Sign", input={"id": draft["id"], "version": draft["version"]})
    wanted = {"prescriptionId": signed["id"], "note": "I leave on Friday."}
    asked = await page.told(visitor.client, "AskForMore", input=wanted)
    assert (asked["status"], asked["itemNumbers"]) == ("REQUESTED", [1])
    assert (await page.ask(visitor.client, "AskForMore", input=wanted)).codes == ["CONFLICT"]
    [edge] = (await page.told(doctor, "Refills"))["edges"]
    assert (edge["node"]["byPatient"], edge["node"]["prescription"]["number"]) == (True, signed["number"])
    granted = await page.told(doctor, "Grant", input={"id": edge["node"]["id"], "version": edge["node"]["version"]})
    assert granted["prescription"]["items"] == [{"refillsLeft": 1}]
    await page.told(visitor.client, "AskForMore", input=wanted)
    [edge] = (await page.told(doctor, "Refills"))["edges"]
    why = "Please come in first: your last HbA1c is a year old."
    step = {"id": edge["node"]["id"], "version": edge["node"]["version"]}
    declined = await page.told(doctor, "Decline", input={**step, "answer": why})
    assert (declined["status"], declined["prescription"]["items"]) == ("DECLINED", [{"refillsLeft": 1}])
    read = [edge["node"] for edge in (await page.told(visitor.client, "Answered"))["edges"]]
    assert [(one["status"], one["answer"]) for one in read] == [("DECLINED", why), ("APPROVED", None)]
    assert read[0]["prescription"]["items"] == [{"name": "Metformin"}]
    last = await page.told(visitor.client, "AskForMore", input=wanted)
    await page.told(doctor, "Grant", input={"id": last["id"], "version": last["version"]})
    assert (await page.ask(visitor.client, "AskForMore", input=wanted)).codes == ["INVALID_STATE"]
    assert page.used >= AFTERWARDS
