"""Payments and refunds: never more than is open, never more back than came, whatever happens at once."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_turn
from app.errors import FieldError, InvalidState, NotFound, ValidationFailed
from app.services.billing.invoices import actor_id
from app.services.billing.lines import number_in, payable
from app.services.billing.settling import billed_invoice, settle
from app.services.changes import Row, build, checked, row_of, storable
from app.services.counters import next_number
from app.services.idempotency import mark_of, once
from app.services.settings import clinic_settings
from models import Payment
from models.appointment import RequestMark
from models.payment import PaymentKind, PaymentMethod


async def pay(values: Mapping[str, Any], *, key: str | None = None) -> Row:
    """Records a payment for an invoice, both in one transaction; answers with the payment's row.

    `values`: `invoice_id, amount` (money), `method`, and maybe `reference`. Raises NOT_FOUND at `input.invoiceId`,
    INVALID_STATE for an invoice that is not issued, VALIDATION_FAILED at `input.amount…` for more than is open.
    """
    mark = mark_of("recordPayment", key, values)

    async def work() -> Row:
        invoice = await billed_invoice(values["invoice_id"], at="input.invoiceId")
        amount = payable(values["amount"], invoice["currency"], at="input.amount")
        _refuse_more_than_open(invoice, amount)
        more = checked(Payment, {"reference": values.get("reference")})
        payment = await _new(invoice, amount, values["method"], mark, **more)
        return await in_turn(payment.invoice_id, lambda session: _paid(payment, session))

    return await once(Payment, mark, work)


def _refuse_more_than_open(invoice: Row, amount: Decimal) -> None:
    open_ = number_in(invoice, "open")
    if open_ <= 0:
        raise InvalidState("Nothing of the invoice is open.")
    if amount > open_:
        raise ValidationFailed.at("input.amount.amount", f"is more than what is open, {open_:f}")


async def _paid(payment: Payment, session: AsyncClientSession) -> Row:
    invoice = await billed_invoice(payment.invoice_id, at="input.invoiceId", session=session)
    _refuse_more_than_open(invoice, payment.amount)
    await settle(invoice, paid=payment.amount, session=session)
    await payment.insert(session=session)
    return row_of(payment)


async def _new(invoice: Row, amount: Decimal, method: PaymentMethod, mark: RequestMark | None, **more: Any) -> Payment:
    """A payment that is not stored yet, with the next number of receipts."""
    prefix, number = (await clinic_settings()).receipt_prefix, await next_number("receipt")
    payment: Payment = build(
        Payment,
        {
            "id": ObjectId(),
            "number": f"{prefix}-{number:06d}",
            "invoice_id": invoice["_id"],
            "patient_id": invoice["patient_id"],
            "currency": invoice["currency"],
            "amount": amount,
            "method": method,
            "received_by": actor_id(),
            "requests": [mark] if mark else [],
            **more,
        },
    )
    return payment


async def refund(values: Mapping[str, Any], *, key: str | None = None) -> Row:
    """Gives money of a payment back; what is open of the invoice grows by it. Answers with the refund's row.

    `values`: `payment_id, reason`, and maybe `amount` (else all that is left), `method` (else the payment's).
    Raises NOT_FOUND at `input.paymentId`, INVALID_STATE when all of it went back, VALIDATION_FAILED for more than that.
    """
    mark = mark_of("refundPayment", key, values)

    async def work() -> Row:
        paid = await _payment(values["payment_id"], None)
        invoice = await billed_invoice(paid["invoice_id"], at="input.paymentId")
        amount = _refundable(paid, values.get("amount"))
        reason = checked(Payment, {"reason": values["reason"]})["reason"]
        method = values.get("method") or PaymentMethod(paid["method"])
        more = {"kind": PaymentKind.REFUND, "payment_id": paid["_id"], "reason": reason}
        refunded = await _new(invoice, amount, method, mark, **more)
        return await in_turn(refunded.invoice_id, lambda session: _refunded(refunded, session))

    return await once(Payment, mark, work)


async def _payment(id: ObjectId | None, session: AsyncClientSession | None) -> Row:
    rows: list[Row] = await Payment.rows({"_id": id}, limit=1, session=session)
    if not rows:
        raise NotFound.at("input.paymentId")
    return rows[0]


def _refundable(paid: Row, wanted: Mapping[str, Any] | None) -> Decimal:
    """How much is to be given back of a payment."""
    if paid["kind"] != PaymentKind.PAYMENT.value:
        raise InvalidState("This is a refund: only payments are given back.")
    left = number_in(paid, "amount") - number_in(paid, "refunded")
    if left <= 0:
        raise InvalidState("All of the payment was given back.")
    amount = left if wanted is None else payable(wanted, paid["currency"], at="input.amount")
    if amount > left:
        raise ValidationFailed(fields=[FieldError("input.amount.amount", f"is more than what is left, {left:f}")])
    return amount


async def _refunded(refund: Payment, session: AsyncClientSession) -> Row:
    paid = await _payment(refund.payment_id, session)
    given = {"amount": refund.amount, "currency": refund.currency}
    total = number_in(paid, "refunded") + _refundable(paid, given)
    await Payment.change(paid["_id"], paid["version"], {"refunded": storable(total)}, session=session)
    invoice = await billed_invoice(refund.invoice_id, at="input.paymentId", session=session)
    await settle(invoice, paid=-refund.amount, reason=refund.reason, session=session)
    await refund.insert(session=session)
    return row_of(refund)
