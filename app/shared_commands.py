"""Commands that several who wait share: reads that are exact for each of them, and inserts.

    sessions = SharedCommands(read_sessions)
    row = await sessions.get("s1")      # from a read that began after this line was reached

One command is on its way at a time. Whoever asks while it lasts waits for the next one, which does for all of them what
they asked for. Nothing is kept in between, so there is nothing to invalidate and nothing can be late: what was stored
before somebody asked is in their answer, whichever process stored it. Whoever is alone waits for nobody; while many
requests are under way a command lingers for some milliseconds, so that more of them share it, as databases do when they
commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Generic, TypeVar

from app.crowd import crowd
from app.errors import TenantWallBroken

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST = 100
"""So many different things are asked for by one command."""
SIBLINGS, LINGER, ENOUGH = 8, 0.004, 8
"""Among so many requests a command waits for so many seconds, unless so many wait for it already."""


@dataclass(slots=True, eq=False)
class _Line(Generic[K, V]):
    """Those who wait at one place, by what they wait for."""

    place: Any
    waiting: dict[K, list[asyncio.Future[V | None]]] = field(default_factory=dict)

    def next(self, most: int) -> dict[K, list[asyncio.Future[V | None]]]:
        """Takes out of the line what the next command is for; what nobody waits for any more is left out."""
        self.waiting = {key: left for key, one in self.waiting.items() if (left := _open(one))}
        return {key: self.waiting.pop(key) for key in list(self.waiting)[:most]}


class SharedCommands(Generic[K, V]):
    """`run(place, keys)` brings what is there of `keys`, at most `most` of them, each under its key; or does what each
    key asks for, and says what came of it.

    It runs in a context of its own, in which no scope, no time limit and no trail of whoever came first is open: it
    opens what it needs by `place`, and ends by itself in bounded time. Results are shared: nobody may change one.
    """

    def __init__(self, run: Callable[[Any, Sequence[K]], Awaitable[Mapping[K, V]]], *, most: int = MOST) -> None:
        self._command = run
        self._most = most
        self._lines: dict[tuple[Hashable, asyncio.AbstractEventLoop], _Line[K, V]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def get(self, key: K, *, place: Any = None, at: Hashable = None) -> V | None:
        """What `key` names, None when there is no such thing, from a command that begins after this call.

        Only those who ask with an equal `at` share one: it must say all that decides about `place`. Raises what `run`
        raises. Whoever stops waiting stops nobody else, and is left out of a command that has not begun.
        """
        loop = asyncio.get_running_loop()
        line = self._lines.get((at, loop))
        if line is None:
            line = self._lines[at, loop] = _Line(place)
            task = loop.create_task(self._run((at, loop), line), context=Context())
            self._tasks.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._tasks.discard)
        answer: asyncio.Future[V | None] = loop.create_future()
        line.waiting.setdefault(key, []).append(answer)
        return await answer

    async def _run(self, name: tuple[Hashable, asyncio.AbstractEventLoop], line: _Line[K, V]) -> None:
        try:
            while True:
                if crowd.here >= SIBLINGS and len(line.waiting) < ENOUGH:
                    await asyncio.sleep(LINGER)
                if not (batch := line.next(self._most)):
                    return
                await self._answer(line.place, batch)
        finally:
            del self._lines[name]
            for one in _open(chain.from_iterable(line.waiting.values())):  # the process ends: nobody waits for ever
                one.cancel()

    async def _answer(self, place: Any, batch: dict[K, list[asyncio.Future[V | None]]]) -> None:
        try:
            found = await self._command(place, list(batch))
            for key, answers in batch.items():
                value = found.get(key)
                for one in _open(answers):
                    one.set_result(value)
        except (Exception, TenantWallBroken) as error:  # noqa: BLE001 - handed to each of those who wait
            for one in _open(chain.from_iterable(batch.values())):
                one.set_exception(error)
        finally:  # when the process ends meanwhile
            for one in _open(chain.from_iterable(batch.values())):
                one.cancel()


def _open(answers: Iterable[asyncio.Future[V | None]]) -> list[asyncio.Future[V | None]]:
    """Those who still wait."""
    return [one for one in answers if not one.done()]
