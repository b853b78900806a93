"""Invoices at the desk: what they come to, how they are issued, and that a refusal changes nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import Invoice
from models.values import now
from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.fixtures.desks import TODAY
from tests.fixtures.tills import INVOICE, Cashier, usd

LIST = """query($filter: InvoiceFilter) { invoices(filter: $filter) { totalCount edges { node { id status } } } }"""
BALANCE = """query($id: ID!) { patientBalance(patientId: $id) { sums {
    invoiced { amount currency } credited { amount } paid { amount } open { amount } overdue { amount } } } }"""

VISIT = {"description": "Visit", "unitPrice": usd("5.00")}


# --- drafts -----------------------------------------------------------------------------------------------------------


async def test_a_draft_shows_what_each_line_comes_to(cashier: Cashier) -> None:
    service = await cashier.new_service("33.335")

    shown = await cashier.draft(
        {"serviceId": service, "quantity": "3", "discount": {"percent": "10"}, "taxRate": "8.875"},
        {"description": "Bandage", "unitPrice": usd("4.00"), "discount": {"amount": "0.50"}},
        discount={"amount": "5.00"},
        notes="Pays by card",
    )

    first, second = shown["lines"]
    assert (shown["status"], shown["number"], shown["notes"]) == ("DRAFT", None, "Pays by card")
    assert (first["number"], first["quantity"], first["service"]) == (1, "3", {"id": service})
    assert (first["gross"], first["discountAmount"]) == (usd("100.01"), usd("10.01"))
    assert (first["sharedDiscount"], first["net"], first["tax"]) == (usd("4.81"), usd("85.19"), usd("7.56"))
    assert (second["description"], second["net"], second["total"]) == ("Bandage", usd("3.31"), usd("3.31"))
    assert (shown["net"], shown["tax"], shown["total"]) == (usd("88.50"), usd("7.56"), usd("96.06"))
    assert shown["open"] == usd("0.00")


async def test_a_draft_is_changed_as_a_whole_or_in_part(cashier: Cashier) -> None:
    made = await cashier.draft({"description": "Visit", "unitPrice": usd("80.00")}, discount={"percent": "10"})

    noted = await cashier.done("updateInvoice", INVOICE, id=made["id"], version=1, notes="Called")
    cheaper = await cashier.done(
        "updateInvoice", INVOICE, id=made["id"], version=2, lines=[{"description": "Call", "unitPrice": usd("50.00")}]
    )
    plain = await cashier.done("updateInvoice", INVOICE, id=made["id"], version=3, discount=None)

    assert (noted["notes"], noted["total"]) == ("Called", usd("72.00"))
    assert (cheaper["notes"], cheaper["total"], cheaper["discount"]["percent"]) == ("Called", usd("45.00"), "10")
    assert (plain["total"], plain["discount"], plain["version"]) == (usd("50.00"), None, 4)


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ({}, "input.lines.0.description"),
        ({"description": "Visit"}, "input.lines.0.unitPrice"),
        ({"quantity": "0"}, "input.lines.0.quantity"),
        ({"quantity": "0.0001"}, "input.lines.0.quantity"),
        ({"quantity": "NaN"}, "input.lines.0.quantity"),
        ({"quantity": "1E+400"}, "input.lines.0.quantity"),
        ({"taxRate": "100.5"}, "input.lines.0.taxRate"),
        ({"taxRate": "-1"}, "input.lines.0.taxRate"),
        ({"taxRate": "1E-999999999"}, "input.lines.0.taxRate"),
        ({"quantity": "1E-999999999"}, "input.lines.0.quantity"),
        ({**VISIT, "discount": {"amount": "1E-999999999"}}, "input.lines.0.discount.amount"),
        ({"description": "Visit", "unitPrice": usd("1E-999999999")}, "input.lines.0.unitPrice.amount"),
        ({"discount": {}}, "input.lines.0.discount"),
        ({"discount": {"percent": "5", "amount": "5"}}, "input.lines.0.discount"),
        ({"discount": {"percent": "101"}}, "input.lines.0.discount.percent"),
        ({"description": "Visit", "unitPrice": {"amount": "5", "currency": "EUR"}}, "input.lines.0.unitPrice.currency"),
        ({"description": "Visit", "unitPrice": usd("-5")}, "input.lines.0.unitPrice.amount"),
        ({**VISIT, "discount": {"amount": "5.01"}}, "input.lines.0.discount.amount"),
        ({**VISIT, "discount": {"amount": "0.001"}}, "input.lines.0.discount.amount"),
        ({"description": "x" * 201, "unitPrice": usd("5")}, "input.lines.0.description"),
    ],
)  # fmt: skip
async def test_wrong_lines_are_told_by_their_path(cashier: Cashier, line: dict[str, Any], path: str) -> None:
    answer = await cashier.ask("createInvoice", INVOICE, patientId=cashier.patient, lines=[line])

    assert answer.codes == ["VALIDATION_FAILED"], answer.body
    assert path in answer.paths
    async with tenant_scope(cashier.clinic.ref):
        assert await Invoice.rows({"patient_id": ObjectId(cashier.patient)}) == []


async def test_a_discount_off_all_lines_is_no_more_than_they_cost(cashier: Cashier) -> None:
    lines = [{"description": "Visit", "unitPrice": usd("5.00")}]
    for amount in ("5.01", "0.005"):
        answer = await cashier.ask(
            "createInvoice", INVOICE, patientId=cashier.patient, lines=lines, discount={"amount": amount}
        )
        assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.discount.amount"])


async def test_services_and_patients_of_another_clinic_are_as_none(cashier: Cashier, cashier_b: Cashier) -> None:
    theirs, line = await cashier_b.new_service("10.00"), {"description": "Visit", "unitPrice": usd("5")}
    for id in (theirs, str(ObjectId()), "nonsense"):
        answer = await cashier.ask("createInvoice", "id", patientId=cashier.patient, lines=[line, {"serviceId": id}])
        assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.lines.1.serviceId"])
    answer = await cashier.ask("createInvoice", "id", patientId=cashier_b.patient, lines=[line])
    assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.patientId"])


async def test_a_service_that_is_offered_no_more_is_not_sold(cashier: Cashier) -> None:
    old = await cashier.new_service("10.00", archived_at=now())
    answer = await cashier.ask("createInvoice", "id", patientId=cashier.patient, lines=[{"serviceId": old}])
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.lines.0.serviceId"])


async def test_the_same_request_writes_one_invoice(cashier: Cashier) -> None:
    line = {"description": "Visit", "unitPrice": usd("5.00")}
    answers = await asyncio.gather(*(cashier.draft(line, idempotencyKey="one") for _ in range(5)))
    other = await cashier.ask(
        "createInvoice", "id", patientId=cashier.patient, lines=[line, line], idempotencyKey="one"
    )
    assert len({answer["id"] for answer in answers}) == 1
    assert other.codes == ["IDEMPOTENCY_CONFLICT"]


# --- issuing ----------------------------------------------------------------------------------------------------------


async def test_an_invoice_gets_its_number_when_it_is_issued(cashier: Cashier) -> None:
    first, second = await cashier.issued("10.00"), await cashier.issued("20.00")

    assert first["number"].startswith("INV-")
    assert int(second["number"].removeprefix("INV-")) > int(first["number"].removeprefix("INV-"))
    assert (first["status"], first["open"], first["dueOn"]) == ("ISSUED", usd("10.00"), str(TODAY + timedelta(14)))
    assert [step["status"] for step in first["history"]] == ["issued"]
    found = (await cashier.client.gql(LIST, filter={"number": first["number"]})).data["invoices"]
    assert [edge["node"]["id"] for edge in found["edges"]] == [first["id"]]


async def test_numbers_are_never_given_twice(cashier: Cashier) -> None:
    drafts = await asyncio.gather(
        *(cashier.draft({"description": "Visit", "unitPrice": usd("5.00")}) for _ in range(20))
    )
    shown = await asyncio.gather(*(cashier.done("issueInvoice", "number", id=one["id"], version=1) for one in drafts))
    assert len({one["number"] for one in shown}) == 20


async def test_of_twenty_who_issue_one_draft_one_does(cashier: Cashier) -> None:
    made = await cashier.draft({"description": "Visit", "unitPrice": usd("5.00")})
    answers = await asyncio.gather(*(cashier.ask("issueInvoice", "id", id=made["id"], version=1) for _ in range(20)))
    assert sum(not answer.errors for answer in answers) == 1
    assert {code for answer in answers for code in answer.codes} <= {"INVALID_STATE", "CONFLICT"}
    assert len((await cashier.invoice(made["id"]))["history"]) == 1


async def test_the_settings_say_prefix_days_and_the_usual_tax(make_clinic: MakeClinic, server: Server) -> None:
    clinic = await make_clinic()
    admin = await server.sign_in(clinic)
    changed = await admin.gql(
        "mutation($input: UpdateSettingsInput!) { updateSettings(input: $input) { usualTaxRate invoicePrefix } }",
        input={"version": 1, "invoicePrefix": "ny", "invoiceDueDays": 0, "usualTaxRate": "8.875"},
    )
    assert changed.data["updateSettings"] == {"usualTaxRate": "8.875", "invoicePrefix": "NY"}
    cashier = Cashier(clinic, admin, await Cashier(clinic, admin, "").new_patient())

    shown = await cashier.issued("100.00")

    assert (shown["number"], shown["dueOn"]) == ("NY-000001", str(TODAY))
    assert (shown["tax"], shown["total"]) == (usd("8.88"), usd("108.88"))


async def test_what_costs_nothing_is_paid_when_it_is_issued(cashier: Cashier) -> None:
    shown = await cashier.issued("0.00")
    assert (shown["status"], shown["open"]) == ("PAID", usd("0.00"))


async def test_a_day_in_the_past_is_no_day_to_pay_on(cashier: Cashier) -> None:
    made = await cashier.draft({"description": "Visit", "unitPrice": usd("5.00")})
    answer = await cashier.ask("issueInvoice", "id", id=made["id"], version=1, dueOn=str(TODAY - timedelta(2)))
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.dueOn"])


async def test_an_issued_invoice_is_neither_changed_nor_issued_again(cashier: Cashier) -> None:
    shown = await cashier.issued()
    for name, more in (("updateInvoice", {"notes": "Changed"}), ("issueInvoice", {})):
        answer = await cashier.ask(name, "id", id=shown["id"], version=shown["version"], **more)
        assert answer.codes == ["INVALID_STATE"]
        assert answer.errors[0]["message"] == "The invoice is ISSUED. What may follow: PARTIALLY_PAID, PAID, VOID."
    assert await cashier.invoice(shown["id"]) == shown


# --- void -------------------------------------------------------------------------------------------------------------


async def test_an_unpaid_invoice_can_be_called_void(cashier: Cashier) -> None:
    shown = await cashier.issued()
    void = await cashier.done("voidInvoice", INVOICE, id=shown["id"], version=2, reason="Wrong patient")
    assert (void["status"], void["number"], void["open"]) == ("VOID", shown["number"], usd("0.00"))
    assert void["history"][-1]["reason"] == "Wrong patient"
    assert (await cashier.pay(shown, "10.00")).codes == ["INVALID_STATE"]
    again = await cashier.ask("voidInvoice", "id", id=shown["id"], version=3, reason="Again")
    assert (again.codes, again.errors[0]["message"]) == (
        ["INVALID_STATE"],
        "The invoice is VOID. What may follow: nothing.",
    )


async def test_a_paid_invoice_cannot_be_called_void(cashier: Cashier) -> None:
    shown = await cashier.issued()
    await cashier.paid(shown, "10.00")
    answer = await cashier.ask("voidInvoice", "id", id=shown["id"], version=3, reason="Wrong")
    assert answer.codes == ["INVALID_STATE"]
    assert (await cashier.invoice(shown["id"]))["status"] == "PARTIALLY_PAID"


# --- lists and sums ---------------------------------------------------------------------------------------------------


async def test_lists_are_by_state_patient_day_and_what_is_overdue(cashier: Cashier) -> None:
    draft = await cashier.draft({"description": "Visit", "unitPrice": usd("5.00")})
    issued, late = await cashier.issued("10.00"), await cashier.issued("20.00")
    async with tenant_scope(cashier.clinic.ref):
        yesterday = {"$set": {"due_on": str(TODAY - timedelta(2))}}
        await Invoice.guarded().update_one({"_id": ObjectId(late["id"])}, yesterday)

    async def listed(**filter: Any) -> list[str]:
        page = (await cashier.client.gql(LIST, filter={"patientId": cashier.patient, **filter})).data["invoices"]
        assert page["totalCount"] == len(page["edges"])
        return [edge["node"]["id"] for edge in page["edges"]]

    assert await listed() == [late["id"], issued["id"], draft["id"]]
    assert await listed(status="ISSUED") == [late["id"], issued["id"]]
    assert await listed(overdue=True) == [late["id"]]
    assert await listed(overdue=True, status="DRAFT") == []
    assert await listed(**{"from": str(TODAY), "to": str(TODAY)}) == [late["id"], issued["id"], draft["id"]]
    assert await listed(to=str(TODAY - timedelta(1))) == []
    balance = (await cashier.client.gql(BALANCE, id=cashier.patient)).data["patientBalance"]["sums"]
    assert [(one["invoiced"], one["open"], one["overdue"]) for one in balance] == [
        (usd("30.00"), {"amount": "30.00"}, {"amount": "20.00"})
    ]


async def test_from_is_not_after_to(cashier: Cashier) -> None:
    span = {"from": str(TODAY), "to": str(TODAY - timedelta(1))}
    answer = await cashier.client.gql(LIST, filter=span)
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["filter.to"])


async def test_who_may_only_look_does_not_write(server: Server, cashier: Cashier, clinic_a: Clinic) -> None:
    shown = await cashier.issued()
    desk = Cashier(clinic_a, await server.sign_in(clinic_a, "receptionist"), cashier.patient)
    nurse = Cashier(clinic_a, await server.sign_in(clinic_a, "nurse"), cashier.patient)
    assert (await desk.invoice(shown["id"]))["number"] == shown["number"]
    assert (await desk.ask("voidInvoice", "id", id=shown["id"], version=2, reason="No")).codes == ["FORBIDDEN"]
    assert (await nurse.client.gql("{ invoices { totalCount } }")).codes == ["FORBIDDEN"]
    assert not (await desk.pay(shown, "5.00")).errors
