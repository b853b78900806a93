"""Who runs next: operations of one process run so many at once, and clinics that wait take turns.

Turns go by deficit round robin (Shreedhar and Varghese, 1995): each turn lets a clinic run operations worth `QUANTUM`
points, and what it does not use counts on to its next turn, so a clinic with dear operations gets no more than one with
cheap ones, and nobody waits for ever. One clinic alone leaves a quarter of the places free for the others. A dear
operation takes several places: it is work for the processor, which many at once only make slower for everybody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from app.errors import RateLimited, Unavailable

QUANTUM = 100
"""About what a small operation costs: of a flood of those, one or two come before whoever asks next."""
POINTS_OF_A_PLACE = 400
RETRY_SECONDS = 1
"""When a refused client may come back: a full queue is worked off in about that time."""

Gone = Callable[[], Awaitable[object]]


class ClientGone(Exception):
    """Whoever waited for the answer has left; nothing was run."""


@dataclass(slots=True, eq=False)
class _Waiting:
    cost: int
    places: int
    turn: asyncio.Future[None]


@dataclass(slots=True, eq=False)
class _Clinic:
    running: int = 0
    deficit: int = 0
    queue: deque[_Waiting] = field(default_factory=deque)


class Place:
    """One operation's place: had from `__aenter__` until `give_on`, which `__aexit__` calls too."""

    __slots__ = ("_clinic", "_cost", "_gate", "_gone", "_key", "_places")

    def __init__(self, gate: FairShare, key: Hashable, cost: int, gone: Gone | None) -> None:
        self._gate = gate
        self._key = key
        self._cost = cost
        self._gone = gone
        self._places = gate.places_for(cost)
        self._clinic: _Clinic | None = None

    async def __aenter__(self) -> Self:
        self._clinic = await self._gate.take(self._key, self._places, self._cost, self._gone)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.give_on()

    def give_on(self) -> None:
        """Gives the place to whoever is next; the second time it does nothing."""
        if self._clinic is not None:
            clinic, self._clinic = self._clinic, None
            self._gate.give_on(self._key, clinic, self._places)


