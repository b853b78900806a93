"""Handing out over GraphQL: the first to expire first, never more than prescribed or than there is, and returns."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId

from app.db.transactions import in_transaction
from app.services.pharmacy import dispensing as service
from app.tenancy.crossing import tenant_scope
from models import AuditEntry, Dispensing, Prescription
from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.people import SignedIn
from tests.fixtures.portal import Visit
from tests.resolvers.care_calls import Row, item, medicine, only, prescribed, rx_signed, step
from tests.resolvers.patient_calls import NOWHERE, register
from tests.resolvers.pharmacy_calls import DISPENSING, LATER, SOON, Pharmacy

LIST = f"""query($filter: DispensingFilter) {{
    dispensings(filter: $filter) {{ edges {{ node {DISPENSING} }} }} }}"""
OF_PRESCRIPTION = """query($id: ID!) { prescription(id: $id) {
    version items { number dispensed remaining refillsLeft } dispensings { edges { node { id quantity } } } } }"""
APPROVE = """mutation($input: ApproveRefillInput!) { approveRefill(input: $input) { status } }"""
ASK = """mutation($input: RequestRefillInput!) { requestRefill(input: $input) { id version } }"""


@pytest_asyncio.fixture
async def doctor(signed_in: SignedIn, clinic_a: Clinic) -> Client:
    return await signed_in(clinic_a, "doctor")


@pytest_asyncio.fixture
async def pharmacy(signed_in: SignedIn, clinic_a: Clinic) -> Pharmacy:
    return Pharmacy(await signed_in(clinic_a, "pharmacist"), clinic_a)


@pytest_asyncio.fixture
async def tablets(pharmacy: Pharmacy) -> Row:
    """50 tablets of a medicine: 30 that expire soon, 20 that expire later."""
    made = await pharmacy.medicine()
    await pharmacy.received(made, 20, "LATE", LATER)
    await pharmacy.received(made, 30, "SOON", SOON)
    return made


def of(prescription: Row, quantity: int, **more: Any) -> dict[str, Any]:
    return {"prescriptionId": prescription["id"], "itemNumber": 1, "quantity": quantity, **more}


def lots(dispensing: Row) -> list[tuple[str, int, int]]:
    return [(one["lot"], one["quantity"], one["returned"]) for one in dispensing["lots"]]


async def counted(client: Client, prescription: Row) -> tuple[int, int, int]:
    """What of the first item was handed out, is still to be had, and the refills left."""
    shown = only(await client.gql(OF_PRESCRIPTION, id=prescription["id"]))["items"][0]
    return shown["dispensed"], shown["remaining"], shown["refillsLeft"]


# --- by prescription --------------------------------------------------------------------------------------------------


async def test_what_was_prescribed_is_handed_out_in_parts_what_expires_first_first(
    doctor: Client, pharmacy: Pharmacy, tablets: Row
) -> None:
    rx = await pharmacy.prescription(doctor, tablets, quantity=40)
    assert await counted(doctor, rx) == (0, 40, 0)
    first = await pharmacy.done("dispenseMedicine", **of(rx, 10, note="Explained the dose"))
    assert (lots(first), first["note"], first["unit"]) == ([("SOON", 10, 0)], "Explained the dose", "tablet")
    assert first["dispensedBy"] == {"name": pharmacy.clinic.staff["pharmacist"].name}
    assert first["patient"] == rx["patient"]
    second = await pharmacy.done("dispenseMedicine", **of(rx, 30))
    assert lots(second) == [("SOON", 20, 0), ("LATE", 10, 0)]
    assert second["item"]["stock"] == 10
    assert [(one["node"]["kind"], one["node"]["quantity"]) for one in second["movements"]["edges"]] == [
        ("DISPENSED", -20), ("DISPENSED", -10)
    ]  # fmt: skip
    assert await counted(doctor, rx) == (40, 0, 0)
    over = await pharmacy.tried("dispenseMedicine", **of(rx, 1))
    assert over.codes == ["INVALID_STATE"]
    shown = only(await pharmacy.client.gql(OF_PRESCRIPTION, id=rx["id"]))
    assert [one["node"]["id"] for one in shown["dispensings"]["edges"]] == [second["id"], first["id"]]
    assert await pharmacy.adds_up()


async def test_no_more_is_handed_out_than_is_left_of_the_prescription(
    doctor: Client, pharmacy: Pharmacy, tablets: Row
) -> None:
    rx = await pharmacy.prescription(doctor, tablets, quantity=20)
    await pharmacy.done("dispenseMedicine", **of(rx, 15))
    answer = await pharmacy.tried("dispenseMedicine", **of(rx, 6))
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.quantity"])
    assert (await pharmacy.item(tablets["id"]))["stock"] == 35
    for wrong in (0, -1, 1_000_001):
        answer = await pharmacy.tried("dispenseMedicine", **of(rx, wrong))
        assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.quantity"])


async def test_the_named_lot_is_taken(doctor: Client, pharmacy: Pharmacy, tablets: Row) -> None:
    rx = await pharmacy.prescription(doctor, tablets, quantity=40)
    [_, late] = await pharmacy.lots(itemId=tablets["id"])
    made = await pharmacy.done("dispenseMedicine", **of(rx, 5, lotId=late["id"]))
    assert lots(made) == [("LATE", 5, 0)]
    short = await pharmacy.tried("dispenseMedicine", **of(rx, 16, lotId=late["id"]))
    assert (short.codes, short.errors[0]["extensions"]["available"]) == (["OUT_OF_STOCK"], 15)
    other = (await pharmacy.received(await pharmacy.kept(), 5))["stockLot"]["id"]
    wrong = await pharmacy.tried("dispenseMedicine", **of(rx, 1, lotId=other))
    assert (wrong.codes, wrong.paths) == (["VALIDATION_FAILED"], ["input.lotId"])


async def test_nothing_expired_is_handed_out(doctor: Client, pharmacy: Pharmacy, tablets: Row) -> None:
    rx = await pharmacy.prescription(doctor, tablets, quantity=40)
    [soon, _] = await pharmacy.lots(itemId=tablets["id"])
    await pharmacy.aged(soon["id"])
    named = await pharmacy.tried("dispenseMedicine", **of(rx, 1, lotId=soon["id"]))
    assert named.codes == ["INVALID_STATE"]
    short = await pharmacy.tried("dispenseMedicine", **of(rx, 21))
    assert (short.codes, short.paths) == (["OUT_OF_STOCK"], ["input.quantity"])
    assert short.errors[0]["extensions"]["available"] == 20
    assert await counted(doctor, rx) == (0, 40, 0)
    assert lots(await pharmacy.done("dispenseMedicine", **of(rx, 20))) == [("LATE", 20, 0)]


async def test_only_active_prescriptions_are_handed_out(
    doctor: Client, pharmacy: Pharmacy, tablets: Row, clinic_a: Clinic
) -> None:
    draft = await prescribed(doctor, (await register(doctor))["id"], item(tablets["medicine"]["id"]))
    refused = await pharmacy.tried("dispenseMedicine", **of(draft, 1))
    assert refused.codes == ["INVALID_STATE"]
    assert "is DRAFT. What may follow: ACTIVE, CANCELLED. Only ACTIVE" in refused.errors[0]["message"]
    rx = await pharmacy.prescription(doctor, tablets)
    held = only(await step(doctor, "holdPrescription", rx, reason="Travels"))
    assert (await pharmacy.tried("dispenseMedicine", **of(rx, 1))).codes == ["INVALID_STATE"]
    only(await step(doctor, "resumePrescription", held))
    assert not (await pharmacy.tried("dispenseMedicine", **of(rx, 1))).errors


async def test_what_was_handed_out_in_part_is_stopped_and_not_cancelled(
    doctor: Client, pharmacy: Pharmacy, tablets: Row
) -> None:
    rx = await pharmacy.prescription(doctor, tablets)
    made = await pharmacy.done("dispenseMedicine", **of(rx, 1))
    now_ = {"id": rx["id"], "version": rx["version"] + 1}
    assert (await step(doctor, "cancelPrescription", now_, reason="Mistake")).codes == ["INVALID_STATE"]
    await pharmacy.done("returnDispensed", dispensingId=made["id"], toStock=True, reason="Mistake")
    now_["version"] += 1
    assert not (await step(doctor, "cancelPrescription", now_, reason="Mistake")).errors


@pytest.mark.parametrize(
    ("changes", "path", "code"),
    [
        ({"prescriptionId": NOWHERE}, "input.prescriptionId", "NOT_FOUND"),
        ({"itemId": NOWHERE}, "input.itemId", "NOT_FOUND"),
        ({"lotId": NOWHERE}, "input.lotId", "NOT_FOUND"),
        ({"itemNumber": 2}, "input.itemNumber", "VALIDATION_FAILED"),
        ({"note": "x" * 201}, "input.note", "VALIDATION_FAILED"),
    ],
)
async def test_what_cannot_be_handed_out_is_told_at_its_path(
    doctor: Client, pharmacy: Pharmacy, tablets: Row, changes: Mapping[str, Any], path: str, code: str
) -> None:
    rx = await pharmacy.prescription(doctor, tablets)
    answer = await pharmacy.tried("dispenseMedicine", **{**of(rx, 1), **changes})
    assert (answer.codes, answer.paths) == ([code], [path])
    assert (await pharmacy.item(tablets["id"]))["stock"] == 50


async def test_the_item_is_that_of_the_medicine_and_is_named_where_there_are_several(
    doctor: Client, pharmacy: Pharmacy, tablets: Row, clinic_a: Clinic
) -> None:
    rx = await pharmacy.prescription(doctor, tablets)
    other = await pharmacy.medicine()
    wrong = await pharmacy.tried("dispenseMedicine", **of(rx, 1, itemId=other["id"]))
    assert (wrong.codes, wrong.paths) == (["VALIDATION_FAILED"], ["input.itemId"])
    second = {"medicineId": tablets["medicine"]["id"], "name": f"{tablets['name']} upstairs", "unit": "tablet"}
    made = await pharmacy.done("createInventoryItem", **second)
    assert (await pharmacy.tried("dispenseMedicine", **of(rx, 1))).paths == ["input.itemId"]
    assert (await pharmacy.tried("dispenseMedicine", **of(rx, 1, itemId=made["id"]))).codes == ["OUT_OF_STOCK"]
    assert not (await pharmacy.tried("dispenseMedicine", **of(rx, 1, itemId=tablets["id"]))).errors
    unknown = await medicine(clinic_a, "Never kept")
    patient = (await register(doctor))["id"]
    nowhere = await prescribed(doctor, patient, item(unknown))
    signed = only(await doctor.gql(
        "mutation($input: SignPrescriptionInput!) { signPrescription(input: $input) { id } }",
        input={"id": nowhere["id"], "version": 1},
    ))  # fmt: skip
    assert (await pharmacy.tried("dispenseMedicine", **of(signed, 1))).paths == ["input.itemId"]


# --- refills ----------------------------------------------------------------------------------------------------------


async def test_a_refill_is_taken_when_all_that_was_granted_is_handed_out(
    doctor: Client, pharmacy: Pharmacy, tablets: Row
) -> None:
    rx = await pharmacy.prescription(doctor, tablets, quantity=10, refills=2)
    await pharmacy.done("dispenseMedicine", **of(rx, 10, takeRefill=True))
    assert await counted(doctor, rx) == (10, 0, 2)
    assert (await pharmacy.tried("dispenseMedicine", **of(rx, 1))).codes == ["INVALID_STATE"]
    await pharmacy.done("dispenseMedicine", **of(rx, 4, takeRefill=True))
    assert await counted(doctor, rx) == (14, 6, 1)
    await pharmacy.done("dispenseMedicine", **of(rx, 16, takeRefill=True))
    assert await counted(doctor, rx) == (30, 0, 0)
    last = await pharmacy.tried("dispenseMedicine", **of(rx, 1, takeRefill=True))
    assert last.codes == ["INVALID_STATE"]


async def test_a_refill_that_the_doctor_granted_is_handed_out_without_taking_another(
    doctor: Client, pharmacy: Pharmacy, tablets: Row
) -> None:
    rx = await pharmacy.prescription(doctor, tablets, quantity=10, refills=2)
    await pharmacy.done("dispenseMedicine", **of(rx, 10))
    request = only(await doctor.gql(ASK, input={"prescriptionId": rx["id"]}))
    only(await doctor.gql(APPROVE, input=request))
    assert await counted(doctor, rx) == (10, 10, 1)
    await pharmacy.done("dispenseMedicine", **of(rx, 10, takeRefill=True))
    assert await counted(doctor, rx) == (20, 0, 1)


# --- many at once -----------------------------------------------------------------------------------------------------


async def test_of_fifty_who_want_the_last_units_as_many_get_one_as_there_are(
    doctor: Client, pharmacy: Pharmacy
) -> None:
    tablets = await pharmacy.medicine()
    await pharmacy.received(tablets, 7, "ONE", SOON)
    await pharmacy.received(tablets, 6, "TWO", LATER)
    prescriptions = [await pharmacy.prescription(doctor, tablets) for _ in range(5)]
    answers = await asyncio.gather(
        *(pharmacy.tried("dispenseMedicine", **of(prescriptions[at % 5], 1)) for at in range(50))
    )
    codes = [answer.codes for answer in answers]
    assert codes.count([]) == 13
    assert codes.count(["OUT_OF_STOCK"]) == 37
    assert (await pharmacy.item(tablets["id"]))["stock"] == 0
    assert [one["balance"] for one in await pharmacy.lots(itemId=tablets["id"])] == [0, 0]
    moved = await pharmacy.movements(itemId=tablets["id"], kind="DISPENSED")
    assert [one["quantity"] for one in moved] == [-1] * 13
    assert [one["lot"] for one in reversed(moved)] == ["ONE"] * 7 + ["TWO"] * 6
    handed_out = [await counted(doctor, one) for one in prescriptions]
    assert sum(one[0] for one in handed_out) == 13
    assert await pharmacy.adds_up()


async def test_of_many_who_hand_out_one_prescription_none_goes_over_it(
    doctor: Client, pharmacy: Pharmacy, tablets: Row
) -> None:
    rx = await pharmacy.prescription(doctor, tablets, quantity=4)
    answers = await asyncio.gather(*(pharmacy.tried("dispenseMedicine", **of(rx, 1)) for _ in range(20)))
    assert [answer.codes for answer in answers].count([]) == 4
    assert {code for answer in answers for code in answer.codes} == {"INVALID_STATE"}
    assert (await pharmacy.item(tablets["id"]))["stock"] == 46


async def test_without_turns_no_unit_is_handed_out_twice_either(
    doctor: Client, pharmacy: Pharmacy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turns are kept within a process; between processes it is the database that keeps them apart."""
    monkeypatch.setattr(service, "in_turn", lambda _key, work: in_transaction(work))
    tablets = await pharmacy.medicine()
    await pharmacy.received(tablets, 5, "ONE", SOON)
    prescriptions = [await pharmacy.prescription(doctor, tablets) for _ in range(12)]
    answers = await asyncio.gather(*(pharmacy.tried("dispenseMedicine", **of(one, 1)) for one in prescriptions))
    given = [answer.codes for answer in answers].count([])
    assert {code for answer in answers for code in answer.codes} <= {"OUT_OF_STOCK", "UNAVAILABLE"}
    assert (await pharmacy.item(tablets["id"]))["stock"] == 5 - given >= 0
    assert sum([(await counted(doctor, one))[0] for one in prescriptions]) == given > 0
    assert await pharmacy.adds_up()


