"""Paying for a plan by PayPal: what is ordered, and what became of it by PayPal's own word.

Whatever sets it off, a mutation or an event, an order is read anew from PayPal and stored as it stands there. Its
version is compared when that is stored: of two who read it, the earlier one cannot overwrite the later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from weakref import WeakValueDictionary

import structlog
from beanie import PydanticObjectId
from bson import Decimal128, ObjectId
from pydantic import BaseModel, TypeAdapter, ValidationError
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import Conflict, InvalidState, NotFound, TenantNotFound, Unavailable, ValidationFailed
from app.integrations import paypal
from app.integrations.paypal import PaypalRefused, Purchase, approval_link, paypal_of
from app.plans import CURRENCY, PLANS, BillingCycle, PlanName, price_of
from app.services.audit import record
from app.services.changes import Row, checked, row_of, storable
from app.services.idempotency import mark_of, once
from app.services.mailing import host_url
from app.services.rate_limits import Limit, take
from app.services.states import advance
from app.services.subscription import keeping
from app.services.subscription.seats import require_room_in
from app.tenancy.scope import TenantRef, current_scope
from models import PaypalOrder, PaypalRoute, SubscriptionPayment
from models.subscription import PAID, PaymentState, PaypalKind, PaypalState
from models.values import Line, now

log = structlog.get_logger(__name__)

RACES = 10
"""So often an order is read anew when somebody else stored it in between."""
ORDERS = Limit("subscription-orders", 60, timedelta(hours=1))
"""Orders of one clinic: each is a call to PayPal."""
OVERLAP = timedelta(days=1)
WITHIN = timedelta(milliseconds=999)
"""PayPal tells times in whole seconds: what ended has ended by the end of its second."""
RUNNING = (PaypalState.ACTIVE.value, PaypalState.SUSPENDED.value)

TOLD = "told by PayPal"
PATIENCE = 30.0
"""Seconds that somebody waits for others who are at the same order."""
_LINE: TypeAdapter[str] = TypeAdapter(Line)
_turns: WeakValueDictionary[ObjectId, asyncio.Lock] = WeakValueDictionary()

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


# --- ordering -------------------------------------------------------------------------------------------------------


async def order(plan: PlanName, cycle: BillingCycle, *, renews: bool, key: str | None, settings: Settings) -> Row:
    """Orders a plan for one cycle or, with `renews`, an agreement by which it renews itself; the row of the order,
    with the address at which the payer agrees.

    Raises VALIDATION_FAILED for a plan that cannot be bought, QUOTA_EXCEEDED for one with fewer seats than people,
    INVALID_STATE where an agreement runs already, and UNAVAILABLE when PayPal is not set up or does not answer.
    """
    paypal_of(settings)
    price = price_of(plan, cycle)
    if price is None:
        raise ValidationFailed.at("input.plan", "cannot be bought")
    plan_id = settings.paypal_plans.get(f"{plan.value}-{cycle.value}") if renews else None
    if renews and plan_id is None:
        raise ValidationFailed.at("input.renews", "is not offered here: pay each time")
    await require_room_in(PLANS[plan])
    if not renews:
        await _require_none_running()
    kind = PaypalKind.AGREEMENT if renews else PaypalKind.ORDER
    asked = {"plan": plan.value, "billing_cycle": cycle.value, "kind": kind.value}
    mark = mark_of("createSubscriptionOrder", key, asked)
    made = PaypalOrder(
        id=ObjectId(),
        kind=kind,
        plan=plan,
        billing_cycle=cycle,
        amount=price,
        currency=CURRENCY,
        paypal_plan_id=plan_id,
        created_by=PydanticObjectId(current_scope().signed_in.user_id),
        requests=[mark] if mark else [],
    )

    async def write() -> Row:
        async def work(session: AsyncClientSession) -> None:
            await made.insert(session=session)
            await record("subscription.order", subject=made, session=session)

        await in_transaction(work)
        return row_of(made)

    await take(ORDERS, "all")
    row = await once(PaypalOrder, mark, write)
    return await _asked_for(row, settings) if row["status"] == PaypalState.NEW.value else row


async def _require_none_running() -> None:
    if await running():
        raise InvalidState("The plan renews itself. Cancel that first, or order another plan that renews itself.")


async def _asked_for(row: Row, settings: Settings) -> Row:
    """Asks PayPal for what was ordered and stores where the payer agrees. A repeat leads to the same order there."""
    purchase = _purchase(row, settings)
    app = paypal_of(settings)
    try:
        made: paypal.Order | paypal.Subscription
        if row["kind"] == PaypalKind.AGREEMENT.value:
            made = await app.create_subscription(purchase, row["paypal_plan_id"])
        else:
            made = await app.create_order(purchase)
    except PaypalRefused as refused:
        log.error("PayPal took no order", order=str(row["_id"]), issue=refused.issue)
        raise Unavailable("PayPal does not take the order. Those who run this system can see why.") from None
    link = approval_link(made.links)

    async def work(session: AsyncClientSession) -> Row:
        route = PaypalRoute(id=made.id, clinic_id=_here().id, order_id=row["_id"])
        await route.insert(session=session)
        values = {"paypal_id": made.id, "approve_url": link}
        return await advance(
            PaypalOrder, row["_id"], row["version"], PaypalState.PENDING, values=values, session=session
        )

    try:
        return await in_transaction(work)
    except (Conflict, InvalidState, DuplicateKeyError):  # a repeat of the same request was faster
        stored = await _row(row["_id"])
        if stored["status"] == PaypalState.NEW.value:
            raise
        return stored


def _purchase(row: Row, settings: Settings) -> Purchase:
    tenant = _here()
    page = f"{host_url(settings, tenant)}/subscription"
    plan, cycle = PlanName(row["plan"]).name.title(), BillingCycle(row["billing_cycle"]).name.lower()
    return Purchase(
        custom_id=str(row["_id"]),
        description=f"Polyclinic {plan}, {cycle}",
        amount=_decimal(row["amount"]),
        currency=row["currency"],
        back=f"{page}/paid?order={row['_id']}",
        cancelled=f"{page}/cancelled?order={row['_id']}",
    )


def _here() -> TenantRef:
    tenant = current_scope().tenant
    if tenant is None:
        raise TenantNotFound
    return tenant


# --- what became of it ----------------------------------------------------------------------------------------------


async def capture(order_id: ObjectId, settings: Settings) -> Row:
    """Takes the money of an order of this clinic to which the payer agreed, or sees that an agreement runs; its row.

    Raises NOT_FOUND at `input.orderId`, INVALID_STATE when the payer has not agreed yet, when PayPal does not take the
    money, and when what PayPal has is not what was ordered; UNAVAILABLE when PayPal does not answer.
    """
    if not await PaypalOrder.rows({"_id": order_id}, projection={"_id": 1}, limit=1):
        raise NotFound.at("input.orderId")
    row, truth = await bring(order_id, settings, again=False)
    settled = row["status"] in (PaypalState.COMPLETED.value, *RUNNING)
    if not settled and not any(one.state is PaymentState.PENDING for one in truth.payments):
        why = f" PayPal says: {truth.issue}." if truth.issue else ""
        raise InvalidState(f"Nothing was paid: the payer has not agreed to it, or PayPal did not take the money.{why}")
    return row


async def bring(order_id: ObjectId, settings: Settings, *, again: bool = True, why: str = TOLD) -> tuple[Row, Truth]:
    """Reads an order of the clinic in scope anew from PayPal, takes the money when the payer has agreed, and stores
    what stands there; the order's new row, and what was told.

    Those of this process who want the same order go one after another, so that they do not use up each other's tries;
    nothing rests on that. Unless `again`, what was paid before is not asked for anew. `why` goes into the
    subscription's history. Raises `Mismatch`, UNAVAILABLE, or `PaypalRefused` for what PayPal will never answer.
    """
    lock = _turns.setdefault(order_id, asyncio.Lock())
    try:
        async with asyncio.timeout(PATIENCE):
            await lock.acquire()
    except TimeoutError:
        raise Unavailable from None
    try:
        return await _bring(order_id, settings, again=again, why=why)
    finally:
        lock.release()


async def _bring(order_id: ObjectId, settings: Settings, *, again: bool, why: str) -> tuple[Row, Truth]:
    for _ in range(RACES):
        row = await _row(order_id)
        paid = row["status"] == PaypalState.COMPLETED.value
        new = row["status"] == PaypalState.NEW.value
        if new or row.get("paypal_id") is None or (paid and not again):
            return row, Truth(PaypalState(row["status"]))
        truth = await _truth(row, settings)
        try:
            stored = await _store(row, truth, why)
        except (Conflict, InvalidState):
            if (await _row(order_id))["version"] == row["version"]:
                raise
            continue
        if truth.state is PaypalState.ACTIVE:
            await _end_others(stored, settings)
        return stored, truth
    raise Unavailable


async def _row(order_id: ObjectId) -> Row:
    rows = await PaypalOrder.rows({"_id": order_id}, limit=1)
    if not rows:
        raise NotFound.at("input.orderId")
    return rows[0]


async def _truth(row: Row, settings: Settings) -> Truth:
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
    if not same or (units[0].amount.value, units[0].amount.currency_code) != (_decimal(row["amount"]), row["currency"]):
        raise _mismatch(row)


async def _agreement(row: Row, settings: Settings) -> Truth:
    app = paypal_of(settings)
    told = await app.subscription(row["paypal_id"])
    if told.custom_id != str(row["_id"]) or told.plan_id != row["paypal_plan_id"]:
        raise _mismatch(row)
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


def _mismatch(row: Row) -> Mismatch:
    log.error("an order at PayPal is not what was ordered", order=str(row["_id"]))
    return Mismatch()


async def _store(row: Row, truth: Truth, why: str) -> Row:
    """Stores what PayPal told of an order and of its payments, and where the subscription stands by that: all or
    nothing. Raises CONFLICT when the order was stored by somebody else since it was read."""
    for one in truth.payments:
        if (one.amount, one.currency) != (_decimal(row["amount"]), row["currency"]):
            raise _mismatch(row)

    async def work(session: AsyncClientSession) -> Row:
        if truth.state.value != row["status"]:
            stored = await advance(
                PaypalOrder, row["_id"], row["version"], truth.state, values=truth.values, session=session
            )
        else:
            changed = await PaypalOrder.change(row["_id"], row["version"], truth.values, session=session)
            stored = row_of(changed)
        for one in truth.payments:
            await _store_payment(row, one, session)
        paid = row["kind"] == PaypalKind.ORDER.value and any(one.state in PAID for one in truth.payments)
        values = {"paypal_order_id": row["paypal_id"]} if paid else None
        await keeping.renew(why, session, values=values)
        return stored

    return await in_transaction(work)


async def _store_payment(row: Row, told: Money, session: AsyncClientSession) -> None:
    known = await SubscriptionPayment.rows({"transaction_id": told.id}, limit=1, session=session)
    if known:
        if (known[0]["state"], _decimal(known[0]["refunded"])) == (told.state.value, told.refunded):
            return
        payment = await SubscriptionPayment.change(
            known[0]["_id"],
            None,
            {"state": told.state.value, "refunded": storable(told.refunded)},
            session=session,
        )
    else:
        payment = SubscriptionPayment(
            id=ObjectId(),
            order_id=row["_id"],
            transaction_id=told.id,
            plan=row["plan"],
            billing_cycle=row["billing_cycle"],
            amount=told.amount,
            currency=told.currency,
            payer_email=_line(told.payer),
            paid_at=told.at,
            ordered_at=row["created_at"],
            state=told.state,
            refunded=told.refunded,
        )
        await payment.insert(session=session)
        route = PaypalRoute(id=told.id, clinic_id=_here().id, order_id=row["_id"])
        await route.insert(session=session)
    await record("subscription.payment", subject=payment, session=session)


def _line(text: str | None) -> str | None:
    """A text of PayPal's, if it is one that is kept: a payment is not lost for the payer's address."""
    try:
        return _LINE.validate_python(text)
    except ValidationError:
        return None


# --- ending ---------------------------------------------------------------------------------------------------------


class _Cancel(BaseModel):
    reason: Line | None


async def cancel(reason: str | None, settings: Settings) -> None:
    """Ends what the clinic pays: nothing more is taken, and what is paid holds until its end.

    Raises VALIDATION_FAILED at `input.reason`, INVALID_STATE when there is nothing to cancel, UNAVAILABLE when PayPal
    does not answer.
    """
    why = checked(_Cancel, {"reason": reason})["reason"] or "Ended by the clinic."
    agreements = await running()
    if not agreements:
        await keeping.cancel(why)
    for row in agreements:
        await _end(row, why, settings)


async def running() -> list[Row]:
    """The agreements of the clinic in scope by which PayPal takes payments."""
    return await PaypalOrder.rows({"kind": PaypalKind.AGREEMENT.value, "status": {"$in": list(RUNNING)}})


async def _end_others(row: Row, settings: Settings) -> None:
    """Ends the agreements that were made before one that runs now: no clinic pays twice."""
    for other in await running():
        if other["_id"] < row["_id"]:
            await _end(other, "Another agreement takes its place.", settings)


async def _end(row: Row, why: str, settings: Settings) -> None:
    try:
        await paypal_of(settings).cancel_subscription(row["paypal_id"], str(row["_id"]), why)
    except PaypalRefused as refused:  # it has ended already, which PayPal tells when it is read
        log.info("an agreement was not cancelled", order=str(row["_id"]), issue=refused.issue)
    await bring(row["_id"], settings, why=why)


def _decimal(value: Any) -> Decimal:
    return value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)


async def latest_payments(count: int) -> list[Row]:
    """The latest payments of the clinic in scope."""
    return await SubscriptionPayment.rows({}, sort=[("paid_at", -1), ("_id", -1)], limit=count)