class FairShare:
    """`places` operations run at once, `queue` more of each clinic may wait, none longer than `seconds`."""

    def __init__(self, places: int, queue: int, *, seconds: float = 10.0, quantum: int = QUANTUM) -> None:
        self._places = places
        self._most_of_one = max(1, places * 3 // 4)
        self._queue = queue
        self._seconds = seconds
        self._quantum = quantum
        self._running = 0
        self._clinics: dict[Hashable, _Clinic] = {}
        self._turns: deque[_Clinic] = deque()
        self._fresh = True
        """Whether the clinic whose turn it is has not been given its quantum for it."""

    def place(self, clinic: Hashable, cost: int, gone: Gone | None = None) -> Place:
        """A place for one operation, for `async with`: it is there at once, without giving up the thread, when one is
        free.

        Entering raises RATE_LIMITED at once when too many of the clinic wait, UNAVAILABLE when its turn does not come
        in time, `ClientGone` when `gone()` returns while it waits.
        """
        return Place(self, clinic, cost, gone)

    async def take(self, key: Hashable, places: int, cost: int, gone: Gone | None) -> _Clinic:
        """Starts an operation of the clinic `key`, now or when it is its turn. Raises as `place` says."""
        clinic = self._clinics.get(key)
        if clinic is None:
            clinic = self._clinics[key] = _Clinic()
        if clinic.queue or self._is_full(places) or not self._may(clinic, places) or self._in_line:
            try:
                await self._wait(clinic, _Waiting(cost, places, asyncio.get_running_loop().create_future()), gone)
            except BaseException:
                self._forget_idle(key, clinic)
                raise
        else:
            self._start(clinic, places)
        return clinic

    def give_on(self, key: Hashable, clinic: _Clinic, places: int) -> None:
        """Ends an operation and starts whoever is next."""
        self._end(clinic, places)
        if self._turns:
            self._next()
        self._forget_idle(key, clinic)

    def places_for(self, cost: int) -> int:
        """How many places an operation takes."""
        return min(1 + cost // POINTS_OF_A_PLACE, self._most_of_one)

    def _forget_idle(self, key: Hashable, clinic: _Clinic) -> None:
        if not clinic.running and not clinic.queue and self._clinics.get(key) is clinic:
            del self._clinics[key]

    @property
    def waiting(self) -> int:
        """How many operations wait now."""
        return sum(len(clinic.queue) for clinic in self._turns)

    @property
    def _in_line(self) -> bool:
        """Whether somebody waits for room alone, whom newcomers must not pass again and again."""
        return bool(self._turns) and any(self._may(clinic, clinic.queue[0].places) for clinic in self._turns)

    def _is_full(self, places: int) -> bool:
        return self._running + places > self._places

    def _may(self, clinic: _Clinic, places: int) -> bool:
        return clinic.running + places <= self._most_of_one

    def _start(self, clinic: _Clinic, places: int) -> None:
        self._running += places
        clinic.running += places

    def _end(self, clinic: _Clinic, places: int) -> None:
        self._running -= places
        clinic.running -= places

    async def _wait(self, clinic: _Clinic, waiting: _Waiting, gone: Gone | None) -> None:
        if len(clinic.queue) >= self._queue:
            raise RateLimited(RETRY_SECONDS)
        if not clinic.queue:
            self._turns.append(clinic)
        clinic.queue.append(waiting)
        try:
            await self._turn_of(waiting, gone)
        except BaseException:
            self._leave(clinic, waiting)
            raise

    async def _turn_of(self, waiting: _Waiting, gone: Gone | None) -> None:
        leaving = asyncio.ensure_future(gone()) if gone is not None else None
        try:
            awaited = {one for one in (waiting.turn, leaving) if one is not None}
            await asyncio.wait(awaited, timeout=self._seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if leaving is not None:
                leaving.cancel()
                with suppress(asyncio.CancelledError):
                    await leaving
        if not waiting.turn.done():
            raise ClientGone if leaving is not None and not leaving.cancelled() else Unavailable

    def _leave(self, clinic: _Clinic, waiting: _Waiting) -> None:
        """Gives the place back to whoever is next, or leaves the queue."""
        if waiting.turn.done():
            self._end(clinic, waiting.places)
        else:
            clinic.queue.remove(waiting)
            if not clinic.queue:
                self._end_turns(clinic)
        self._next()

    def _next(self) -> None:
        """Starts whoever may run now."""
        passed = 0
        while self._turns and self._running < self._places:
            clinic = self._turns[0]
            if self._may(clinic, clinic.queue[0].places):
                if self._fresh:
                    clinic.deficit += self._quantum
                    self._fresh = False
                if clinic.deficit >= clinic.queue[0].cost:
                    if self._is_full(clinic.queue[0].places):
                        return  # it is its turn: the next that end make room for it
                    self._serve(clinic)
                    passed = 0
                    continue
            passed += 1
            if passed >= len(self._turns):
                if not self._skip_rounds():
                    return
                passed = 0
            self._rotate()

    def _skip_rounds(self) -> bool:
        """After a round in which nobody could run: gives at once what the next such rounds would give. False when all
        who wait have as many places as one may have."""
        able = [clinic for clinic in self._turns if self._may(clinic, clinic.queue[0].places)]
        lacking = [clinic.queue[0].cost - clinic.deficit for clinic in able]
        rounds = max(0, -(-min(lacking, default=0) // self._quantum) - 1)
        for clinic in able:
            clinic.deficit += rounds * self._quantum
        return bool(able)

    def _serve(self, clinic: _Clinic) -> None:
        waiting = clinic.queue.popleft()
        clinic.deficit -= waiting.cost
        self._start(clinic, waiting.places)
        waiting.turn.set_result(None)
        if not clinic.queue:
            self._end_turns(clinic)

    def _rotate(self) -> None:
        self._turns.rotate(-1)
        self._fresh = True

    def _end_turns(self, clinic: _Clinic) -> None:
        """A clinic with nobody waiting has no turn, and saves nothing up for later."""
        if self._turns[0] is clinic:
            self._fresh = True
        self._turns.remove(clinic)
        clinic.deficit = 0
