"""Erasing a patient: what the law does not hold goes at once, the rest in its time, and nothing of another clinic."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from beanie import PydanticObjectId
from bson import ObjectId
from hypothesis import example, given
from hypothesis import strategies as st
from pymongo import AsyncMongoClient

from app.config import Settings
from app.jobs.runs import run_job
from app.services import erasure
from app.services.erasure import AT_ONCE, HELD, IDENTITY, PROOF, digest_of
from app.services.patient_export import models_about_patients
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from models import Appointment, AuditEntry, Dispensing, Erasure, LabResult, Patient, PatientRecord, StockMovement
from models.appointment import AppointmentStatus
from models.lab import LabPanel, LabResultStatus, Observation
from models.values import now
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.tills import Cashier, usd
from tests.resolvers.patient_calls import NOWHERE, ONE, register
from tests.resolvers.pharmacy_calls import Pharmacy

ERASE = """mutation($input: ErasePatientInput!) { erasePatient(input: $input) {
    id digest basis status completedAt retainedUntil erased { kind count } retained { kind count } } }"""
PREVIEW = """query($id: ID!) { erasurePreview(patientId: $id) {
    erased { kind count } retained { kind count } retainedUntil } }"""
ERASURES = "{ erasures { edges { node { id status digest } } } }"
RESTORE = "mutation($input: ArchivePatientInput!) { restorePatient(input: $input) { id } }"

Row = dict[str, Any]


@pytest_asyncio.fixture
async def clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture
async def admin(server: Server, clinic: Clinic) -> Client:
    return await server.sign_in(clinic)


async def appointment(clinic: Clinic, patient_id: str, status: AppointmentStatus, ago: timedelta) -> None:
    start = now() - ago
    async with tenant_scope(clinic.ref):
        await Appointment(
            patient_id=PydanticObjectId(patient_id),
            doctor_id=clinic.staff["doctor"].key,
            starts_at=start,
            ends_at=start + timedelta(minutes=30),
            status=status,
            notes="What was said",
        ).insert()


async def finding(clinic: Clinic, patient_id: str, ago: timedelta) -> None:
    async with tenant_scope(clinic.ref):
        await LabResult(
            patient_id=PydanticObjectId(patient_id),
            accession="A-1",
            panel=LabPanel(name="Panel"),
            observations=[Observation(name="Glucose", value="5.4")],
            performed_at=now() - ago,
            reported_at=now() - ago,
            status=LabResultStatus.RELEASED,
        ).insert()


async def erase(client: Client, made: Row, **values: Any) -> Any:
    given = {"patientId": made["id"], "code": made["record"]["code"], "basis": "NO_LONGER_NEEDED", **values}
    return await client.gql(ERASE, input=given)


async def left(clinic: Clinic, patient_id: str) -> dict[str, int]:
    """What the clinic still has about the patient, apart from its log and its proof."""
    id = ObjectId(patient_id)
    async with tenant_scope(clinic.ref):
        counts = {
            model.guarded_name(): await model.guarded().count_documents({str(model.patient_column): id})
            for model in models_about_patients()
        }
        counts["patients"] = await Patient.guarded().count_documents({"_id": id})
    return {name: count for name, count in counts.items() if count}


async def test_a_patient_of_whom_nothing_is_held_goes_whole(admin: Client, clinic: Clinic, settings: Settings) -> None:
    made = await register(admin, familyName="Gonesoon", notes="Secret")
    await appointment(clinic, made["id"], AppointmentStatus.CANCELLED, timedelta(days=1))

    erased = (await erase(admin, made)).data["erasePatient"]

    assert (erased["status"], erased["retained"], erased["retainedUntil"]) == ("COMPLETE", [], None)
    assert {one["kind"]: one["count"] for one in erased["erased"]} == {"appointments": 1, "patient_records": 1}
    assert await left(clinic, made["id"]) == {}
    assert (await admin.gql(ONE, id=made["id"])).codes == ["NOT_FOUND"]
    async with AsyncMongoClient[Row](settings.mongodb_uri) as client:
        stored = client[settings.mongodb_database]
        for name in await stored.list_collection_names():
            async for row in stored[name].find({}):
                assert "Gonesoon" not in str(row), name


async def test_the_proof_shows_that_it_was_done_and_not_to_whom(admin: Client, clinic: Clinic) -> None:
    made = await register(admin)
    erased = (await erase(admin, made)).data["erasePatient"]
    async with tenant_scope(clinic.ref):
        assert erased["digest"] == digest_of(ObjectId(made["id"]))
        [proof] = await Erasure.rows({})
        [entry] = await AuditEntry.rows({"action": "patient.erase"})
    assert made["id"] not in str(proof)
    assert proof["requested_by"] == clinic.staff["admin"].user_id
    assert entry["subject"] == f"erasures/{erased['id']}"
    listed = (await admin.gql(ERASURES)).data["erasures"]["edges"]
    assert [one["node"]["id"] for one in listed] == [erased["id"]]


async def test_what_the_law_holds_stays_out_of_sight_until_its_time_is_over(admin: Client, clinic: Clinic) -> None:
    made = await register(admin, phone="+12125550177", email="held@example.com")
    await appointment(clinic, made["id"], AppointmentStatus.FULFILLED, timedelta(days=400))
    await appointment(clinic, made["id"], AppointmentStatus.NO_SHOW, timedelta(days=10))
    await finding(clinic, made["id"], timedelta(days=30))

    seen = (await admin.gql(PREVIEW, id=made["id"])).data["erasurePreview"]
    erased = (await erase(admin, made)).data["erasePatient"]

    assert erased["status"] == "PARTIAL"
    kept = {one["kind"]: one["count"] for one in erased["retained"]}
    assert kept == {"appointments": 1, "lab_results": 1, "patient_records": 1}
    assert {one["kind"]: one["count"] for one in seen["retained"]} == kept
    assert seen["retainedUntil"] == erased["retainedUntil"]
    assert erased["retainedUntil"][:4] == str((now() - timedelta(days=30)).year + 10)
    assert await left(clinic, made["id"]) == {**kept, "erasures": 1, "patients": 1}
    page = (await admin.gql("{ patients(first: 100) { edges { node { id } } } }")).data["patients"]
    assert made["id"] not in [edge["node"]["id"] for edge in page["edges"]]
    async with tenant_scope(clinic.ref):
        [row] = await Patient.rows({"_id": ObjectId(made["id"])})
    assert not [name for name in ("phone", "phone_key", "email", "contacts") if row.get(name)]


async def test_the_rest_goes_by_itself(admin: Client, clinic: Clinic, settings: Settings) -> None:
    made = await register(admin)
    await appointment(clinic, made["id"], AppointmentStatus.FULFILLED, timedelta(days=30))
    await erase(admin, made)
    long_ago = now() - timedelta(days=11 * 366)
    async with tenant_scope(clinic.ref):  # eleven years go by
        await Appointment.guarded().update_many({}, {"$set": {"starts_at": long_ago}})
        await Erasure.guarded().update_many({}, {"$set": {"retained_until": now() - timedelta(days=1)}})

    with open_scope(Scope(request_id="test")):
        report = await run_job("complete-erasures", settings)

    assert report.told()["ok"] is True if "ok" in report.told() else True
    assert await left(clinic, made["id"]) == {}
    async with tenant_scope(clinic.ref):
        [proof] = await Erasure.rows({})
    assert (proof["status"], proof["patient_id"], proof["retained"]) == ("complete", None, {})
    assert proof["erased"] == {"appointments": 1, "patient_records": 1}


async def test_another_clinics_patient_and_records_stay(
    server: Server, admin: Client, clinic: Clinic, make_clinic: MakeClinic
) -> None:
    other = await make_clinic()
    made = await register(admin, phone="+12125550188")
    id = ObjectId(made["id"])
    async with tenant_scope(clinic.ref):
        await Patient.guarded().grant(id, other.ref.id)
    async with tenant_scope(other.ref):
        await PatientRecord(patient_id=PydanticObjectId(id), code="OTHER-1", notes="Theirs").insert()
    await appointment(other, made["id"], AppointmentStatus.FULFILLED, timedelta(days=5))
    before = await left(other, made["id"])

    assert (await erase(admin, made)).data["erasePatient"]["status"] == "COMPLETE"

    assert await left(clinic, made["id"]) == {}
    assert await left(other, made["id"]) == before
    async with tenant_scope(other.ref):
        [row] = await Patient.rows({"_id": id})
    assert row["phone"] == "+12125550188"


async def test_a_wrong_code_erases_nobody(admin: Client, clinic: Clinic) -> None:
    made = await register(admin)
    before = await left(clinic, made["id"])
    answer = await erase(admin, made, code="P-999999")
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.code"])
    assert await left(clinic, made["id"]) == before


async def test_appointments_to_come_are_in_the_way(admin: Client, clinic: Clinic) -> None:
    made = await register(admin)
    await appointment(clinic, made["id"], AppointmentStatus.BOOKED, timedelta(days=-3))
    before = await left(clinic, made["id"])
    assert (await erase(admin, made)).codes == ["INVALID_STATE"]
    assert await left(clinic, made["id"]) == before


async def test_nobody_is_erased_twice_nor_brought_back(admin: Client, clinic: Clinic) -> None:
    gone = await register(admin)
    await erase(admin, gone)
    assert (await erase(admin, gone)).codes == ["NOT_FOUND"]
    held = await register(admin)
    await appointment(clinic, held["id"], AppointmentStatus.FULFILLED, timedelta(days=5))
    await erase(admin, held)
    assert (await erase(admin, held)).codes == ["INVALID_STATE"]
    assert (await admin.gql(RESTORE, input={"id": held["id"]})).codes == ["INVALID_STATE"]


@pytest.mark.parametrize("role", ["doctor", "receptionist"])
async def test_who_may_not_erase_changes_nothing(role: str, server: Server, admin: Client, clinic: Clinic) -> None:
    made = await register(admin)
    client = await server.sign_in(clinic, role)
    before = await left(clinic, made["id"])
    assert (await erase(client, made)).codes == ["FORBIDDEN"]
    assert await left(clinic, made["id"]) == before


async def test_a_patient_from_elsewhere_is_not_found(admin: Client, stranger: Client) -> None:
    foreign = await register(stranger)
    nobody = await erase(admin, {**foreign, "id": NOWHERE})
    theirs = await erase(admin, foreign)
    assert (theirs.codes, theirs.paths) == (nobody.codes, nobody.paths) == (["NOT_FOUND"], ["input.patientId"])


async def test_what_the_law_comes_to_hold_meanwhile_is_not_erased(
    admin: Client, clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The patient is checked in while somebody erases them: what was foreseen no longer holds."""
    made = await register(admin)
    await appointment(clinic, made["id"], AppointmentStatus.NO_SHOW, timedelta(hours=1))
    foreseen = erasure._foreseen

    async def check_in() -> None:
        change = {"$set": {"status": AppointmentStatus.CHECKED_IN.value}}
        async with tenant_scope(clinic.ref):
            await Appointment.guarded().update_one({"patient_id": ObjectId(made["id"])}, change)

    async def late(*args: Any) -> Any:
        found = await foreseen(*args)
        if not found.retained:
            await check_in()
        return found

    monkeypatch.setattr(erasure, "_foreseen", late)
    answer = await erase(admin, made)
    assert answer.data["erasePatient"]["status"] == "PARTIAL"
    assert await left(clinic, made["id"]) == {"appointments": 1, "patient_records": 1, "patients": 1, "erasures": 1}


