"""The schedule: each process looks what is due, and the job's lock sees to it that one of them runs it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime
from uuid import uuid4

import structlog
from bson import ObjectId

from app.config import Settings
from app.jobs.hands import STOP_SECONDS, Hands, use_hands
from app.jobs.history import Due, due, retries_due, slot_of
from app.jobs.runs import Order, run
from app.services.cron import JOBS
from app.services.jobs import Job
from app.tasks import end
from app.tenancy.scope import Scope, open_scope
from models.values import now

log = structlog.get_logger(__name__)

RUNS_AT_ONCE = 3
"""Jobs that one process has running at a time; their parts share its hands."""


class Schedule:
    """Runs what is due, every `jobs_seconds`, until it is stopped. Any number of processes may do so."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hands = Hands(settings, works=True)
        self._stopping = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(RUNS_AT_ONCE)
        self._known: dict[str, datetime] = {}
        """The stretch of the schedule in which each job is known to have run."""

    async def start(self) -> None:
        """Raises UNAVAILABLE when the queue does not answer."""
        await self._hands.start()
        use_hands(self._hands)
        if self._settings.jobs_seconds:
            self._looking = asyncio.create_task(self._run(), name="schedule")

    async def stop(self) -> None:
        """Begins nothing new, lets what was begun finish for a while, and leaves the rest to other processes."""
        self._stopping.set()
        if self._looking is not None:
            await end(self._looking)
        if self._running:
            await asyncio.wait(self._running.values(), timeout=STOP_SECONDS)
        for task in list(self._running.values()):
            await end(task)
        use_hands(None)
        await self._hands.stop()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.jobs_seconds)
            try:
                with open_scope(Scope(request_id=f"schedule-{uuid4().hex}")):
                    await self.look()
            except Exception as error:  # noqa: BLE001 - whatever broke one look must not end all that follow
                log.warning("the schedule of jobs was not looked at; trying again", error=type(error).__name__)

    async def look(self) -> None:
        """Begins what is due now and not under way in this process."""
        moment = now()
        for job in list(JOBS.values()):
            if job.every is not None and self._known.get(job.name) != slot_of(job.every, moment):
                self._begin(job, None)
        for name, clinics in (await retries_due()).items():
            if name in JOBS:
                self._begin(JOBS[name], clinics)

    async def settled(self) -> None:
        """Waits until whatever was begun is over."""
        while self._running:
            await asyncio.wait(self._running.values())
            await asyncio.sleep(0)

    def _begin(self, job: Job, clinics: Sequence[ObjectId] | None) -> None:
        if job.name in self._running:
            return
        task = asyncio.create_task(self._run_one(job, clinics), name=f"job {job.name}")
        self._running[job.name] = task
        task.add_done_callback(lambda _: self._running.pop(job.name, None))

    async def _run_one(self, job: Job, clinics: Sequence[ObjectId] | None) -> None:
        async with self._places:
            with open_scope(Scope(request_id=f"job-{uuid4().hex}")), contextlib.suppress(asyncio.CancelledError):
                try:
                    await (self._run_due(job) if clinics is None else self._retry(job, clinics))
                except Exception as error:
                    log.error("a job failed", job=job.name, exc_info=error)

    async def _run_due(self, job: Job) -> None:
        """Runs it when it is due, and remembers when nothing of it is to be done before its next time."""
        moment = now()

        async def still_due() -> bool:
            return await due(job, moment) is Due.NOW

        found = await due(job, moment)  # a look that takes no lock
        if found is Due.NOW:
            order = Order(scheduled=True, wanted=still_due, stopping=self._stopping)
            report = await run(job, self._settings, order)
            found = Due.LATER if report.running or report.stopped or not report.wanted else Due.OVER
        if found is Due.OVER:
            self._remember(job, moment)

    async def _retry(self, job: Job, clinics: Sequence[ObjectId]) -> None:
        await run(job, self._settings, Order(clinics, stopping=self._stopping))

    def _remember(self, job: Job, moment: datetime) -> None:
        assert job.every is not None  # noqa: S101 - only those are scheduled
        self._known[job.name] = slot_of(job.every, moment)
