"""Shared reads: every answer comes from a read that began after it was asked for, whatever happens to the others."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import pymongo
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymongo import _csot

from app.errors import TenantWallBroken
from app.shared_commands import SharedCommands

MOST = 3
Answer = tuple[str, int, int]
"""What was asked for, which read answered, and when that read began."""


class Broken(Exception):
    """A read that fails."""


@dataclass
class Store:
    """Answers reads, each after as many turns of the loop as the next of `turns` says; the numbers in `failing` fail.
    A clock counts everything that happens."""

    turns: Sequence[int] = (1,)
    failing: frozenset[int] = frozenset()
    clock: int = 0
    reads: list[tuple[Any, list[str]]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    async def read(self, place: Any, keys: Sequence[str]) -> Mapping[str, Answer]:
        began, number = self.tick(), len(self.reads)
        self.reads.append((place, list(keys)))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            for _ in range(self.turns[number % len(self.turns)]):
                await asyncio.sleep(0)
            if number in self.failing:
                raise Broken
            return {key: (key, number, began) for key in keys if key != "absent"}
        finally:
            self.at_once -= 1


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Asker:
    """Asks for `key` after `waits` turns, and gives up after `patience` more, if it says so."""

    waits: int
    key: str
    patience: int | None


askers = st.lists(
    st.builds(Asker, st.integers(0, 12), st.sampled_from("abcdefg"), st.none() | st.integers(0, 6)),
    min_size=1,
    max_size=25,
)


@given(
    askers=askers,
    durations=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    failing=st.frozensets(st.integers(0, 8), max_size=3),
)
def test_each_answer_comes_from_a_read_that_began_after_it_was_asked_for(
    askers: list[Asker], durations: list[int], failing: frozenset[int]
) -> None:
    store = Store(durations, failing)

    async def one(shared: SharedCommands[str, Answer], asker: Asker) -> None:
        await turns(asker.waits)
        asked = store.tick()
        waiting = asyncio.ensure_future(shared.get(asker.key))
        if asker.patience is not None:
            await turns(asker.patience)
            waiting.cancel()
        try:
            answer = await waiting
        except asyncio.CancelledError:
            assert asker.patience is not None, "whoever gives up ends nobody else's waiting"
        except Broken:
            assert failing
        else:
            assert answer is not None
            key, number, began = answer
            assert key == asker.key
            assert began > asked
            assert number not in failing, "a read that failed answers nobody"

    async def run() -> None:
        shared = SharedCommands(store.read, most=MOST)
        async with asyncio.timeout(10):
            await asyncio.gather(*(one(shared, asker) for asker in askers))
        assert store.most_at_once <= 1
        assert all(len(set(keys)) == len(keys) <= MOST for _, keys in store.reads)

    asyncio.run(run())


async def test_those_who_ask_while_a_read_is_on_its_way_share_the_next_one() -> None:
    store = Store(turns=[10])
    shared = SharedCommands(store.read)
    first = asyncio.ensure_future(shared.get("a"))
    await turns(3)
    others = [asyncio.ensure_future(shared.get(key)) for key in "aab" * 20]

    answers = await asyncio.gather(first, *others)

    assert [keys for _, keys in store.reads] == [["a"], ["a", "b"]]
    assert [answer[1] for answer in answers if answer] == [0] + [1] * 60


async def test_what_is_not_there_is_none() -> None:
    assert await SharedCommands(Store().read).get("absent") is None


async def test_what_is_read_at_different_places_is_not_read_together() -> None:
    store = Store(turns=[5])
    shared = SharedCommands(store.read)
    await asyncio.gather(*(shared.get("a", place=place, at=place) for place in ("here", "there", "here")))
    assert sorted(store.reads) == [("here", ["a"]), ("there", ["a"])]


async def test_a_failure_is_told_to_those_it_concerns_and_to_nobody_after_them() -> None:
    store = Store(turns=[5], failing=frozenset({0}))
    shared = SharedCommands(store.read)
    first = asyncio.ensure_future(shared.get("a"))
    await turns(2)
    second = asyncio.ensure_future(shared.get("a"))
    with pytest.raises(Broken):
        await first
    assert (await second or ())[1:2] == (1,)


async def test_a_wall_that_breaks_leaves_nobody_waiting() -> None:
    async def read(_: Any, __: Sequence[str]) -> Mapping[str, str]:
        raise TenantWallBroken("find on rooms")

    shared = SharedCommands(read)
    async with asyncio.timeout(5):
        for one in await asyncio.gather(shared.get("a"), shared.get("b"), return_exceptions=True):
            assert isinstance(one, TenantWallBroken)


async def test_whoever_came_first_may_leave_and_the_others_get_their_answer() -> None:
    store = Store(turns=[5])
    shared = SharedCommands(store.read)
    first, second = (asyncio.ensure_future(shared.get("a")) for _ in range(2))
    await turns(2)
    first.cancel()
    assert (await second or ())[:2] == ("a", 0)
    assert first.cancelled()


async def test_what_nobody_waits_for_any_more_is_not_read() -> None:
    store = Store(turns=[5])
    shared = SharedCommands(store.read)
    first = asyncio.ensure_future(shared.get("a"))
    await turns(2)
    gone = asyncio.ensure_future(shared.get("b"))
    await turns(1)
    gone.cancel()
    await first
    await turns(5)
    assert [keys for _, keys in store.reads] == [["a"]]


_whose: ContextVar[str] = ContextVar("whose", default="nobody's")


async def test_the_read_runs_in_a_context_of_its_own() -> None:
    """Neither the scope nor the time limit of whoever came first is open in it."""
    seen: list[tuple[str, Any]] = []

    async def read(_: Any, keys: Sequence[str]) -> Mapping[str, str]:
        seen.append((_whose.get(), _csot.get_timeout()))
        return dict.fromkeys(keys, "read")

    _whose.set("the first one's")
    with pymongo.timeout(0.001):
        assert await SharedCommands(read).get("a") == "read"
    assert seen == [("nobody's", None)]


async def test_nobody_waits_for_ever_when_the_process_ends() -> None:
    async def never(_: Any, __: Sequence[str]) -> Mapping[str, str]:
        await asyncio.Event().wait()
        return {}

    shared = SharedCommands(never)
    before = asyncio.all_tasks()
    waiting = [asyncio.ensure_future(shared.get("a"))]
    await turns(2)
    waiting.append(asyncio.ensure_future(shared.get("b")))
    await turns(2)
    [reading] = asyncio.all_tasks() - before - set(waiting)
    reading.cancel()
    async with asyncio.timeout(5):
        ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(one) for one in ended] == [asyncio.CancelledError] * 2


def test_a_loop_that_ends_in_the_middle_leaves_nothing_to_the_next() -> None:
    store = Store(turns=[1_000])
    shared = SharedCommands(store.read)

    async def leave() -> None:
        asyncio.ensure_future(shared.get("a"))  # noqa: RUF006 - it is left behind on purpose
        await turns(3)

    async def ask() -> Answer | None:
        return await shared.get("a")

    asyncio.run(leave())
    store.turns = [1]
    assert (asyncio.run(ask()) or ())[:2] == ("a", 1)
