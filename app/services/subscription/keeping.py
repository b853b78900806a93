"""Brings a clinic's stored subscription along with what is known of it: in the transaction of what became known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import Decimal128
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import InvalidState, Unavailable
from app.plans import GRACE, BillingCycle, PlanName
from app.services.audit import record
from app.services.changes import Row, storable
from app.services.subscription.course import Course, Facts, Granted, Paid, course_at, latest, status_at
from app.tenancy.scope import current_scope
from models import PaypalOrder, SubscriptionPayment, Tenant
from models.subscription import PAID, PaypalKind, PaypalState
from models.tenant import SubscriptionStatus, SubscriptionStep
from models.values import now

MOST_STEPS = 100


async def stored(session: AsyncClientSession | None = None) -> Row:
    """The stored subscription of the clinic in scope."""
    row = await Tenant.guarded().find_one({"_id": current_scope().tenant_id}, {"subscription": 1}, session=session)
    found: Row = (row or {}).get("subscription", {})
    return found


async def standing_now(session: AsyncClientSession | None = None) -> Row:
    """As `stored`, with the status that time has led to since it was noted."""
    row = await stored(session)
    noted = SubscriptionStatus(row.get("status", SubscriptionStatus.TRIAL))
    return {**row, "status": status_at(noted, row.get("expires_at"), now()).value}


async def renew(
    cause: str, session: AsyncClientSession, *, values: Mapping[str, Any] | None = None, always: bool = True
) -> Course:
    """Works out where the subscription of the clinic in scope stands now and stores it, in the session's transaction.

    `values` of the subscription are set in the same step, before it is worked out. With `always` the clinic is written
    to even when nothing differs, so that of two transactions that learn something one sees what the other did.
    """
    before = await stored(session)
    known = {**before, **(values or {})}
    agreements = await _agreements(session)
    course = course_at(await _facts(known, agreements, session), now())
    running = next((one for one in agreements if one["status"] == PaypalState.ACTIVE.value), None)
    fresh = {
        **(values or {}),
        "status": course.status.value,
        "plan": course.plan.value,
        "billing_cycle": course.cycle.value,
        "expires_at": course.expires_at,
        "trial_ends_at": trial_end(before),
        "renewal_at": running["next_billing_at"] if running else None,
        "paypal_subscription_id": running["paypal_id"] if running else None,
    }
    if always or any(before.get(name) != value for name, value in fresh.items()):
        await _write(before, fresh, course, cause, session)
    return course


async def _write(before: Row, fresh: Row, course: Course, cause: str, session: AsyncClientSession) -> None:
    moved = (before.get("status"), before.get("plan")) != (course.status.value, course.plan.value)
    change: dict[str, Any] = {
        "$set": {**{f"subscription.{name}": value for name, value in fresh.items()}, "updated_at": now()},
        "$inc": {"subscription.revision": 1, "version": 1},
    }
    if moved:
        step = SubscriptionStep(status=course.status, plan=course.plan, cause=cause)
        change["$push"] = {"subscription.history": {"$each": [storable(step)], "$slice": -MOST_STEPS}}
    revision = before.get("revision", 0)
    same = revision or {"$in": [0, None]}
    done = await Tenant.guarded().update_one(
        {"_id": current_scope().tenant_id, "subscription.revision": same}, change, session=session
    )
    if not done.matched_count:
        raise Unavailable
    if moved:
        await record(f"subscription.{course.status.value}", session=session)


async def _agreements(session: AsyncClientSession) -> list[Row]:
    columns = ("status", "paypal_id", "next_billing_at", "ended_at")
    return await PaypalOrder.rows(
        {"kind": PaypalKind.AGREEMENT.value}, projection=columns, sort=[("_id", -1)], limit=200, session=session
    )


async def _facts(known: Row, agreements: list[Row], session: AsyncClientSession) -> Facts:
    columns = ("order_id", "transaction_id", "paid_at", "plan", "billing_cycle", "amount", "ordered_at")
    counting = {"state": {"$in": [state.value for state in PAID]}}
    payments = await SubscriptionPayment.rows(counting, projection=columns, session=session)
    grant = known.get("grant")
    return Facts(
        trial_ends_at=trial_end(known),
        payments=tuple(_paid(row) for row in payments),
        granted=Granted(PlanName(grant["plan"]), grant["until"]) if grant else None,
        cancelled_at=latest([known.get("cancelled_at"), *(one.get("ended_at") for one in agreements)]),
        renews=any(one["status"] == PaypalState.ACTIVE.value for one in agreements),
    )


def trial_end(subscription: Mapping[str, Any]) -> Any:
    """When the trial ends, or ended; of a clinic that was opened before that was stored by itself, too."""
    if subscription.get("trial_ends_at") is not None or subscription.get("plan", "trial") != PlanName.TRIAL.value:
        return subscription.get("trial_ends_at")
    return subscription.get("expires_at")


def _paid(row: Row) -> Paid:
    amount: Decimal128 = row["amount"]
    return Paid(
        f"{row['order_id']}:{row['transaction_id']}",  # what was ordered later was paid later, within one second
        row["paid_at"],
        PlanName(row["plan"]),
        BillingCycle(row["billing_cycle"]),
        amount.to_decimal(),
        row.get("ordered_at"),
    )


# --- what time does -------------------------------------------------------------------------------------------------


async def bring_along() -> Mapping[str, int]:
    """Stores where the subscription of the clinic in scope stands by now, if that is another state than the stored one;
    counts by the new one."""
    before = await stored()
    if not is_due(before):
        return {}

    async def work(session: AsyncClientSession) -> Course:
        return await renew("time passed", session, always=False)

    course = await in_transaction(work)
    return {course.status.value: 1} if course.status.value != before.get("status") else {}


def is_due(subscription: Mapping[str, Any]) -> bool:
    """Whether time alone may have led a stored subscription to another state."""
    ends, status = subscription.get("expires_at"), subscription.get("status", SubscriptionStatus.TRIAL.value)
    grant = subscription.get("grant")
    if grant and grant["until"] <= now() and subscription.get("plan") == grant["plan"] and ends and ends > now():
        return True
    if ends is None or status in (SubscriptionStatus.CANCELLED.value, SubscriptionStatus.EXPIRED.value):
        return False
    late = status == SubscriptionStatus.PAST_DUE.value
    return bool(now() >= (ends + GRACE if late else ends))


# --- what the clinic decides ----------------------------------------------------------------------------------------


async def cancel(reason: str) -> Course:
    """Notes that the clinic does not renew what it pays by hand, and why.

    Raises INVALID_STATE when there is nothing to cancel.
    """

    async def work(session: AsyncClientSession) -> Course:
        status = SubscriptionStatus((await stored(session)).get("status", SubscriptionStatus.TRIAL.value))
        if status not in (SubscriptionStatus.ACTIVE, SubscriptionStatus.PAST_DUE):
            raise InvalidState(f"The subscription is {status.name}. There is nothing to cancel.")
        await record("subscription.cancel", session=session)
        return await renew(reason, session, values={"cancelled_at": now()})

    return await in_transaction(work)
