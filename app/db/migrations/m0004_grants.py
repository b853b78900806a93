"""Clinics that were opened before plans were asked for get one for a year: without it, this release would let them read
and change nothing. Those who run the system give another one, or take it back, with `scripts.subscriptions`.

Such a clinic is known by a subscription that says nothing of a grant, not even that there is none. Where somebody has
dealt with it since, by giving it a plan or being paid for one, it is left alone.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from app.db.migrations.step import Migration, Runs, Site
from app.plans import LARGEST
from models.tenant import PlanGrant, SubscriptionStatus, SubscriptionStep, Tenant
from models.values import now

LASTS = timedelta(days=365)
PLAN = LARGEST.name
"""What they could do before, they can go on doing."""
CAUSE = "opened before plans were asked for"
FROM_BEFORE = {
    "subscription.grant": {"$exists": False},
    "subscription.expires_at": {"$type": "date"},
    "subscription.status": {"$in": [SubscriptionStatus.TRIAL.value, SubscriptionStatus.EXPIRED.value]},
}


async def run(site: Site) -> int:
    """Gives each of them the plan. The clinic's row says at once what `app.services.subscription` works out of it."""
    moment = now()
    until = moment + LASTS
    grant = PlanGrant(plan=PLAN, until=until, granted_at=moment)
    step = SubscriptionStep(at=moment, status=SubscriptionStatus.ACTIVE, plan=PLAN, cause=CAUSE)
    ended = {"$ifNull": ["$subscription.trial_ends_at", "$subscription.expires_at"]}
    history = {"$concatArrays": [{"$ifNull": ["$subscription.history", []]}, [_values(step)]]}
    fresh = {
        "grant": _values(grant),
        "plan": PLAN.value,
        "status": SubscriptionStatus.ACTIVE.value,
        "billing_cycle": "monthly",
        "trial_ends_at": ended,
        "expires_at": until,
        "history": history,
        "revision": _one_more("$subscription.revision"),
    }
    change: dict[str, Any] = {f"subscription.{name}": value for name, value in fresh.items()}
    change |= {"version": _one_more("$version"), "updated_at": moment}
    done = await site.database[Tenant.guarded_name()].update_many(FROM_BEFORE, [{"$set": change}])
    return done.modified_count


def _values(value: PlanGrant | SubscriptionStep) -> dict[str, Any]:
    """As it is stored: times stay times."""
    return {name: one.value if hasattr(one, "value") else one for name, one in value.model_dump().items()}


def _one_more(column: str) -> dict[str, Any]:
    return {"$add": [{"$ifNull": [column, 0]}, 1]}


async def pending(site: Site) -> int:
    """How many of them there are."""
    return await site.database[Tenant.guarded_name()].count_documents(FROM_BEFORE)


MIGRATION = Migration(4, "grants", run, pending, Runs.SHARED)
