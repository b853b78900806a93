"""Budgets in points per window, spent from slices that each process leases of the shared count.

A slice is leased by one atomic update and spent without any: most requests ask the database nothing. Slices are a
part of what is left, so they shrink towards the end, and a process alone can spend (nearly) everything. What a
process leased and did not spend ends with the window, so all processes together never spend more than the limit.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from app.errors import RateLimited
from app.services.rate_limits import Limit, Taken, take_up_to
from app.tenancy.scope import current_scope

SHARE = 1 / 8
"""The part of what is left that a slice is made of."""
ACCOUNTS = 20_000
"""So many accounts are remembered at once; one that is forgotten leaves its slice unspent."""

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

Lease = Callable[[Limit, str, int], Awaitable[Taken]]
Clock = Callable[[], float]
Name = tuple[str, bytes | None, str]


async def lease(limit: Limit, key: str, need: int) -> Taken:
    """A slice of the shared budget: `need` points at least, or none."""
    return await take_up_to(limit, key, need=need, share=SHARE)


@dataclass(frozen=True, slots=True)
class Account:
    """Whose budget is spent."""

    limit: Limit
    key: str

    @property
    def name(self) -> Name:
        """The same for the same account. A clinic's accounts are told apart by the clinic in scope."""
        return self.limit.name, None if self.limit.platform else current_scope().tenant_id.binary, self.key


class Standing(NamedTuple):
    """How an account stands: at most `remaining` points of `limit` until `reset_at`, as far as this process knows."""

    limit: int
    remaining: int
    reset_at: datetime


class SpentOut(RateLimited):
    """The budget is used up. `standing` tells by how much, and until when."""

    def __init__(self, retry_after: int, standing: Standing) -> None:
        super().__init__(retry_after)
        self.standing = standing


@dataclass(slots=True)
class _Slice:
    """What this process holds of one account. `ends` is on its own steady clock."""

    points: int = 0
    left: int = 0
    """What was left for all processes when this one last asked."""
    ends: float = -math.inf
    reset_at: datetime = LONG_AGO
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def is_over(self, moment: float) -> bool:
        return moment >= self.ends

    def empty(self) -> None:
        self.points = self.left = 0

    def add(self, taken: Taken, asked: float) -> None:
        if taken.expires_at != self.reset_at:
            self.empty()  # another window than that of the points held
        self.points += taken.granted
        self.left = taken.left
        self.ends, self.reset_at = asked + taken.seconds, taken.expires_at


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent of several accounts, and in which window of each."""

    points: int
    windows: Sequence[tuple[_Slice, datetime]] = ()


class Budgets:
    """This process's slices. `clock` is a steady one, in seconds."""

    def __init__(self, *, lease: Lease = lease, clock: Clock = time.monotonic) -> None:
        self._lease = lease
        self._clock = clock
        self._slices: OrderedDict[Name, _Slice] = OrderedDict()

    async def spend(self, accounts: Sequence[Account], points: int) -> Spent:
        """Spends `points` of every account, or of none. Raises `SpentOut` for the first that has not so many."""
        slices = [self._held(account) for account in accounts]
        now = self._clock()
        if any(held.points < points or now >= held.ends for held in slices):
            return await self._spend_of_more(accounts, points)
        for held in slices:
            held.points -= points
        return Spent(points, [(held, held.reset_at) for held in slices])

    async def _spend_of_more(self, accounts: Sequence[Account], points: int) -> Spent:
        """As `spend`, where what this process holds is not enough."""
        windows: list[tuple[_Slice, datetime]] = []
        try:
            for account in accounts:
                held = await self._spend(account, points)
                windows.append((held, held.reset_at))
        except BaseException:  # also when the request is cancelled between two accounts
            self.put_back(Spent(points, windows))
            raise
        return Spent(points, windows)

    def put_back(self, spent: Spent) -> None:
        """Takes back what was spent on something that then cost nothing; not into a window that opened since."""
        for held, window in spent.windows:
            if held.reset_at == window:
                held.points += spent.points

    def standing(self, accounts: Sequence[Account]) -> Standing:
        """How the account stands that has the least part of its budget left."""
        return min([self._standing(account) for account in accounts], key=_part_left)

    async def _spend(self, account: Account, points: int) -> _Slice:
        held = self._held(account)
        if held.points < points or held.is_over(self._clock()):
            async with held.lock:  # those who wait may find that one slice is enough for all of them
                await self._refill(account, held, points)
        held.points -= points
        return held

    async def _refill(self, account: Account, held: _Slice, points: int) -> None:
        """Leases until there are `points`; others may spend of the same slice meanwhile."""
        while held.points < points or held.is_over(self._clock()):
            asked = self._clock()  # before the step: so the window never ends later here than in the database
            if held.is_over(asked):
                held.empty()
            elif held.points + held.left < points:  # what is left for all never grows within a window
                raise SpentOut(_whole_seconds(held.ends - asked), self._standing(account))
            taken = await self._lease(account.limit, account.key, points - held.points)
            held.add(taken, asked)
            if not taken.granted:
                raise SpentOut(taken.retry_after, self._standing(account))

    def _held(self, account: Account) -> _Slice:
        name = account.name
        held = self._slices.get(name)
        if held is not None:
            self._slices.move_to_end(name)
            return held
        held = self._slices[name] = _Slice()
        if len(self._slices) > ACCOUNTS:
            self._slices.popitem(last=False)
        return held

    def _standing(self, account: Account) -> Standing:
        limit, held = account.limit, self._slices.get(account.name)
        if held is None or held.is_over(self._clock()):
            return Standing(limit.tries, limit.tries, datetime.now(UTC) + limit.window)
        return Standing(limit.tries, held.left + held.points, held.reset_at)


def _whole_seconds(seconds: float) -> int:
    """Rounded up, one at least; a difference of two times is a little more or less than it should be."""
    return max(1, math.ceil(seconds - 1e-6))


def _part_left(standing: Standing) -> float:
    return standing.remaining / standing.limit
