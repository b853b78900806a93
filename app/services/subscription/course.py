"""Where a subscription stands, worked out from what is known of it.

A pure function of facts and time: in whatever order payments become known, events arrive and jobs run, the same facts
at the same moment lead to the same state.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from app.plans import GRACE, MONTHS, PLANS, BillingCycle, PlanName
from models.tenant import SubscriptionStatus


@dataclass(frozen=True, slots=True)
class Paid:
    """A payment that counts: one cycle of a plan, at the price that was paid. `id` orders payments of one moment.

    PayPal tells `at` in whole seconds; `ordered_at`, where it is known, is when the clinic asked for it.
    """

    id: str
    at: datetime
    plan: PlanName
    cycle: BillingCycle
    amount: Decimal
    ordered_at: datetime | None = None

    def is_after(self, moment: datetime) -> bool:
        """Whether it was made, or asked for, after that moment."""
        return self.at > moment or (self.ordered_at is not None and self.ordered_at > moment)


@dataclass(frozen=True, slots=True)
class Granted:
    """A plan that was given until then, by those who run the system."""

    plan: PlanName
    until: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of a clinic's subscription. `cancelled_at`: the latest moment at which the clinic, or the payer
    at PayPal, ended it; `renews`: an agreement is running by which it renews itself."""

    trial_ends_at: datetime | None
    payments: tuple[Paid, ...] = ()
    granted: Granted | None = None
    cancelled_at: datetime | None = None
    renews: bool = False


@dataclass(frozen=True, slots=True)
class Course:
    """Where a subscription stands; `expires_at` ends what was paid or given. None: it has no end."""

    status: SubscriptionStatus
    plan: PlanName
    cycle: BillingCycle
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Cover:
    """What payments cover: a plan until a moment."""

    plan: PlanName
    cycle: BillingCycle
    price: Decimal
    until: datetime


def course_at(facts: Facts, moment: datetime) -> Course:
    """Where a subscription with these facts stands at that moment."""
    cover = _covered(facts)
    given = facts.granted
    if cover is None and given is None:
        return _of_trial(facts.trial_ends_at, moment)
    ends = latest((cover.until if cover else None, given.until if given else None, facts.trial_ends_at))
    if ends is None:
        raise ValueError("what is covered, or given, has an end")
    cycle = cover.cycle if cover else BillingCycle.MONTHLY
    return Course(_status(facts, ends, moment), _plan(cover, given, moment), cycle, ends)


def _of_trial(ends: datetime | None, moment: datetime) -> Course:
    over = ends is not None and moment >= ends
    status = SubscriptionStatus.EXPIRED if over else SubscriptionStatus.TRIAL
    return Course(status, PlanName.TRIAL, BillingCycle.MONTHLY, ends)


def _status(facts: Facts, ends: datetime, moment: datetime) -> SubscriptionStatus:
    if _is_cancelled(facts):
        return SubscriptionStatus.CANCELLED
    if moment < ends:
        return SubscriptionStatus.ACTIVE
    return SubscriptionStatus.PAST_DUE if moment < ends + GRACE else SubscriptionStatus.EXPIRED


def status_at(status: SubscriptionStatus, ends: datetime | None, moment: datetime) -> SubscriptionStatus:
    """What a stored status has become by time alone, before a job notes it."""
    if ends is None or moment < ends:
        return status
    if status is SubscriptionStatus.TRIAL:
        return SubscriptionStatus.EXPIRED
    if status in (SubscriptionStatus.ACTIVE, SubscriptionStatus.PAST_DUE):
        return SubscriptionStatus.PAST_DUE if moment < ends + GRACE else SubscriptionStatus.EXPIRED
    return status


def _is_cancelled(facts: Facts) -> bool:
    """Whoever pays after cancelling, or has an agreement that runs, has not cancelled."""
    at = facts.cancelled_at
    return at is not None and not facts.renews and not any(paid.is_after(at) for paid in facts.payments)


def _plan(cover: _Cover | None, given: Granted | None, moment: datetime) -> PlanName:
    """The larger one of what is paid and what is given at this moment; once both are over, the later one."""
    options = [(one.plan, one.until) for one in (cover, given) if one is not None]
    running = [one for one in options if moment < one[1]]
    if running:
        return max(running, key=lambda one: PLANS[one[0]].level)[0]
    return max(options, key=lambda one: one[1])[0]


def _covered(facts: Facts) -> _Cover | None:
    """What the payments cover together, in the order in which they were made.

    A first payment counts from the end of the trial; one for the same plan adds to what is left. One for another plan
    counts at once, and what is left of the former plan is turned into time of the new one by their prices.
    """
    cover: _Cover | None = None
    for paid in sorted(facts.payments, key=lambda one: (one.at, one.id)):
        start = max(paid.at, facts.trial_ends_at or paid.at)
        if cover is not None:
            start = max(paid.at, cover.until)
            if cover.plan is not paid.plan and cover.until > paid.at:
                start = paid.at + _worth(cover, cover.until - paid.at, paid)
        cover = _Cover(paid.plan, paid.cycle, paid.amount, add_months(start, MONTHS[paid.cycle]))
    return cover


def _worth(cover: _Cover, left: timedelta, paid: Paid) -> timedelta:
    """So much time of the newly paid plan costs as much as what is left of the former one; whole seconds."""
    if not paid.amount:
        return left
    former, fresh = Fraction(cover.price) / MONTHS[cover.cycle], Fraction(paid.amount) / MONTHS[paid.cycle]
    return timedelta(seconds=int(Fraction(int(left.total_seconds())) * former / fresh))


def add_months(moment: datetime, months: int) -> datetime:
    """The same day of a later month, or its last day where it has no such day.

    >>> from datetime import UTC
    >>> add_months(datetime(2025, 1, 31, 8, tzinfo=UTC), 1)
    datetime.datetime(2025, 2, 28, 8, 0, tzinfo=datetime.timezone.utc)
    """
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return moment.replace(year=year, month=month + 1, day=min(moment.day, last))


def latest(moments: Iterable[datetime | None]) -> datetime | None:
    """The latest of those that are known."""
    return max((one for one in moments if one is not None), default=None)
