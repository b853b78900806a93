"""A patient's care as FHIR: every resource valid, tied together, to the digit, with nothing of it lost."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest_asyncio
from fhir.resources.R4B.bundle import Bundle

from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.http.test_exports import get
from tests.resolvers.care_calls import fully_treated, only
from tests.resolvers.patient_calls import register
from tests.resolvers.pharmacy_calls import Pharmacy

PROBLEM = "mutation($input: AddMedicalRecordInput!) { addMedicalRecord(input: $input) { id } }"
ORDER = "mutation($input: OrderLabTestsInput!) { orderLabTests(input: $input) { id number } }"
RESULT = "mutation($input: RecordLabResultInput!) { recordLabResult(input: $input) { id } }"


@pytest_asyncio.fixture(scope="module")
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture(scope="module")
async def admin(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic)


async def test_a_patients_care_is_a_valid_bundle_whose_parts_point_to_each_other(admin: Client, clinic: Clinic) -> None:
    patient = (await register(admin))["id"]
    made = await fully_treated(admin, clinic, patient)
    asthma = {"system": "ICD_10", "edition": "2019", "code": "J45.9", "text": "Asthma"}
    only(await admin.gql(PROBLEM, input={"patientId": patient, "diagnosis": asthma, "onset": "2010-01-01"}))
    only(
        await admin.gql(
            PROBLEM, input={"patientId": patient, "diagnosis": {"text": "Smoker"}, "kind": "SOCIAL_HISTORY"}
        )
    )
    panels = [{"name": "Blood count", "loinc": "58410-2"}]
    order = only(await admin.gql(ORDER, input={"patientId": patient, "panels": panels}))
    observations = [{"name": "Haemoglobin", "value": "14.10", "unit": "g/dL"}]
    only(await admin.gql(RESULT, input={"labOrderId": order["id"], "observations": observations}))

    answer = await get(admin, f"/api/patients/{patient}/export", format="fhir")

    Bundle.model_validate_json(answer.text)
    entries = json.loads(answer.text)["entry"]
    kinds = Counter(one["resource"]["resourceType"] for one in entries)
    assert kinds == {
        "Organization": 1, "Patient": 1, "Practitioner": 1, "Encounter": 2, "Composition": 2, "Condition": 2,
        "Observation": 5, "MedicationRequest": 2, "ServiceRequest": 5, "DiagnosticReport": 3, "Procedure": 2,
    }  # fmt: skip
    urls = {one["fullUrl"] for one in entries}
    assert references(entries) <= urls, "each reference leads to a resource of the bundle"
    assert '"value":36.60' in answer.text, "to the digit"
    assert '"value":14.10' in answer.text
    note = next(one["resource"] for one in entries if one["resource"]["id"] == f"{made['visit']['id']}-note")
    assert (note["status"], len(note["section"])) == ("amended", 5)
    assert "Fell &lt;on&gt; ice" in note["section"][0]["text"]["div"]
    joint = next(one["resource"] for one in entries if "M25.5" in json.dumps(one))
    assert joint["code"]["coding"] == [{"system": "http://hl7.org/fhir/sid/icd-10", "version": "2019", "code": "M25.5"}]


async def test_what_was_handed_out_points_to_what_was_prescribed(admin: Client, clinic: Clinic) -> None:
    pharmacy = Pharmacy(admin, clinic)
    tablets, crutch = await pharmacy.medicine(), await pharmacy.kept(kind="DEVICE")
    for kept in (tablets, crutch):
        await pharmacy.received(kept, 20)
    rx = await pharmacy.prescription(admin, tablets)
    asked = {"prescriptionId": rx["id"], "itemNumber": 1, "note": "Explained"}
    made = await pharmacy.done("dispenseMedicine", **asked, quantity=12)
    back = {"dispensingId": made["id"], "quantity": 2, "toStock": True, "reason": "Not needed"}
    await pharmacy.done("returnDispensed", **back)
    patient = rx["patient"]["id"]
    lent = {"itemId": crutch["id"], "quantity": 1, "patientId": patient}
    whole = await pharmacy.done("dispenseWithoutPrescription", **lent)
    await pharmacy.done("returnDispensed", dispensingId=whole["id"], toStock=True, reason="Healed")

    answer = await get(admin, f"/api/patients/{patient}/export", format="fhir")
    Bundle.model_validate_json(answer.text)
    entries = json.loads(answer.text)["entry"]
    assert references(entries) <= {one["fullUrl"] for one in entries}
    kinds = {one["resource"]["resourceType"]: one["resource"] for one in entries}
    handed_out, supply = kinds["MedicationDispense"], kinds["SupplyDelivery"]
    assert (handed_out["status"], handed_out["quantity"]) == ("completed", {"value": 10, "unit": "tablet"})
    assert handed_out["note"] == [{"text": "Explained"}]
    assert (supply["status"], supply["suppliedItem"]["quantity"]["value"]) == ("abandoned", 1)


def references(value: Any) -> set[str]:
    if isinstance(value, list):
        return {found for one in value for found in references(one)}
    if not isinstance(value, dict):
        return set()
    own = {value["reference"]} if isinstance(value.get("reference"), str) else set()
    return own | {found for one in value.values() for found in references(one)}
