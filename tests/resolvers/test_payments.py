"""Payments, refunds and credit notes: never more than there is, whatever comes at once, and no cent is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from app.tenancy.crossing import tenant_scope
from models import CreditNote
from tests.fixtures.tills import NOTE, PAYMENT, Cashier, usd


async def test_a_part_and_then_the_rest(cashier: Cashier) -> None:
    invoice = await cashier.issued("100.00")

    part = await cashier.paid(invoice, "30.00", method="CARD", reference="T-77")
    between = await cashier.invoice(invoice["id"])
    rest = await cashier.paid(invoice, "70.00")
    after = await cashier.invoice(invoice["id"])

    assert (part["kind"], part["amount"], part["method"], part["reference"]) == (
        "PAYMENT",
        usd("30.00"),
        "CARD",
        "T-77",
    )
    assert part["receivedBy"] == {"id": str(cashier.clinic.staff["accountant"].id)}
    assert part["number"].startswith("R-")
    assert rest["invoice"] == {"id": invoice["id"], "status": "PAID"}
    assert (between["status"], between["paid"], between["open"]) == ("PARTIALLY_PAID", usd("30.00"), usd("70.00"))
    assert (after["status"], after["paid"], after["open"]) == ("PAID", usd("100.00"), usd("0.00"))
    assert [step["status"] for step in after["history"]] == ["issued", "partially_paid", "paid"]


@pytest.mark.parametrize(
    ("amount", "path"),
    [
        (usd("100.01"), "input.amount.amount"),
        (usd("0"), "input.amount.amount"),
        (usd("-5"), "input.amount.amount"),
        (usd("NaN"), "input.amount.amount"),
        (usd("Infinity"), "input.amount.amount"),
        (usd("1.001"), "input.amount.amount"),
        (usd("1E-999999999"), "input.amount.amount"),
        (usd("1E+999999999"), "input.amount.amount"),
        ({"amount": "5", "currency": "EUR"}, "input.amount.currency"),
    ],
)
async def test_what_cannot_be_paid_is_refused(cashier: Cashier, amount: dict[str, str], path: str) -> None:
    invoice = await cashier.issued("100.00")
    answer = await cashier.ask("recordPayment", PAYMENT, invoiceId=invoice["id"], amount=amount, method="CASH")
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
    assert await cashier.payments_of(invoice) == []
    assert await cashier.invoice(invoice["id"]) == invoice


async def test_a_draft_and_a_paid_invoice_take_no_money(cashier: Cashier) -> None:
    draft = await cashier.draft({"description": "Visit", "unitPrice": usd("5.00")})
    paid = await cashier.issued("5.00")
    await cashier.paid(paid, "5.00")
    for one in (draft, paid):
        assert (await cashier.pay(one, "5.00")).codes == ["INVALID_STATE"]


async def test_twenty_payments_at_once_never_take_more_than_is_open(cashier: Cashier) -> None:
    invoice = await cashier.issued("100.00")

    answers = await asyncio.gather(*(cashier.pay(invoice, "30.00") for _ in range(20)))

    assert sum(not answer.errors for answer in answers) == 3
    assert {code for answer in answers for code in answer.codes} == {"VALIDATION_FAILED"}
    shown = await cashier.invoice(invoice["id"])
    assert (shown["status"], shown["paid"], shown["open"]) == ("PARTIALLY_PAID", usd("90.00"), usd("10.00"))
    assert len(await cashier.payments_of(invoice)) == 3


async def test_twenty_payments_at_once_that_fit_are_all_taken(cashier: Cashier) -> None:
    invoice = await cashier.issued("100.00")
    answers = await asyncio.gather(*(cashier.pay(invoice, "5.00") for _ in range(20)))
    assert Counter(code for answer in answers for code in answer.codes) == {}
    shown = await cashier.invoice(invoice["id"])
    assert (shown["status"], shown["open"]) == ("PAID", usd("0.00"))
    assert len({row["number"] for row in await cashier.payments_of(invoice)}) == 20


async def test_the_same_payment_sent_twenty_times_is_taken_once(cashier: Cashier) -> None:
    invoice = await cashier.issued("100.00")
    answers = await asyncio.gather(*(cashier.pay(invoice, "40.00", idempotencyKey="till-1") for _ in range(20)))
    assert len({answer.data["recordPayment"]["id"] for answer in answers}) == 1
    again = await cashier.pay(invoice, "50.00", idempotencyKey="till-1")
    assert again.codes == ["IDEMPOTENCY_CONFLICT"]
    assert (await cashier.invoice(invoice["id"]))["paid"] == usd("40.00")


# --- refunds ----------------------------------------------------------------------------------------------------------


async def refund(cashier: Cashier, payment: dict[str, Any], **more: Any) -> Any:
    return await cashier.ask("refundPayment", PAYMENT, paymentId=payment["id"], reason="Paid twice", **more)


async def test_what_is_given_back_is_open_again(cashier: Cashier) -> None:
    invoice = await cashier.issued("100.00")
    payment = await cashier.paid(invoice, "100.00", method="CARD")

    part = (await refund(cashier, payment, amount=usd("30.00"))).data["refundPayment"]
    between = await cashier.invoice(invoice["id"])
    rest = (await refund(cashier, payment, method="CASH")).data["refundPayment"]
    after = await cashier.invoice(invoice["id"])

    assert (part["kind"], part["amount"], part["method"], part["reason"]) == (
        "REFUND",
        usd("30.00"),
        "CARD",
        "Paid twice",
    )
    assert (rest["amount"], rest["method"]) == (usd("70.00"), "CASH")
    assert (between["status"], between["open"]) == ("PARTIALLY_PAID", usd("30.00"))
    assert (after["status"], after["paid"], after["open"]) == ("ISSUED", usd("0.00"), usd("100.00"))
    assert (await refund(cashier, payment)).codes == ["INVALID_STATE"]
    assert (await refund(cashier, part)).codes == ["INVALID_STATE"]


async def test_twenty_refunds_at_once_give_back_no_more_than_came(cashier: Cashier) -> None:
    invoice = await cashier.issued("100.00")
    payment = await cashier.paid(invoice, "100.00")
    answers = await asyncio.gather(*(refund(cashier, payment, amount=usd("30.00")) for _ in range(20)))
    assert sum(not answer.errors for answer in answers) == 3
    assert {code for answer in answers for code in answer.codes} == {"VALIDATION_FAILED"}
    assert (await cashier.invoice(invoice["id"]))["paid"] == usd("10.00")


# --- credit notes -----------------------------------------------------------------------------------------------------


async def credit(cashier: Cashier, invoice: dict[str, Any], **more: Any) -> Any:
    return await cashier.ask("createCreditNote", NOTE, invoiceId=invoice["id"], reason="Not done", **more)


async def test_a_line_that_is_credited_bit_by_bit_adds_up_to_the_cent(cashier: Cashier) -> None:
    invoice = await cashier.issued("33.333", quantity="3", taxRate="7")
    notes = [
        (await credit(cashier, invoice, lines=[{"number": 1, "quantity": "1"}])).data["createCreditNote"]
        for _ in range(3)
    ]
    assert [note["net"]["amount"] for note in notes] == ["33.33", "33.34", "33.33"]
    assert sum(Decimal(note["total"]["amount"]) for note in notes) == Decimal(invoice["total"]["amount"])
    assert len({note["number"] for note in notes}) == 3
    shown = await cashier.invoice(invoice["id"])
    assert (shown["status"], shown["open"], shown["lines"][0]["creditedQuantity"]) == ("PAID", usd("0.00"), "3")
    assert (await credit(cashier, invoice)).codes == ["INVALID_STATE"]


async def test_what_was_paid_for_what_is_credited_is_the_patients(cashier: Cashier) -> None:
    invoice = await cashier.issued("100.00")
    payment = await cashier.paid(invoice, "100.00")
    whole = (await credit(cashier, invoice)).data["createCreditNote"]
    assert (whole["total"], whole["reason"]) == (usd("100.00"), "Not done")
    assert (await cashier.invoice(invoice["id"]))["open"] == usd("-100.00")
    await refund(cashier, payment)
    shown = await cashier.invoice(invoice["id"])
    assert (shown["status"], shown["paid"], shown["open"]) == ("PAID", usd("0.00"), usd("0.00"))


@pytest.mark.parametrize(
    ("lines", "path"),
    [
        ([{"number": 2}], "input.lines.0.number"),
        ([{"number": 0}], "input.lines.0.number"),
        ([{"number": 1, "quantity": "2.001"}], "input.lines.0.quantity"),
        ([{"number": 1, "quantity": "-1"}], "input.lines.0.quantity"),
        ([{"number": 1}, {"number": 1}], "input.lines"),
        ([], "input.lines"),
    ],
)
async def test_no_more_of_a_line_is_credited_than_it_has(
    cashier: Cashier, lines: list[dict[str, Any]], path: str
) -> None:
    invoice = await cashier.issued("10.00", quantity="2")
    answer = await credit(cashier, invoice, lines=lines)
    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])
    assert await cashier.invoice(invoice["id"]) == invoice


async def test_of_twenty_who_credit_a_whole_invoice_one_does(cashier: Cashier) -> None:
    invoice = await cashier.issued("10.00")
    answers = await asyncio.gather(*(credit(cashier, invoice) for _ in range(20)))
    assert Counter(code for answer in answers for code in answer.codes) == {"INVALID_STATE": 19}
    async with tenant_scope(cashier.clinic.ref):
        assert len(await CreditNote.rows({"invoice_id": (await cashier.stored(invoice))["_id"]})) == 1


async def test_payments_and_credit_notes_at_once_leave_the_books_in_order(cashier: Cashier) -> None:
    invoice = await cashier.issued("10.00", quantity="10")
    await asyncio.gather(
        *(cashier.pay(invoice, "10.00") for _ in range(10)),
        *(credit(cashier, invoice, lines=[{"number": 1, "quantity": "1"}]) for _ in range(10)),
    )
    row = await cashier.stored(invoice)
    paid = sum(one["amount"].to_decimal() for one in await cashier.payments_of(invoice))
    assert row["paid"].to_decimal() == paid
    assert row["open"].to_decimal() == Decimal(100) - row["credited"].to_decimal() - paid
    assert row["credited"].to_decimal() == Decimal(100)


async def test_another_clinics_money_is_nobodys(cashier: Cashier, cashier_b: Cashier) -> None:
    theirs = await cashier_b.issued("10.00")
    payment = await cashier_b.paid(theirs, "5.00")
    for answer, path in (
        (await cashier.pay(theirs, "1.00"), "input.invoiceId"),
        (await refund(cashier, payment), "input.paymentId"),
        (await credit(cashier, theirs), "input.invoiceId"),
    ):
        assert (answer.codes, answer.paths) == (["NOT_FOUND"], [path])
    assert (await cashier_b.invoice(theirs["id"]))["paid"] == usd("5.00")


async def test_lists_are_by_invoice_method_and_day(cashier: Cashier) -> None:
    invoice = await cashier.issued("10.00")
    cash, card = await cashier.paid(invoice, "1.00"), await cashier.paid(invoice, "2.00", method="CARD")
    await credit(cashier, invoice, lines=[{"number": 1, "quantity": "0.1"}])
    asked = """query($filter: PaymentFilter, $notes: CreditNoteFilter) {
      payments(filter: $filter) { edges { node { id } } }
      creditNotes(filter: $notes) { edges { node { total { amount } } } } }"""
    filter = {"invoiceId": invoice["id"]}
    both = (await cashier.client.gql(asked, filter=filter, notes=filter)).data
    by_card = (await cashier.client.gql(asked, filter={**filter, "method": "CARD"}, notes=filter)).data
    assert [edge["node"]["id"] for edge in both["payments"]["edges"]] == [card["id"], cash["id"]]
    assert [edge["node"]["id"] for edge in by_card["payments"]["edges"]] == [card["id"]]
    assert both["creditNotes"]["edges"] == [{"node": {"total": {"amount": "1.00"}}}]
