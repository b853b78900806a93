"""Ordering a plan by PayPal, and where the payer agrees. What becomes of it is in `settling`."""

from __future__ import annotations

from datetime import timedelta

import structlog
from beanie import PydanticObjectId
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import Conflict, InvalidState, TenantNotFound, Unavailable, ValidationFailed
from app.integrations import paypal
from app.integrations.paypal import PaypalRefused, Purchase, approval_link, paypal_of
from app.plans import CURRENCY, PLANS, BillingCycle, PlanName, price_of
from app.services.audit import record
from app.services.changes import Row, row_of
from app.services.idempotency import mark_of, once
from app.services.mailing import host_url
from app.services.rate_limits import Limit, take
from app.services.states import advance
from app.services.subscription.seats import require_room_in
from app.services.subscription.settling import running, stored_order
from app.services.subscription.truth import decimal
from app.tenancy.scope import TenantRef, current_scope
from models import PaypalOrder, PaypalRoute
from models.subscription import PaypalKind, PaypalState

log = structlog.get_logger(__name__)

ORDERS = Limit("subscription-orders", 60, timedelta(hours=1))
"""Orders of one clinic: each is a call to PayPal."""


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
        stored = await stored_order(row["_id"])
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
        amount=decimal(row["amount"]),
        currency=row["currency"],
        back=f"{page}/paid?order={row['_id']}",
        cancelled=f"{page}/cancelled?order={row['_id']}",
    )


def _here() -> TenantRef:
    tenant = current_scope().tenant
    if tenant is None:
        raise TenantNotFound
    return tenant
