"""What PayPal has of an order, by its own word when it is asked: the state, and each payment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from bson import Decimal128

from app.config import Settings
from app.errors import InvalidState
from app.integrations import paypal
from app.integrations.paypal import PaypalRefused, paypal_of
from app.services.changes import Row
from models.subscription import PaymentState, PaypalKind, PaypalState
from models.values import now

log = structlog.get_logger(__name__)

OVERLAP = timedelta(days=1)
WITHIN = timedelta(milliseconds=999)
"""PayPal tells times in whole seconds: what ended has ended by the end of its second."""

_PAYMENTS: Mapping[str, PaymentState] = {
    "COMPLETED": PaymentState.COMPLETED,
    "PARTIALLY_REFUNDED": PaymentState.PARTIALLY_REFUNDED,
    "REFUNDED": PaymentState.REFUNDED,
    "REVERSED": PaymentState.REVERSED,
    "DECLINED": PaymentState.DENIED,
    "FAILED": PaymentState.DENIED,
}
"""PayPal's word for a payment's state; any other one means that the money is not here yet."""
_AGREEMENTS: Mapping[str, PaypalState] = {
    "ACTIVE": PaypalState.ACTIVE,
    "SUSPENDED": PaypalState.SUSPENDED,
    "CANCELLED": PaypalState.ENDED,
    "EXPIRED": PaypalState.ENDED,
}


class Mismatch(InvalidState):
    """What PayPal has is not what was ordered here. Nothing of it is believed."""

    default_message = "What PayPal has for this order is not what was ordered. Nothing was changed."


@dataclass(frozen=True, slots=True)
class Money:
    """One payment as PayPal tells it."""

    id: str
    state: PaymentState
    amount: Decimal
    currency: str
    at: datetime
    refunded: Decimal = Decimal(0)
    payer: str | None = None


@dataclass(frozen=True, slots=True)
class Truth:
    """An order or an agreement as PayPal tells it. `issue`: why the money could not be taken, in PayPal's word."""

    state: PaypalState
    payments: Sequence[Money] = ()
    values: Row = field(default_factory=dict)
    issue: str | None = None


async def truth_of(row: Row, settings: Settings) -> Truth:
    """What PayPal has of an order. Raises `Mismatch`, UNAVAILABLE, or `PaypalRefused` for what it will never answer."""
    try:
        if row["kind"] == PaypalKind.AGREEMENT.value:
            return await _agreement(row, settings)
        return await _order(row, settings)
    except PaypalRefused as refused:
        if refused.status != paypal.NOT_FOUND:
            raise
        gone = row["status"] == PaypalState.PENDING.value  # PayPal forgets what nobody agreed to
        return Truth(PaypalState.VOID if gone else PaypalState(row["status"]))


async def _order(row: Row, settings: Settings) -> Truth:
    app, issue = paypal_of(settings), None
    told = await app.order(row["paypal_id"])
    _require_ordered(row, told)
    if told.status == "APPROVED":
        try:
            await app.capture_order(told.id, str(row["_id"]))
        except PaypalRefused as refused:
            issue = None if refused.issue == "ORDER_ALREADY_CAPTURED" else refused.issue
        told = await app.order(row["paypal_id"])
        _require_ordered(row, told)
    unit = told.purchase_units[0]
    refunded = sum((one.amount.value for one in unit.payments.refunds if one.status == "COMPLETED"), Decimal(0))
    payments = [
        Money(
            one.id,
            _PAYMENTS.get(one.status, PaymentState.PENDING),
            one.amount.value,
            one.amount.currency_code,
            one.create_time,
            refunded,
            told.payer.email_address,
        )
        for one in unit.payments.captures
    ]
    done = told.status == "COMPLETED"
    over = PaypalState.VOID if told.status == "VOIDED" else PaypalState(row["status"])
    return Truth(PaypalState.COMPLETED if done else over, payments, issue=issue)


def _require_ordered(row: Row, told: paypal.Order) -> None:
    """The order at PayPal is the one that was made here: ours by its mark, for this amount and no other."""
    units = told.purchase_units
    same = len(units) == 1 and units[0].custom_id == str(row["_id"])
    if not same or (units[0].amount.value, units[0].amount.currency_code) != (decimal(row["amount"]), row["currency"]):
        raise mismatch(row)


async def _agreement(row: Row, settings: Settings) -> Truth:
    app = paypal_of(settings)
    told = await app.subscription(row["paypal_id"])
    if told.custom_id != str(row["_id"]) or told.plan_id != row["paypal_plan_id"]:
        raise mismatch(row)
    state = _AGREEMENTS.get(told.status, PaypalState.PENDING)
    taken = await app.transactions(told.id, row["created_at"] - OVERLAP, now() + OVERLAP)
    payments = [
        Money(
            one.id,
            _PAYMENTS.get(one.status, PaymentState.PENDING),
            one.amount_with_breakdown.gross_amount.value,
            one.amount_with_breakdown.gross_amount.currency_code,
            one.time,
            payer=one.payer_email or told.subscriber.email_address,
        )
        for one in taken
    ]
    ended = told.status_update_time + WITHIN if told.status_update_time else now()
    values = {
        "next_billing_at": told.billing_info.next_billing_time if state is PaypalState.ACTIVE else None,
        "ended_at": ended if state is PaypalState.ENDED else None,
    }
    return Truth(state, payments, values)


def mismatch(row: Row) -> Mismatch:
    """The failure, noted for those who run the system."""
    log.error("an order at PayPal is not what was ordered", order=str(row["_id"]))
    return Mismatch()


def decimal(value: Any) -> Decimal:
    """An amount as it is stored, or as PayPal tells it."""
    return value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)