async def test_what_is_sent_again_is_handed_out_once(doctor: Client, pharmacy: Pharmacy, tablets: Row) -> None:
    rx = await pharmacy.prescription(doctor, tablets)
    input = of(rx, 3, idempotencyKey="again")
    answers = await asyncio.gather(*(pharmacy.tried("dispenseMedicine", **input) for _ in range(6)))
    assert len({only(answer)["id"] for answer in answers}) == 1
    assert (await pharmacy.item(tablets["id"]))["stock"] == 47
    other = await pharmacy.tried("dispenseMedicine", **{**input, "quantity": 4})
    assert other.codes == ["IDEMPOTENCY_CONFLICT"]


# --- without a prescription -------------------------------------------------------------------------------------------


async def test_supplies_and_what_is_sold_over_the_counter_need_no_prescription(pharmacy: Pharmacy) -> None:
    gloves, free, bound = await pharmacy.kept(), await pharmacy.medicine(overTheCounter=True), await pharmacy.medicine()
    for one in (gloves, free, bound):
        await pharmacy.received(one, 5)
    used = await pharmacy.done("dispenseWithoutPrescription", itemId=gloves["id"], quantity=2, note="Room 3")
    assert (used["patient"], used["prescription"], used["item"]["stock"]) == (None, None, 3)
    assert not (await pharmacy.tried("dispenseWithoutPrescription", itemId=free["id"], quantity=1)).errors
    refused = await pharmacy.tried("dispenseWithoutPrescription", itemId=bound["id"], quantity=1)
    assert refused.codes == ["INVALID_STATE"]
    short = await pharmacy.tried("dispenseWithoutPrescription", itemId=free["id"], quantity=5)
    assert (short.codes, short.errors[0]["extensions"]["available"]) == (["OUT_OF_STOCK"], 4)