MOMENTS = st.integers(0, 3_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
LEAP = datetime(2024, 2, 29, 10, tzinfo=UTC)


@given(MOMENTS, MOMENTS, st.integers(1, 30))
@example(datetime(2023, 3, 1, 0, 0, 1, tzinfo=UTC), datetime(2028, 2, 29, 10, tzinfo=UTC), 5)
@example(LEAP, datetime(2029, 3, 1, 5, tzinfo=UTC), 5)
@example(LEAP, datetime(2029, 2, 28, 12, tzinfo=UTC), 5)
def test_nothing_goes_before_the_day_that_was_told(since: datetime, moment: datetime, years: int) -> None:
    """What is told (forwards from a document) and what is asked for (backwards from today) agree."""
    ends = erasure._years_after(since, years)
    held = since >= erasure._years_after(moment, -years)
    assert held is (moment <= ends)


def test_every_kind_of_document_about_patients_has_its_rule() -> None:
    """A new kind must say whether the law holds it: see HELD and AT_ONCE in app/services/erasure.py."""
    kinds = {model.guarded_name() for model in models_about_patients()}
    assert kinds == {*HELD, *AT_ONCE, IDENTITY, PROOF}
    assert not set(HELD) & AT_ONCE
    for model in models_about_patients():
        if (rule := HELD.get(model.guarded_name())) is not None:
            assert {rule.since, *rule.only} <= model.model_fields.keys()


async def test_issued_invoices_and_payments_are_held_and_drafts_are_not(admin: Client, clinic: Clinic) -> None:
    made = await register(admin)
    cashier = Cashier(clinic, admin, made["id"])
    invoice = await cashier.issued("10.00")
    await cashier.paid(invoice, "10.00")
    await cashier.draft({"description": "Never issued", "unitPrice": usd("5.00")})
    await cashier.done("createCreditNote", "id", invoiceId=invoice["id"], reason="Not done")
    proof = (await erase(admin, made)).data["erasePatient"]
    kept = {one["kind"]: one["count"] for one in proof["retained"]}
    assert {"invoices": 1, "payments": 1, "credit_notes": 1}.items() <= kept.items()
    assert {one["kind"]: one["count"] for one in proof["erased"]}["invoices"] == 1


async def test_what_was_handed_out_is_held_and_then_stays_moved_without_a_name(admin: Client, clinic: Clinic) -> None:
    """Stock is the sum of its movements: they stay when the patient goes, and nothing of the patient with them."""
    pharmacy, made = Pharmacy(admin, clinic), await register(admin)
    gloves = await pharmacy.kept()
    await pharmacy.received(gloves, 5)
    out = {"itemId": gloves["id"], "quantity": 2, "patientId": made["id"]}
    handed_out = await pharmacy.done("dispenseWithoutPrescription", **out)
    await pharmacy.done("returnDispensed", dispensingId=handed_out["id"], quantity=1, toStock=True, reason="Unused")
    proof = (await erase(admin, made)).data["erasePatient"]
    kept = {one["kind"]: one["count"] for one in proof["retained"]}
    assert {"dispensings": 1, "stock_movements": 2}.items() <= kept.items()

    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    id = ObjectId(made["id"])
    async with tenant_scope(clinic.ref):
        await Dispensing.guarded().update_many({"patient_id": id}, {"$set": {"dispensed_at": long_ago}})
        await StockMovement.guarded().update_many({"patient_id": id}, {"$set": {"at": long_ago}})
        await Erasure.guarded().update_many({}, {"$set": {"retained_until": long_ago}})
        assert await erasure.erase_what_is_due() == 1
        stayed = await StockMovement.rows({"item_id": ObjectId(gloves["id"]), "kind": {"$ne": "received"}})
    assert await left(clinic, made["id"]) == {}
    assert sorted(row["quantity"] for row in stayed) == [-2, 1]
    assert not any(row.get(name) for row in stayed for name in erasure.UNNAMED["stock_movements"])
    assert (await pharmacy.item(gloves["id"]))["stock"] == 4
    assert await pharmacy.adds_up()
