"""What patients see of money in the portal: their own invoices once issued, and their own payments."""

from __future__ import annotations

from dataclasses import replace

from tests.fixtures.clinics import Clinic
from tests.fixtures.portal import Visit
from tests.fixtures.tills import Cashier, usd

ASKED = """{
  patientInvoices { totalCount edges { node {
    number status total { amount } open { amount } lines { description } } } }
  patientPayments { totalCount edges { node { number kind amount { amount } invoice { number } } } }
}"""


async def test_a_patient_sees_issued_invoices_and_payments_of_their_own(
    visit: Visit, cashier: Cashier, clinic_a: Clinic
) -> None:
    visitor = await visit(clinic_a)
    till = replace(cashier, patient=str(visitor.patient_id))
    await till.draft({"description": "Not yet issued", "unitPrice": usd("5.00")})
    issued, void = await till.issued("100.00"), await till.issued("7.00")
    await till.done("voidInvoice", "id", id=void["id"], version=2, reason="Wrong patient")
    payment = await till.paid(issued, "30.00")
    others = await cashier.issued("50.00")
    await cashier.paid(others, "50.00")
    never = await till.draft({"description": "Never issued", "unitPrice": usd("5.00")})
    await till.done("voidInvoice", "id", id=never["id"], version=1, reason="Never mind")

    seen = await visitor.asks(ASKED)

    invoices = [edge["node"] for edge in seen["patientInvoices"]["edges"]]
    assert [(one["number"], one["status"]) for one in invoices] == [
        (void["number"], "VOID"),
        (issued["number"], "PARTIALLY_PAID"),
    ]
    assert (invoices[1]["total"], invoices[1]["open"]) == ({"amount": "100.00"}, {"amount": "70.00"})
    assert [edge["node"] for edge in seen["patientPayments"]["edges"]] == [
        {
            "number": payment["number"],
            "kind": "PAYMENT",
            "amount": {"amount": "30.00"},
            "invoice": {"number": issued["number"]},
        }
    ]
