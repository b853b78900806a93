"""What inboxes have in common: what outside systems tell is stored, claimed under a lease, tried again, given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import structlog
from pymongo import ReturnDocument

from app.services.changes import Row
from app.tasks import end
from app.tenancy.scope import Scope, open_scope
from models.values import now

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=60)
"""Longer than handling may take: whoever claimed something and has not settled it by then is dead."""
MAX_TRIES = 8
FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(hours=1)
WAITING = "waiting"


def due() -> dict[str, Any]:
    """Filter: what waits and is nobody's at this moment."""
    return {"status": WAITING, "next_at": {"$lte": now()}}


async def claim(model: Any, id: Any, lease: timedelta = LEASE, **counted: int) -> Row | None:
    """Takes one that is due under a lease, in one atomic step; None when somebody else has it, or had it.

    `counted` are columns that count such steps beside `tries`.
    """
    row: Row | None = await model.guarded().find_one_and_update(
        {"_id": id, **due()},
        {"$set": {"next_at": now() + lease}, "$inc": {"tries": 1, **counted}},
        return_document=ReturnDocument.AFTER,
    )
    return row


def delay_after(tries: int) -> timedelta:
    """How long to wait after so many tries: twice as long each time, up to an hour."""
    delay: timedelta = FIRST_DELAY * 2 ** (tries - 1)
    return min(delay, LONGEST_DELAY)


class Sweeper:
    """Calls `sweep` every so many seconds, and when it is told that something came, until it is stopped; 0 seconds:
    never. Any number of processes may do so."""

    def __init__(self, name: str, seconds: int, sweep: Callable[[], Awaitable[Mapping[str, int]]]) -> None:
        self._name, self._seconds, self._sweep = name, seconds, sweep
        self._came = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._seconds:
            self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """Ends the task; what it was at is left behind, and so picked up again."""
        if self._task is not None:
            await end(self._task)
            self._task = None

    def wake(self) -> None:
        """Says that there is something, so that it need not wait for its time."""
        self._came.set()

    async def _run(self) -> None:
        while True:
            await self._rest()
            try:
                with open_scope(Scope(request_id=f"{self._name}-{uuid4().hex}")):
                    await self._sweep()
            except Exception as error:  # noqa: BLE001 - whatever broke one round must not end all that follow
                log.warning("an inbox was not swept", inbox=self._name, error=type(error).__name__)

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await self._came.wait()
        except TimeoutError:
            return
        self._came.clear()
