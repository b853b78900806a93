"""The laws of a subscription's course: whatever happens in whatever order, the same facts lead to the same state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.plans import GRACE, MONTHS, PLANS, TRIAL_LASTS, BillingCycle, PlanName, price_of
from app.services.subscription.course import Course, Facts, Granted, Paid, add_months, course_at
from models.tenant import SubscriptionStatus as Status

OPENED = datetime(2026, 1, 10, 9, 30, tzinfo=UTC)
TRIAL_END = OPENED + TRIAL_LASTS
FOR_SALE = [(plan, cycle) for plan in PlanName for cycle in BillingCycle if price_of(plan, cycle) is not None]
moments = st.integers(0, 900 * 86_400).map(lambda seconds: OPENED + timedelta(seconds=seconds))


def paid(number: int, at: datetime, plan: PlanName, cycle: BillingCycle) -> Paid:
    price = price_of(plan, cycle)
    assert price is not None
    return Paid(f"{number:04}", at, plan, cycle, price)


@st.composite
def payments(draw: st.DrawFn) -> tuple[Paid, ...]:
    times = draw(st.lists(moments, max_size=6))
    return tuple(paid(number, at, *draw(st.sampled_from(FOR_SALE))) for number, at in enumerate(times))


grants = st.one_of(
    st.none(),
    st.builds(Granted, st.sampled_from([PlanName.BASIC, PlanName.PRO, PlanName.ENTERPRISE]), moments),
)
facts = st.builds(
    Facts,
    trial_ends_at=st.just(TRIAL_END),
    payments=payments(),
    granted=grants,
    cancelled_at=st.one_of(st.none(), moments),
    renews=st.booleans(),
)


def works(course: Course, moment: datetime) -> bool:
    """As the directory judges it."""
    if course.expires_at is None:
        return True
    graced = course.status in (Status.ACTIVE, Status.PAST_DUE)
    return course.status is not Status.EXPIRED and moment < course.expires_at + (GRACE if graced else timedelta(0))


# --- in whatever order ------------------------------------------------------------------------------------------------


@given(facts, moments, st.randoms())
def test_the_order_in_which_payments_become_known_changes_nothing(
    known: Facts, moment: datetime, random: Random
) -> None:
    shuffled = list(known.payments)
    random.shuffle(shuffled)
    assert course_at(replace(known, payments=tuple(shuffled)), moment) == course_at(known, moment)


@given(facts, st.lists(moments, max_size=5), moments)
def test_how_often_and_when_somebody_looked_before_changes_nothing(
    known: Facts, looks: Sequence[datetime], moment: datetime
) -> None:
    before = course_at(known, moment)
    for look in looks:
        course_at(known, look)
    assert course_at(known, moment) == before


# --- over time --------------------------------------------------------------------------------------------------------


@given(facts, moments, moments)
def test_time_alone_never_gives_back_what_has_ended(known: Facts, one: datetime, other: datetime) -> None:
    earlier, later = sorted((one, other))
    assert course_at(known, earlier).expires_at == course_at(known, later).expires_at
    if not works(course_at(known, earlier), earlier):
        assert not works(course_at(known, later), later)


@given(facts, moments)
def test_the_state_says_whether_the_clinic_works(known: Facts, moment: datetime) -> None:
    course = course_at(known, moment)
    ends = course.expires_at
    assert ends is not None
    match course.status:
        case Status.TRIAL | Status.ACTIVE:
            assert moment < ends
        case Status.PAST_DUE:
            assert ends <= moment < ends + GRACE
        case Status.EXPIRED:
            assert moment >= ends
            assert not works(course, moment)
        case Status.CANCELLED:
            assert works(course, moment) is (moment < ends)


@given(facts, moments)
def test_a_trial_is_one_without_payment_and_gift(known: Facts, moment: datetime) -> None:
    course = course_at(known, moment)
    nothing = not known.payments and known.granted is None
    assert (course.plan is PlanName.TRIAL) is nothing
    if nothing:
        assert course.status is (Status.TRIAL if moment < TRIAL_END else Status.EXPIRED)


# --- what money buys --------------------------------------------------------------------------------------------------


@given(facts, moments, st.sampled_from(FOR_SALE), moments)
def test_one_more_payment_never_shortens_what_was_paid_of_the_same_plan(
    known: Facts, at: datetime, sold: tuple[PlanName, BillingCycle], moment: datetime
) -> None:
    same = replace(known, payments=tuple(paid(i, one.at, *sold) for i, one in enumerate(known.payments)))
    more = replace(same, payments=(*same.payments, paid(9_999, at, *sold)))
    before, after = course_at(same, moment).expires_at, course_at(more, moment).expires_at
    assert before is not None
    assert after is not None
    assert after >= before


@given(moments, st.sampled_from(FOR_SALE))
def test_a_first_payment_counts_from_the_end_of_the_trial(at: datetime, sold: tuple[PlanName, BillingCycle]) -> None:
    course = course_at(Facts(TRIAL_END, (paid(1, at, *sold),)), at)
    assert course.expires_at == add_months(max(at, TRIAL_END), MONTHS[sold[1]])
    assert (course.status, course.plan) == (Status.ACTIVE, sold[0])


@given(st.sampled_from(FOR_SALE), st.sampled_from(FOR_SALE), st.integers(0, 300))
def test_changing_the_plan_loses_no_money(
    first: tuple[PlanName, BillingCycle], second: tuple[PlanName, BillingCycle], days: int
) -> None:
    """What is left of the former plan, in money by its price, is the same money in time of the new one."""
    start = TRIAL_END + timedelta(hours=1)
    bought = paid(1, start, *first)
    end = add_months(start, MONTHS[first[1]])
    at = min(start + timedelta(days=days), end - timedelta(minutes=1))
    changed = paid(2, at, *second)
    course = course_at(Facts(TRIAL_END, (bought, changed)), at)
    if first[0] is second[0]:
        assert course.expires_at == add_months(end, MONTHS[second[1]])
        return
    rest = bought.amount / MONTHS[first[1]] * Decimal((end - at).total_seconds())
    assert course.expires_at is not None
    began = add_months(course.expires_at, -MONTHS[second[1]])
    credited = changed.amount / MONTHS[second[1]] * Decimal((began - at).total_seconds())
    a_few_days = Decimal(4 * 86_400) * changed.amount / MONTHS[second[1]]
    assert abs(credited - rest) <= a_few_days  # months differ in length, and the 31st is not in each
    assert course.plan is second[0]


# --- ending -----------------------------------------------------------------------------------------------------------


@given(payments().filter(bool), moments)
def test_whoever_cancels_keeps_what_is_paid_and_has_no_grace(known: tuple[Paid, ...], moment: datetime) -> None:
    last = max(one.at for one in known)
    course = course_at(Facts(TRIAL_END, known, cancelled_at=last + timedelta(seconds=1)), moment)
    assert course.status is Status.CANCELLED
    assert course.expires_at == course_at(Facts(TRIAL_END, known), moment).expires_at


@given(payments().filter(bool), moments)
def test_whoever_pays_after_cancelling_has_not_cancelled(known: tuple[Paid, ...], moment: datetime) -> None:
    first = min(one.at for one in known)
    course = course_at(Facts(TRIAL_END, known, cancelled_at=first - timedelta(seconds=1)), moment)
    assert course.status is not Status.CANCELLED


# --- gifts ------------------------------------------------------------------------------------------------------------


@given(payments(), grants.filter(bool), moments)
def test_a_gift_takes_nothing_away(known: tuple[Paid, ...], gift: Granted, moment: datetime) -> None:
    without = course_at(Facts(TRIAL_END, known), moment)
    given_too = course_at(Facts(TRIAL_END, known, granted=gift), moment)
    assert given_too.expires_at is not None
    assert without.expires_at is not None
    assert given_too.expires_at >= without.expires_at
    if works(without, moment) and moment < without.expires_at:
        assert works(given_too, moment)
        assert PLANS[given_too.plan].level >= PLANS[without.plan].level


@pytest.mark.parametrize(
    ("day", "months", "expected"),
    [((2025, 1, 31), 1, (2025, 2, 28)), ((2024, 1, 31), 1, (2024, 2, 29)), ((2025, 12, 15), 1, (2026, 1, 15)),
     ((2024, 2, 29), 12, (2025, 2, 28)), ((2025, 3, 31), -1, (2025, 2, 28))],
)  # fmt: skip
def test_months_are_those_of_the_calendar(
    day: tuple[int, int, int], months: int, expected: tuple[int, int, int]
) -> None:
    assert add_months(datetime(*day, tzinfo=UTC), months) == datetime(*expected, tzinfo=UTC)
