"""Clinics take turns: the order in which operations are served, told without clocks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from app.errors import RateLimited, Unavailable
from app.graphql.fair_share import ClientGone, FairShare


@dataclass
class Desk:
    """Operations that run until they are told to end, in the order in which they began."""

    gate: FairShare
    began: list[str] = field(default_factory=list)
    ends: dict[str, asyncio.Event] = field(default_factory=dict)
    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def ask(self, clinic: str, name: str, cost: int = 1, gone: Callable[[], Awaitable[None]] | None = None) -> None:
        self.ends[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._run(clinic, name, cost, gone))

    async def _run(self, clinic: str, name: str, cost: int, gone: Callable[[], Awaitable[None]] | None) -> None:
        async with self.gate.place(clinic, cost, gone):
            self.began.append(name)
            await self.ends[name].wait()

    async def settle(self) -> list[str]:
        for _ in range(20):
            await asyncio.sleep(0)
        return self.began

    async def serve_all(self) -> list[str]:
        """Ends each as soon as it began, one after the other."""
        ended = 0
        while ended < len(await self.settle()):
            self.ends[self.began[ended]].set()
            ended += 1
        assert all(task.done() for task in self.tasks.values())
        return self.began


async def test_a_free_place_is_taken_without_giving_up_the_thread() -> None:
    gate = FairShare(2, 10)
    entering = gate.place("a", 1).__aenter__()

    with pytest.raises(StopIteration):
        entering.send(None)


async def test_one_that_asks_behind_a_flood_is_next() -> None:
    desk = Desk(FairShare(1, 500))
    for n in range(300):
        desk.ask("a", f"a{n}", cost=60)
    await desk.settle()
    desk.ask("b", "b0", cost=60)

    served = await desk.serve_all()

    assert served[0] == "a0"
    assert served.index("b0") <= 3
    assert len(served) == 301


async def test_turns_go_by_cost_and_not_by_number() -> None:
    """Each turn is worth 10 points: ten cheap ones of B for each dear one of A."""
    desk = Desk(FairShare(1, 500, quantum=10))
    desk.ask("x", "first")
    await desk.settle()
    for n in range(10):
        desk.ask("a", f"a{n}", cost=10)
    for n in range(100):
        desk.ask("b", f"b{n}", cost=1)

    served = "".join(name[0] for name in await desk.serve_all())

    assert served == "f" + ("a" + "b" * 10) * 10


async def test_the_dearest_is_not_starved_by_a_stream_of_cheap_ones() -> None:
    desk = Desk(FairShare(1, 500, quantum=10))
    desk.ask("x", "first")
    await desk.settle()
    desk.ask("a", "dear", cost=95)
    for n in range(300):
        desk.ask("b", f"b{n}", cost=1)

    assert (await desk.serve_all()).index("dear") <= 1 + 10 * 10


async def test_costs_far_above_a_turn_take_no_longer_to_judge() -> None:
    desk = Desk(FairShare(1, 500, quantum=1))
    desk.ask("x", "first")
    await desk.settle()
    for clinic in range(50):
        desk.ask(f"clinic {clinic}", f"{clinic}", cost=10**12 + clinic)

    served = await asyncio.wait_for(desk.serve_all(), 10)

    assert served == ["first", *(f"{clinic}" for clinic in range(50))]


async def test_what_a_turn_did_not_use_is_not_saved_up_while_nobody_waits() -> None:
    desk = Desk(FairShare(1, 500, quantum=10))
    for name in ("first", "a-before"):
        desk.ask("a", name)
    await desk.serve_all()
    desk.ask("x", "again")
    await desk.settle()
    for n in range(20):
        desk.ask("a", f"a{n}")
        desk.ask("b", f"b{n}")

    served = "".join(name[0] for name in (await desk.serve_all())[3:])

    assert served == ("a" * 10 + "b" * 10) * 2


async def test_a_quarter_of_the_places_stays_free_of_one_clinic() -> None:
    desk = Desk(FairShare(8, 500))
    for n in range(50):
        desk.ask("a", f"a{n}")
    assert len(await desk.settle()) == 6
    desk.ask("b", "b0")
    desk.ask("c", "c0")

    assert (await desk.settle())[6:] == ["b0", "c0"]
    assert len(await desk.serve_all()) == 52


async def test_a_dear_operation_takes_several_places() -> None:
    desk = Desk(FairShare(8, 500))
    for n in range(5):
        desk.ask("a", f"a{n}", cost=1000)
    assert await desk.settle() == ["a0", "a1"], "three places each, of the six that one clinic may have"
    desk.ask("b", "b0", cost=50)

    assert (await desk.settle())[2] == "b0"
    assert len(await desk.serve_all()) == 6


async def test_a_large_one_that_waits_for_room_is_not_passed_for_ever() -> None:
    desk = Desk(FairShare(4, 500, quantum=10_000))
    for n in range(4):
        desk.ask(f"small {n}", f"s{n}")
    await desk.settle()
    desk.ask("large", "large", cost=10_000)
    for n in range(4, 40):
        desk.ask(f"small {n}", f"s{n}")

    assert (await desk.serve_all()).index("large") <= 10


async def test_a_full_queue_refuses_at_once_and_only_its_own_clinic() -> None:
    desk = Desk(FairShare(1, 3))
    for n in range(6):
        desk.ask("a", f"a{n}")
    desk.ask("b", "b0")
    await desk.settle()

    refused = [name for name, task in desk.tasks.items() if task.done() and isinstance(task.exception(), RateLimited)]
    assert refused == ["a4", "a5"]
    for name in refused:
        del desk.tasks[name]
    assert sorted(await desk.serve_all()) == ["a0", "a1", "a2", "a3", "b0"]


async def test_who_is_cancelled_leaves_the_queue() -> None:
    desk = Desk(FairShare(1, 500))
    for n in range(4):
        desk.ask("a", f"a{n}")
    await desk.settle()
    desk.tasks.pop("a1").cancel()
    await desk.settle()

    assert desk.gate.waiting == 2
    assert await desk.serve_all() == ["a0", "a2", "a3"]


async def test_who_is_cancelled_with_the_place_in_hand_gives_it_on() -> None:
    desk = Desk(FairShare(1, 500))
    for n in range(3):
        desk.ask("a", f"a{n}")
    await desk.settle()
    desk.ends["a0"].set()
    await asyncio.sleep(0)  # a0 ends and gives its place to a1, which has not run yet
    desk.tasks.pop("a1").cancel()

    assert "a2" in await desk.serve_all()


async def test_a_client_that_closes_the_connection_leaves_the_queue() -> None:
    desk = Desk(FairShare(1, 500))
    closed = asyncio.Event()

    async def gone() -> None:
        await closed.wait()

    desk.ask("a", "a0", gone=gone)
    desk.ask("a", "a1", gone=gone)
    await desk.settle()
    closed.set()
    await desk.settle()

    assert isinstance(desk.tasks.pop("a1").exception(), ClientGone)
    assert desk.gate.waiting == 0
    assert await desk.serve_all() == ["a0"]


async def test_nobody_waits_longer_than_said() -> None:
    desk = Desk(FairShare(1, 500, seconds=0.01))
    desk.ask("a", "a0")
    desk.ask("a", "a1")
    await asyncio.wait([desk.tasks["a1"]], timeout=5)

    assert isinstance(desk.tasks.pop("a1").exception(), Unavailable)
    assert await desk.serve_all() == ["a0"]


async def test_an_operation_that_fails_gives_its_place_back() -> None:
    gate = FairShare(1, 1)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"):
            async with gate.place("a", 1):
                raise ValueError("broken")
    async with gate.place("a", 1):
        assert gate.waiting == 0