async def test_what_a_patient_gets_without_a_prescription_is_theirs(doctor: Client, pharmacy: Pharmacy) -> None:
    patient = (await register(doctor))["id"]
    crutch = await pharmacy.kept(kind="DEVICE")
    await pharmacy.received(crutch, 2)
    made = await pharmacy.done(
        "dispenseWithoutPrescription", itemId=crutch["id"], quantity=1, patientId=patient, idempotencyKey="crutch"
    )
    assert made["patient"] == {"id": patient}
    listed = only(await pharmacy.client.gql(LIST, filter={"patientId": patient}))["edges"]
    assert [edge["node"]["id"] for edge in listed] == [made["id"]]
    moved = await pharmacy.movements(patientId=patient)
    assert [(one["kind"], one["dispensing"]) for one in moved] == [("DISPENSED", {"id": made["id"]})]
    async with tenant_scope(pharmacy.clinic.ref):
        about = {"patient_ids": ObjectId(patient), "action": {"$in": ["dispenseWithoutPrescription", "stock.dispense"]}}
        entries = await AuditEntry.rows(about)
    assert {row["action"] for row in entries} == {"dispenseWithoutPrescription", "stock.dispense"}


# --- what comes back --------------------------------------------------------------------------------------------------


async def test_what_comes_back_is_in_stock_again_and_may_be_handed_out_again(
    doctor: Client, pharmacy: Pharmacy, tablets: Row
) -> None:
    rx = await pharmacy.prescription(doctor, tablets, quantity=40)
    made = await pharmacy.done("dispenseMedicine", **of(rx, 40))
    back = await pharmacy.done(
        "returnDispensed", dispensingId=made["id"], quantity=12, toStock=True, reason="Not picked up"
    )
    assert (back["returned"], back["version"], back["item"]["stock"]) == (12, 2, 22)
    assert lots(back) == [("SOON", 30, 2), ("LATE", 10, 10)]
    assert await counted(doctor, rx) == (28, 12, 0)
    returned = [one for one in await pharmacy.movements(itemId=tablets["id"]) if one["kind"] == "RETURNED"]
    assert sorted(one["quantity"] for one in returned) == [2, 10]
    assert {one["reverses"]["kind"] for one in returned} == {"DISPENSED"}
    assert {one["reason"] for one in returned} == {"Not picked up"}
    over = await pharmacy.tried(
        "returnDispensed", dispensingId=made["id"], quantity=29, toStock=True, reason="Too much"
    )
    assert (over.codes, over.paths) == (["VALIDATION_FAILED"], ["input.quantity"])
    rest = await pharmacy.done("returnDispensed", dispensingId=made["id"], toStock=True, reason="All of it")
    assert (rest["returned"], rest["item"]["stock"]) == (40, 50)
    again = await pharmacy.tried("returnDispensed", dispensingId=made["id"], toStock=True, reason="Once more")
    assert again.codes == ["INVALID_STATE"]
    assert await pharmacy.adds_up()


