"""Running a job: one run at a time across all processes, clinic by clinic, each on its own and each in its turn."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import structlog
from beanie import PydanticObjectId
from bson import ObjectId

from app.config import Settings
from app.errors import NotFound, Unavailable
from app.jobs.hands import Hands, hands_for
from app.jobs.lock import give_back, taken, while_held
from app.jobs.parts import ENDED, Message, forget_event, plan, settled_event
from app.services.cron import JOBS
from app.services.jobs import Job, More
from models import JobPart, JobRun, Tenant
from models.job_run import JobResult, PartStatus
from models.values import now

log = structlog.get_logger(__name__)

WINDOW = 100
"""Parts of one run that wait or are worked on; the others come after, so that runs of several jobs share the queue."""
ROUNDS = 100
"""Batches of one clinic in one run; what is left then is the next run's."""
LOOK_SECONDS = 0.2
"""Between two looks for what other processes have settled."""
AGAIN_SECONDS = 90.0
"""After this it is made sure that a part was not lost on its way."""
STALLED_SECONDS = 150.0
"""A run ends when nothing of it was settled for so long: nobody works."""
KEPT = timedelta(days=90)
KEPT_UNEVENTFUL = timedelta(days=3)
"""Runs that found nothing to do need no longer memory."""


@dataclass(slots=True)
class Report:
    """What a run did: counts in all and by clinic (those with something to count), and where it failed with what."""

    job: str
    running: bool = False
    """Another run was under way, and nothing was done."""
    wanted: bool = True
    """Not wanted any more when it could begin, and nothing was done."""
    stopped: bool = False
    """Ended before its work, because its process did."""
    seconds: float = 0.0
    clinics: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    by_clinic: dict[str, Counter[str]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    failed_ids: list[PydanticObjectId] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """As JSON, for the scheduler's log."""
        if self.running:
            return {"success": True, "job": self.job, "status": "running"}
        by_clinic = {clinic: dict(counts) for clinic, counts in self.by_clinic.items()}
        return {
            "success": not self.failed and not self.stopped,
            "job": self.job,
            "status": "stopped" if self.stopped else "done",
            "seconds": round(self.seconds, 3),
            "counts": dict(self.counts),
            "clinics": {"total": self.clinics, "counts": by_clinic, "failed": self.failed},
        }


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked of a run, beside its job."""

    clinics: Sequence[ObjectId] | None = None
    """Those at which an earlier run failed; None: all."""
    scheduled: bool = False
    """By the schedule, so at each clinic from the job's hour on."""
    wanted: Callable[[], Awaitable[bool]] | None = None
    """Asked once nobody else can run the job."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    """Once set, nothing new of the run is begun."""


async def run_job(name: str, settings: Settings, order: Order | None = None) -> Report:
    """Runs the job of that name; see `run`. Raises NOT_FOUND."""
    if name not in JOBS:
        raise NotFound("There is no such job.")
    return await run(JOBS[name], settings, order or Order())


async def run(job: Job, settings: Settings, order: Order) -> Report:
    """Runs the job, unless a run of it is under way: then nothing is done, and the report says `running`.

    A clinic that fails stops no other; it is in the report and in the log, and is tried again by the schedule. Raises
    what work that is not done clinic by clinic raises, and UNAVAILABLE when the job was lost to another run because
    this one could not renew its hold, or when nobody does its parts.
    """
    report = Report(job.name)
    holder = uuid4().hex
    if not await taken(job.name, holder):
        report.running = True
        return report
    try:
        if order.wanted is not None and not await order.wanted():
            report.wanted = False
            return report
        async with _noted(report, retry=order.clinics is not None) as run_id:
            await while_held(job.name, holder, _work(job, settings, order, report, run_id))
    finally:
        await give_back(job.name, holder)
    return report


async def _work(job: Job, settings: Settings, order: Order, report: Report, run_id: ObjectId) -> None:
    if not job.per_clinic:
        done = await job.work(settings)
        report.counts.update(done.counts if isinstance(done, More) else done)
        return
    async with hands_for(settings) as hands:
        try:
            await _Turns(job, order, hands, report, run_id).take()
        finally:
            forget_event(run_id)


@asynccontextmanager
async def _noted(report: Report, *, retry: bool) -> AsyncIterator[ObjectId]:
    """Writes down the run, how it went, and which earlier ones ended without a word."""
    started, began = now(), time.monotonic()
    await JobRun.guarded().update_many(
        {"job": report.job, "result": JobResult.RUNNING.value},
        {"$set": {"result": JobResult.ABANDONED.value, "ended_at": started}},
    )
    noted = await JobRun(job=report.job, started_at=started, retry=retry, purge_at=started + KEPT).insert()
    error: BaseException | None = None
    try:
        yield noted.key
    except BaseException as failure:
        error = failure
        raise
    finally:
        report.seconds = time.monotonic() - began
        await JobRun.guarded().update_one({"_id": noted.key}, {"$set": _ended(report, error, started)})


def _ended(report: Report, error: BaseException | None, started: datetime) -> dict[str, Any]:
    result = _result(report, error)
    uneventful = result is JobResult.DONE and not report.counts
    return {
        "ended_at": now(),
        "result": result.value,
        "clinics": report.clinics,
        "counts": dict(report.counts),
        "failed_clinic_ids": report.failed_ids,
        "error": type(error).__name__ if error else None,
        "purge_at": started + (KEPT_UNEVENTFUL if uneventful else KEPT),
    }


def _result(report: Report, error: BaseException | None) -> JobResult:
    if report.stopped or isinstance(error, asyncio.CancelledError):
        return JobResult.ABANDONED
    if error is not None:
        return JobResult.FAILED
    return JobResult.PARTLY if report.failed else JobResult.DONE


# --- clinic by clinic ---------------------------------------------------------------------------------------------


class _Turns:
    """The clinics of one run, one batch each in turn: ten thousand things to do at one do not hold up another."""

    def __init__(self, job: Job, order: Order, hands: Hands, report: Report, run_id: ObjectId) -> None:
        self._job = job
        self._order = order
        self._hands = hands
        self._report = report
        self._run_id = run_id
        self._clinics = _clinics(job, order)
        self._next: deque[ObjectId] = deque()
        self._again: deque[ObjectId] = deque()
        """Those with more to do, once all have had their turn."""
        self._names: dict[ObjectId, str] = {}
        self._turns = Counter[ObjectId]()
        self._out: dict[ObjectId, float] = {}
        """Whose part was sent when, and is not settled."""
        self._settled = settled_event(run_id)
        self._moved = time.monotonic()

    async def take(self) -> None:
        """Until every clinic is done. Raises UNAVAILABLE when nobody works."""
        while True:
            if not self._order.stopping.is_set():
                await self._send(await self._whose_turn(WINDOW - len(self._out)))
            if not self._out:
                break
            await self._something()
            if await self._fold():
                self._moved = time.monotonic()
            elif time.monotonic() - self._moved > STALLED_SECONDS:
                raise Unavailable("Nobody does the job's parts: is a worker running?")
            await self._make_sure()
        self._report.stopped = self._order.stopping.is_set() and await self._is_left()

    async def _is_left(self) -> bool:
        return bool(await self._whose_turn(1))

    async def _whose_turn(self, count: int) -> list[ObjectId]:
        while len(self._next) < count and (batch := await anext(self._clinics, None)) is not None:
            self._names.update(batch)
            self._next.extend(batch)
            self._report.clinics += len(batch)
        if not self._next:
            self._next, self._again = self._again, self._next
        return [self._next.popleft() for _ in range(min(count, len(self._next)))]

    async def _send(self, clinics: Sequence[ObjectId]) -> None:
        await plan(self._job.name, self._run_id, clinics)
        for clinic in clinics:
            self._turns[clinic] += 1
            await self._send_one(clinic)

    async def _send_one(self, clinic: ObjectId) -> None:
        self._out[clinic] = time.monotonic()
        await self._hands.send(Message(self._job.name, self._run_id, clinic))

    async def _something(self) -> None:
        """Waits until a part was settled here, or for so long that one may have been elsewhere."""
        try:
            await asyncio.wait_for(self._settled.wait(), LOOK_SECONDS)
        except TimeoutError:
            return
        self._settled.clear()

    async def _fold(self) -> int:
        """Takes note of the parts that were settled; how many they are."""
        mine = {"run_id": self._run_id}
        rows = await JobPart.rows({**mine, "status": {"$in": list(ENDED)}})
        for row in rows:
            self._out.pop(row["clinic_id"], None)
            self._note(row)
        done = [row["_id"] for row in rows if row["status"] == PartStatus.DONE.value]
        others = [row["_id"] for row in rows if row["status"] != PartStatus.DONE.value]
        if done:
            await JobPart.guarded().delete_many({"_id": {"$in": done}, **mine})
        if others:
            await JobPart.guarded().update_many({"_id": {"$in": others}, **mine}, {"$set": {"run_id": None}})
        return len(rows)

    def _note(self, row: Mapping[str, Any]) -> None:
        clinic = row["clinic_id"]
        name = self._names.get(clinic, str(clinic))
        if row["status"] == PartStatus.FAILED.value:
            self._report.failed[name] = row["error"]
            self._report.failed_ids.append(clinic)
            return
        self._report.counts.update(row["counts"])
        if row["counts"]:
            self._report.by_clinic.setdefault(name, Counter()).update(row["counts"])
        if row["status"] == PartStatus.MORE.value and self._turns[clinic] < ROUNDS:
            self._again.append(clinic)

    async def _make_sure(self) -> None:
        """Sends what was lost on its way, or with a worker, once more; forgets clinics that are gone."""
        late = [clinic for clinic, sent in self._out.items() if time.monotonic() - sent > AGAIN_SECONDS]
        if not late:
            return
        rows = await JobPart.rows({"run_id": self._run_id, "clinic_id": {"$in": late}}, projection={"clinic_id": 1})
        there = {row["clinic_id"] for row in rows}
        for clinic in late:
            if clinic in there:
                with contextlib.suppress(Unavailable):  # a queue that is away may come back
                    await self._send_one(clinic)
            else:
                del self._out[clinic]


async def _clinics(job: Job, order: Order) -> AsyncIterator[dict[ObjectId, str]]:
    """The names of the clinics, by their ids and in the order of these: but for those that are being deleted or
    imported, and those whose day has not come to the job's hour."""
    chosen: dict[str, Any] = {"deletion_started_at": None, "importing": None}
    if order.clinics is not None:
        chosen["_id"] = {"$in": list(order.clinics)}
    after: list[dict[str, Any]] = []
    shown = ("subdomain", "settings.timezone")
    while rows := await Tenant.rows({"$and": [chosen, *after]}, projection=shown, sort=[("_id", 1)], limit=WINDOW):
        yield {row["_id"]: row["subdomain"] for row in rows if not order.scheduled or _has_come(job, row)}
        after = [{"_id": {"$gt": rows[-1]["_id"]}}]


def _has_come(job: Job, row: Mapping[str, Any]) -> bool:
    zone = ZoneInfo(row.get("settings", {}).get("timezone", "UTC"))
    return now().astimezone(zone).hour >= job.from_hour
