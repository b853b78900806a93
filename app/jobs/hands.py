"""By whom parts are done: by this process itself, or by the workers behind a Redis."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from bson import ObjectId

from app.config import Settings
from app.errors import Unavailable
from app.jobs.parts import Message, hand_back, work_on
from app.late import emptied, late
from app.tasks import end

if TYPE_CHECKING:
    import taskiq.exceptions as failures
    import taskiq.receiver as receiving
    from taskiq import AsyncBroker
else:
    failures, receiving = late("taskiq.exceptions"), late("taskiq.receiver")

log = structlog.get_logger(__name__)

AT_ONCE = 4
"""Parts that one process works on side by side, so that a slow clinic holds up no other."""
STOP_SECONDS = 10.0
"""So long parts that were begun may take when the process is told to end."""

_given: Hands | None = None


class Hands:
    """A queue, and with `works` somebody who does what comes from it."""

    def __init__(self, settings: Settings, *, works: bool) -> None:
        self._settings = settings
        self._broker = broker_of(settings)

        async def part(job: str, run: str, clinic: str) -> None:
            await self._work_on(Message(job, ObjectId(run), ObjectId(clinic)))

        self._part = self._broker.register_task(part, task_name="part")
        self._works = works
        self._finish = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self._at_work: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Raises UNAVAILABLE when the queue does not answer."""
        self._broker.is_worker_process = self._works
        try:
            await self._broker.startup()
        except Unavailable:
            await self._broker.shutdown()
            raise
        if self._works:
            receiver = receiving.Receiver(
                self._broker,
                validate_params=False,
                max_async_tasks=AT_ONCE,
                run_startup=False,
                wait_tasks_timeout=STOP_SECONDS,
            )
            self._listening = asyncio.create_task(receiver.listen(self._finish), name="jobs")

    async def send(self, message: Message) -> None:
        """Has the part done by somebody, at least once. Raises UNAVAILABLE when the queue does not answer."""
        try:
            await self._part.kiq(message.job, str(message.run_id), str(message.clinic_id))
        except failures.SendTaskError as error:
            raise Unavailable("The queue of jobs (JOBS_URL) does not answer.") from error

    async def stop(self) -> None:
        """Takes nothing new, lets what was begun finish for a while, and hands the rest back."""
        self._finish.set()
        if self._listening is not None:
            await asyncio.wait([self._listening], timeout=STOP_SECONDS + 2)
            for task in list(self._at_work):
                await end(task)
            await end(self._listening)
        await self._broker.shutdown()

    async def _work_on(self, message: Message) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        self._at_work.add(task)
        try:
            await work_on(message, self._settings)
        except asyncio.CancelledError:
            await hand_back(message)
            if self._settings.jobs_url is not None:
                await self.send(message)
        except Exception as error:  # noqa: BLE001 - the part's lease ends, and its run has it done again
            log.warning("a part of a job was left", job=message.job, error=type(error).__name__)
        finally:
            self._at_work.discard(task)


def broker_of(settings: Settings) -> AsyncBroker:
    """The queue that the settings name. What it needs is loaded by those who need it, and no HTTP client of 8 MB."""
    with emptied("taskiq.middlewares.taskiq_admin_middleware", "TaskiqAdminMiddleware"):
        importlib.import_module("taskiq")
    if settings.jobs_url is None:
        from app.jobs.local import LocalBroker

        return LocalBroker()
    from app.jobs.streams import StreamBroker

    return StreamBroker(settings)


def use_hands(hands: Hands | None) -> None:
    """Gives this process those by which all its runs have their parts done from now on."""
    global _given  # noqa: PLW0603 - one for each process
    _given = hands


@asynccontextmanager
async def hands_for(settings: Settings) -> AsyncIterator[Hands]:
    """Those that this process was given, else some for one run: its own ones, or the way to the workers."""
    if _given is not None:
        yield _given
        return
    made = Hands(settings, works=settings.jobs_url is None)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
