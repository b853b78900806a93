"""What clinics can subscribe to: every plan with its price, seats, room and features in one file.

Prices are in `CURRENCY`. A plan is named in stored documents, so a name that was sold stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum

CURRENCY = "USD"
TRIAL_LASTS = timedelta(days=7)
GRACE = timedelta(days=7)
"""So long a clinic works on after its paid time has ended, unless it cancelled."""
GIGABYTE = 1024**3


class PlanName(StrEnum):
    """Which plan. The trial comes with a new clinic and cannot be bought."""

    TRIAL = "trial"
    BASIC = "basic"
    PRO = "pro"
    ENTERPRISE = "enterprise"


class BillingCycle(StrEnum):
    """How often a plan is paid."""

    MONTHLY = "monthly"
    YEARLY = "yearly"


MONTHS: Mapping[BillingCycle, int] = {BillingCycle.MONTHLY: 1, BillingCycle.YEARLY: 12}


class Feature(StrEnum):
    """What not every plan has. A root field that needs one says so: `field(…, feature=…)`."""

    SINGLE_SIGN_ON = "single_sign_on"
    LABORATORIES = "laboratories"


@dataclass(frozen=True, slots=True)
class Plan:
    """One plan. `seats` are the people who may work at the clinic at once, `storage` is in bytes, and `prices` are by
    cycle, in `CURRENCY`; a plan without prices cannot be bought. Of two plans the one of the higher `level` is more."""

    name: PlanName
    level: int
    seats: int
    storage: int
    features: frozenset[Feature]
    prices: Mapping[BillingCycle, Decimal]


def _prices(monthly: str, yearly: str) -> Mapping[BillingCycle, Decimal]:
    return {BillingCycle.MONTHLY: Decimal(monthly), BillingCycle.YEARLY: Decimal(yearly)}


PLANS: Mapping[PlanName, Plan] = {
    plan.name: plan
    for plan in (
        Plan(PlanName.TRIAL, 0, 100, 5 * GIGABYTE, frozenset(Feature), {}),
        Plan(PlanName.BASIC, 1, 10, 10 * GIGABYTE, frozenset(), _prices("49.00", "490.00")),
        Plan(
            PlanName.PRO,
            2,
            50,
            100 * GIGABYTE,
            frozenset({Feature.LABORATORIES}),
            _prices("149.00", "1490.00"),
        ),
        Plan(PlanName.ENTERPRISE, 3, 500, 1024 * GIGABYTE, frozenset(Feature), _prices("499.00", "4990.00")),
    )
}
LARGEST = max(PLANS.values(), key=lambda plan: plan.level)


def price_of(name: PlanName, cycle: BillingCycle) -> Decimal | None:
    """What a plan costs for one cycle, in `CURRENCY`; None for one that cannot be bought."""
    return PLANS[name].prices.get(cycle)


@dataclass(frozen=True, slots=True)
class Standing:
    """What a clinic has at present, and until when it may work by it; None: without an end."""

    plan: Plan = LARGEST
    good_until: datetime | None = None

    def is_good(self, moment: datetime) -> bool:
        """Whether the clinic may work at that moment, and not only read."""
        return self.good_until is None or moment < self.good_until


_required = True


def use_plans(*, required: bool) -> None:
    """Whether clinics of this process need a plan. Where not, each has all of the largest one, without an end."""
    global _required  # noqa: PLW0603 - one setting of the process, as its other ones
    _required = required


def plans_are_required() -> bool:
    """What `use_plans` was told; they are, unless it was."""
    return _required