async def test_what_may_not_be_handed_out_again_is_returned_and_wasted(
    doctor: Client, pharmacy: Pharmacy, tablets: Row
) -> None:
    rx = await pharmacy.prescription(doctor, tablets)
    made = await pharmacy.done("dispenseMedicine", **of(rx, 20))
    back = await pharmacy.done("returnDispensed", dispensingId=made["id"], toStock=False, reason="Opened")
    assert (back["returned"], back["item"]["stock"]) == (20, 30)
    moved = [(one["node"]["kind"], one["node"]["quantity"]) for one in back["movements"]["edges"]]
    assert moved == [("DISPENSED", -20), ("RETURNED", 20), ("WASTED", -20)]
    assert await counted(doctor, rx) == (0, 20, 0)
    assert await pharmacy.adds_up()


async def test_what_has_expired_meanwhile_goes_to_the_waste(doctor: Client, pharmacy: Pharmacy, tablets: Row) -> None:
    rx = await pharmacy.prescription(doctor, tablets)
    made = await pharmacy.done("dispenseMedicine", **of(rx, 5))
    [soon, late] = await pharmacy.lots(itemId=tablets["id"])
    await pharmacy.aged(soon["id"])
    back = {"dispensingId": made["id"], "reason": "Not needed"}
    assert (await pharmacy.tried("returnDispensed", **back, toStock=True)).codes == ["INVALID_STATE"]
    other = await pharmacy.tried("returnDispensed", **back, toStock=False, lotId=late["id"])
    assert (other.codes, other.paths) == (["VALIDATION_FAILED"], ["input.lotId"])
    assert (await pharmacy.done("returnDispensed", **back, toStock=False, lotId=soon["id"]))["returned"] == 5


