"""What became of an order: read anew from PayPal and stored as it stands there, whatever set that off.

Its version is compared when it is stored: of two who read it, the earlier one cannot overwrite the later.
"""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

import structlog
from bson import ObjectId
from pydantic import BaseModel, TypeAdapter, ValidationError
from pymongo.asynchronous.client_session import AsyncClientSession

from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import Conflict, InvalidState, NotFound, Unavailable
from app.integrations.paypal import PaypalRefused, paypal_of
from app.services.audit import record
from app.services.changes import Row, checked, row_of, storable
from app.services.states import advance
from app.services.subscription import keeping
from app.services.subscription.truth import Money, Truth, decimal, mismatch, truth_of
from app.tenancy.scope import current_scope
from models import PaypalOrder, PaypalRoute, SubscriptionPayment
from models.subscription import PAID, PaymentState, PaypalKind, PaypalState
from models.values import Line

log = structlog.get_logger(__name__)

RACES = 10
"""So often an order is read anew when somebody else stored it in between."""
RUNNING = (PaypalState.ACTIVE.value, PaypalState.SUSPENDED.value)
TOLD = "told by PayPal"
PATIENCE = 30.0
"""Seconds that somebody waits for others who are at the same order."""
_LINE: TypeAdapter[str] = TypeAdapter(Line)
_turns: WeakValueDictionary[ObjectId, asyncio.Lock] = WeakValueDictionary()


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
        row = await stored_order(order_id)
        paid = row["status"] == PaypalState.COMPLETED.value
        new = row["status"] == PaypalState.NEW.value
        if new or row.get("paypal_id") is None or (paid and not again):
            return row, Truth(PaypalState(row["status"]))
        truth = await truth_of(row, settings)
        try:
            stored = await _store(row, truth, why)
        except (Conflict, InvalidState):
            if (await stored_order(order_id))["version"] == row["version"]:
                raise
            continue
        if truth.state is PaypalState.ACTIVE:
            await _end_others(stored, settings)
        return stored, truth
    raise Unavailable


async def stored_order(order_id: ObjectId) -> Row:
    """The row of an order of the clinic in scope. Raises NOT_FOUND at `input.orderId`."""
    rows = await PaypalOrder.rows({"_id": order_id}, limit=1)
    if not rows:
        raise NotFound.at("input.orderId")
    return rows[0]


async def _store(row: Row, truth: Truth, why: str) -> Row:
    """Stores what PayPal told of an order and of its payments, and where the subscription stands by that: all or
    nothing. Raises CONFLICT when the order was stored by somebody else since it was read."""
    for one in truth.payments:
        if (one.amount, one.currency) != (decimal(row["amount"]), row["currency"]):
            raise mismatch(row)

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
        if (known[0]["state"], decimal(known[0]["refunded"])) == (told.state.value, told.refunded):
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
        route = PaypalRoute(id=told.id, clinic_id=current_scope().tenant_id, order_id=row["_id"])
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


async def latest_payments(count: int) -> list[Row]:
    """The latest payments of the clinic in scope."""
    return await SubscriptionPayment.rows({}, sort=[("paid_at", -1), ("_id", -1)], limit=count)
