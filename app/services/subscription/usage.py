"""What a clinic uses of what its plan gives."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from app.config import Settings
from app.plans import CURRENCY, PLANS, BillingCycle, Plan, PlanName
from app.services.changes import Row
from app.services.documents import quota
from app.services.subscription import keeping
from app.services.subscription.seats import seats_taken
from app.tenancy.directory import standing_of
from models import PatientRecord
from models.patient import RecordStatus
from models.values import now


async def status() -> Row:
    """The subscription of the clinic in scope: as it stands now, and until when the clinic may work by it."""
    stored = await keeping.standing_now()
    standing = standing_of(stored)
    return {
        **stored,
        "plan": PlanName(stored.get("plan", PlanName.TRIAL)),
        "trial_ends_at": keeping.trial_end(stored),
        "works": standing.is_good(now()),
        "works_until": standing.good_until if standing.is_good(now()) else None,
        "granted_until": (stored.get("grant") or {}).get("until"),
    }


async def usage(settings: Settings) -> Row:
    """Seats, bytes of files and features of the plan in force, and how much of them is used."""
    plan = standing_of(await keeping.stored()).plan
    used = await quota.usage()
    return {
        "seats": plan.seats,
        "seats_taken": await seats_taken(),
        "storage": Decimal(settings.storage_per_clinic or plan.storage),
        "storage_used": Decimal(used.used),
        "patients": await PatientRecord.guarded().count_documents({"status": RecordStatus.ACTIVE.value}),
        "features": sorted(plan.features),
    }


def offered(settings: Settings) -> list[Row]:
    """The plans that can be bought, the smallest first."""
    plans = sorted(PLANS.values(), key=lambda plan: plan.level)
    return [_offer(plan, settings) for plan in plans if plan.prices]


def _offer(plan: Plan, settings: Settings) -> Row:
    return {
        "name": plan.name,
        "seats": plan.seats,
        "storage": Decimal(settings.storage_per_clinic or plan.storage),
        "features": sorted(plan.features),
        "monthly": _price(plan, BillingCycle.MONTHLY),
        "yearly": _price(plan, BillingCycle.YEARLY),
        "renewable": [cycle for cycle in BillingCycle if f"{plan.name}-{cycle}" in settings.paypal_plans],
    }


def _price(plan: Plan, cycle: BillingCycle) -> dict[str, Any]:
    return {"amount": plan.prices[cycle], "currency": CURRENCY}