async def test_of_many_returns_at_once_no_more_comes_back_than_went(
    doctor: Client, pharmacy: Pharmacy, tablets: Row
) -> None:
    rx = await pharmacy.prescription(doctor, tablets)
    made = await pharmacy.done("dispenseMedicine", **of(rx, 5))
    back = {"dispensingId": made["id"], "quantity": 2, "toStock": True, "reason": "Not needed"}
    answers = await asyncio.gather(*(pharmacy.tried("returnDispensed", **back) for _ in range(6)))
    assert [answer.codes for answer in answers].count([]) == 2
    assert (await pharmacy.item(tablets["id"]))["stock"] == 49
    once = {**back, "quantity": 1, "idempotencyKey": "back"}
    first, second = await pharmacy.done("returnDispensed", **once), await pharmacy.done("returnDispensed", **once)
    assert (first["returned"], second["returned"]) == (5, 5)


# --- who sees it ------------------------------------------------------------------------------------------------------


async def test_whom_something_was_handed_out_to_is_told_to_those_who_may_know(
    server: Server, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    pharmacy = Pharmacy(await server.sign_in(clinic, "pharmacist"), clinic)
    doctor = await server.sign_in(clinic, "doctor")
    tablets = await pharmacy.medicine()
    await pharmacy.received(tablets, 20)
    rx = await pharmacy.prescription(doctor, tablets)
    await pharmacy.done("dispenseMedicine", **of(rx, 2))
    accountant = await server.sign_in(clinic, "accountant")
    plain = "{ stockMovements { edges { node { kind quantity } } } }"
    assert [edge["node"]["kind"] for edge in only(await accountant.gql(plain))["edges"]] == ["DISPENSED", "RECEIVED"]
    told = await accountant.gql("{ stockMovements { edges { node { dispensing { id } } } } }")
    assert told.codes == ["FORBIDDEN"]
    by_patient = """query($id: ID) { stockMovements(filter: {patientId: $id}) { edges { node { kind } } } }"""
    assert (await accountant.gql(by_patient, id=rx["patient"]["id"])).codes == ["FORBIDDEN"]
    assert (await accountant.gql(LIST)).codes == ["FORBIDDEN"]
    nurse = Pharmacy(await server.sign_in(clinic, "nurse"), clinic)
    assert not (await nurse.tried("dispenseMedicine", **of(rx, 1))).errors
    receptionist = Pharmacy(await server.sign_in(clinic, "receptionist"), clinic)
    assert (await receptionist.tried("dispenseMedicine", **of(rx, 1))).codes == ["FORBIDDEN"]


async def test_another_clinic_hands_out_nothing_of_it(
    doctor: Client, pharmacy: Pharmacy, tablets: Row, stranger: Client, clinic_b: Clinic
) -> None:
    rx = await pharmacy.prescription(doctor, tablets)
    answer = await Pharmacy(stranger, clinic_b).tried("dispenseMedicine", **of(rx, 1))
    assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.prescriptionId"])
    async with tenant_scope(pharmacy.clinic.ref):
        assert not await Dispensing.rows({"prescription_id": ObjectId(rx["id"])})


async def test_prescriptions_from_before_the_pharmacy_are_handed_out_as_well(
    doctor: Client, pharmacy: Pharmacy, tablets: Row
) -> None:
    rx = await pharmacy.prescription(doctor, tablets)
    async with tenant_scope(pharmacy.clinic.ref):
        await Prescription.guarded().update_one({"_id": ObjectId(rx["id"])}, {"$unset": {"items.0.dispensed": ""}})
    assert await counted(doctor, rx) == (0, 20, 0)
    await pharmacy.done("dispenseMedicine", **of(rx, 3))
    assert await counted(doctor, rx) == (3, 17, 0)


async def test_patients_see_what_was_handed_out_to_them_and_what_is_still_to_be_had(
    doctor: Client, pharmacy: Pharmacy, tablets: Row, visit: Visit
) -> None:
    visitor, other = await visit(pharmacy.clinic), await visit(pharmacy.clinic)
    line = item(tablets["medicine"]["id"])
    rx = await rx_signed(doctor, await prescribed(doctor, str(visitor.patient_id), line))
    made = await pharmacy.done("dispenseMedicine", **of(rx, 6, note="Between us"))
    query = """{ patientPrescriptions { edges { node { items { dispensed remaining } } } }
        patientDispensings { edges { node {
            id name quantity unit returned lots { lot expiresOn quantity } prescription { number } } } } }"""
    seen = await visitor.client.gql(query)
    assert seen.data["patientPrescriptions"]["edges"][0]["node"]["items"] == [{"dispensed": 6, "remaining": 14}]
    [edge] = seen.data["patientDispensings"]["edges"]
    assert (edge["node"]["id"], edge["node"]["quantity"], edge["node"]["lots"][0]["lot"]) == (made["id"], 6, "SOON")
    assert edge["node"]["prescription"] == {"number": rx["number"]}
    assert "Between us" not in seen.response.text
    assert (await other.asks(query))["patientDispensings"]["edges"] == []
