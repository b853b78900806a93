"""Budgets: all processes together never spend more than the limit, and one alone can spend nearly all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.services.budgets import Account, Budgets, SpentOut
from app.services.rate_limits import Limit, Taken
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from tests.fixtures.clinics import Clinic, Server

MINUTE = timedelta(minutes=1)
BEGINNING = datetime(2030, 1, 1, tzinfo=UTC)


class Time:
    """One steady clock, which everybody shares and each sees from a start of their own."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def since(self, start: float) -> Any:
        return lambda: start + self.seconds


class Store:
    """The shared counts, as the database's one atomic step keeps them; `late` answers arrive after others' steps."""

    def __init__(self, time: Time, *, late: bool = False) -> None:
        self.time = time
        self.late = late
        self.steps = 0
        self.windows: list[tuple[float, int]] = []
        self._counts: dict[str, tuple[float, int]] = {}

    async def lease(self, limit: Limit, key: str, need: int) -> Taken:
        self.steps += 1
        opened, count = self._counts.get(key, (-1e9, 0))
        if self.time.seconds >= opened + limit.window.total_seconds():
            opened, count = self.time.seconds, 0
        left = limit.tries - count
        granted = max(need, left // 8) if left >= need else 0
        self._counts[key] = (opened, count + granted)
        ends = opened + limit.window.total_seconds()
        taken = Taken(granted, left - granted, BEGINNING + timedelta(seconds=ends), ends - self.time.seconds)
        if self.late:
            await asyncio.sleep(0)
        return taken


def account(points: int, key: str = "one") -> Account:
    return Account(Limit("test", points, MINUTE, platform=True), key)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Outside of the tests' own loop, as hypothesis calls plain functions."""
    with open_scope(Scope(request_id="test")), asyncio.Runner() as runner:
        runner.run(work)


steps = st.lists(
    st.tuples(st.integers(0, 4), st.integers(1, 120), st.sampled_from([0.0, 0.0, 0.0, 1.0, 31.0, 59.0, 61.0])),
    max_size=80,
)


@given(limit=st.integers(1, 1_000), steps=steps, starts=st.lists(st.floats(-1e6, 1e6), min_size=5, max_size=5))
@example(limit=1, steps=[(2, 1, 31.0), (2, 1, 0.0)], starts=[0.0, 0.0, -1.1, 0.0, 0.0])
def test_whatever_the_processes_do_no_window_gives_more_than_the_limit(
    limit: int, steps: list[tuple[int, int, float]], starts: list[float]
) -> None:
    async def work() -> None:
        time = Time()
        store = Store(time)
        processes = [Budgets(lease=store.lease, clock=time.since(start)) for start in starts]
        admitted: dict[datetime, int] = {}
        waits: list[int] = []
        for process, points, pause in steps:
            time.seconds += pause
            try:
                spent = await processes[process].spend([account(limit)], points)
            except SpentOut as refused:
                waits.append(refused.retry_after)
                continue
            window = spent.windows[0][1]
            assert BEGINNING + timedelta(seconds=time.seconds) < window, "it was spent after its window"
            admitted[window] = admitted.get(window, 0) + points
        assert all(total <= limit for total in admitted.values())
        assert all(1 <= wait <= 60 for wait in waits)

    run(work())


@given(limit=st.integers(1, 2_000), asked=st.lists(st.integers(1, 50), min_size=1, max_size=200))
def test_at_once_from_several_processes_with_late_answers_too(limit: int, asked: list[int]) -> None:
    async def work() -> None:
        store = Store(Time(), late=True)
        processes = [Budgets(lease=store.lease, clock=store.time.since(0)) for _ in range(3)]
        tries = [processes[n % 3].spend([account(limit)], points) for n, points in enumerate(asked)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert all(not isinstance(one, Exception) or isinstance(one, SpentOut) for one in results)
        passed = sum(points for points, one in zip(asked, results, strict=True) if not isinstance(one, Exception))
        assert passed <= limit
        if sum(asked) <= limit // 4:
            assert passed == sum(asked), "somebody was refused while there was plenty"

    run(work())


@given(limit=st.integers(1, 5_000), points=st.integers(1, 60))
def test_a_process_alone_can_spend_all_that_its_requests_fit_into(limit: int, points: int) -> None:
    async def work() -> None:
        store = Store(Time())
        budgets = Budgets(lease=store.lease, clock=store.time.since(0))
        for _ in range(limit // points):
            await budgets.spend([account(limit)], points)
        before = store.steps
        for _ in range(50):
            with pytest.raises(SpentOut):
                await budgets.spend([account(limit)], points)
        assert store.steps - before <= 1, "refusals must not ask the database"

    run(work())


def test_few_requests_ask_the_database() -> None:
    async def work() -> None:
        store = Store(Time())
        budgets = Budgets(lease=store.lease, clock=store.time.since(0))
        for _ in range(9_000):
            await budgets.spend([account(100_000)], 10)
        assert store.steps < 25

    run(work())


def test_what_is_put_back_can_be_spent_again_but_not_in_another_window() -> None:
    async def work() -> None:
        time = Time()
        budgets = Budgets(lease=Store(time).lease, clock=time.since(0))
        first = await budgets.spend([account(10)], 10)
        budgets.put_back(first)
        spent = await budgets.spend([account(10)], 10)
        time.seconds = 61
        await budgets.spend([account(10)], 10)
        budgets.put_back(spent)
        with pytest.raises(SpentOut):
            await budgets.spend([account(10)], 1)

    run(work())


def test_of_several_accounts_all_pay_or_none() -> None:
    async def work() -> None:
        budgets = Budgets(lease=Store(Time()).lease)
        person, clinic = account(100, "person"), account(10, "clinic")
        with pytest.raises(SpentOut):
            await budgets.spend([person, clinic], 20)
        await budgets.spend([person], 100)
        await budgets.spend([clinic], 10)

    run(work())


async def test_ten_processes_on_the_real_database_never_spend_more(server: Server, clinic_a: Clinic) -> None:
    limit = Limit(f"test-{uuid4().hex}", 1_000, MINUTE)
    async with tenant_scope(clinic_a.ref):
        processes = [Budgets() for _ in range(10)]
        tries = [one.spend([Account(limit, "all")], 7) for one in processes for _ in range(40)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        passed = sum(not isinstance(one, Exception) for one in results)
        assert all(not isinstance(one, Exception) or isinstance(one, SpentOut) for one in results)
        assert 1_000 * 0.5 < passed * 7 <= 1_000

        alone = Account(limit, "alone")
        budgets = Budgets()
        for _ in range(1_000 // 7):
            await budgets.spend([alone], 7)
        with pytest.raises(SpentOut) as refused:
            await budgets.spend([alone], 7)
        assert (refused.value.standing.limit, refused.value.standing.remaining) == (1_000, 1_000 % 7)


async def test_each_clinic_has_a_budget_of_its_own(server: Server, clinic_a: Clinic, clinic_b: Clinic) -> None:
    one = Account(Limit(f"test-{uuid4().hex}", 5, MINUTE), "all")
    budgets = Budgets()
    for clinic in (clinic_a, clinic_b):
        async with tenant_scope(clinic.ref):
            await budgets.spend([one], 5)
            with pytest.raises(SpentOut):
                await budgets.spend([one], 1)
