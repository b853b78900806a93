"""One clinic's part of a run: planned, taken by whoever is told of it, done in the clinic's scope, settled.

What says that a part is to be done is its row. A message only says that it may be done now, so one that comes twice,
late or from an earlier run does nothing, and one that is lost is sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import structlog
from bson import ObjectId
from pymongo import ReturnDocument, UpdateOne

from app.config import Settings
from app.services.cron import JOBS
from app.services.dispatching import delay_after
from app.services.jobs import More
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from models import JobPart, Tenant
from models.job_run import PartStatus
from models.values import now

log = structlog.get_logger(__name__)

CLINIC_SECONDS = 60.0
"""What one batch of one clinic may take."""
MARGIN_SECONDS = 10.0
"""Whoever still has a part so long after that is dead."""
MAX_TRIES = 5
"""After so many failures in a row a part is given up: only the ordinary runs of its job try it then."""
MAX_STARTS = 3
"""A part that killed its process so often counts as failed."""
KEPT = timedelta(days=90)
ENDED = (PartStatus.DONE.value, PartStatus.MORE.value, PartStatus.FAILED.value)

_waiting_for: dict[ObjectId, asyncio.Event] = {}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """What goes through the queue: ids alone, nothing of what a clinic keeps."""

    job: str
    run_id: ObjectId
    clinic_id: ObjectId


def settled_event(run_id: ObjectId) -> asyncio.Event:
    """Set whenever this process has settled a part of that run; drop it by `forget_event`."""
    return _waiting_for.setdefault(run_id, asyncio.Event())


def forget_event(run_id: ObjectId) -> None:
    """The run is over."""
    _waiting_for.pop(run_id, None)


async def plan(job: str, run_id: ObjectId, clinics: Collection[ObjectId]) -> None:
    """Makes the clinics' parts those of this run, waiting to be done. What is known of earlier failures stays."""
    moment = now()
    planned = {"run_id": run_id, "status": PartStatus.WAITING.value, "lease": None, "lease_until": moment, "counts": {}}
    fresh = {"starts": 0, "tries": 0, "error": None, "failed_at": None, "next_at": None}
    change = {"$set": {**planned, "purge_at": moment + KEPT}, "$setOnInsert": fresh}
    if clinics:
        await JobPart.guarded().bulk_write(
            [UpdateOne({"job": job, "clinic_id": clinic}, change, upsert=True) for clinic in clinics], ordered=False
        )


async def work_on(message: Message, settings: Settings) -> None:
    """Does the part that the message tells of, unless it is done, somebody is at it, or it is no longer wanted."""
    with open_scope(Scope(request_id=f"job-{message.run_id}")):
        part = await _take(message)
        if part is not None:
            await _settle(part, await _outcome(part, settings))


async def hand_back(message: Message) -> None:
    """Lets another process take the part that this one was at when it was told to end."""
    with open_scope(Scope(request_id=f"job-{message.run_id}")):
        await JobPart.guarded().update_one(
            {"job": message.job, "clinic_id": message.clinic_id, "run_id": message.run_id, "lease": {"$ne": None}},
            {"$set": {"status": PartStatus.WAITING.value, "lease": None, "starts": 0}},
        )


async def _take(message: Message) -> Row | None:
    """Puts a lease on the part in one atomic step; None when it is not there to be taken."""
    moment = now()
    lease = {"lease": uuid4().hex, "lease_until": moment + timedelta(seconds=CLINIC_SECONDS + MARGIN_SECONDS)}
    free = [
        {"status": PartStatus.WAITING.value},
        {"status": PartStatus.RUNNING.value, "lease_until": {"$lte": moment}},
    ]
    return await JobPart.guarded().find_one_and_update(
        {"job": message.job, "clinic_id": message.clinic_id, "run_id": message.run_id, "$or": free},
        {"$set": {"status": PartStatus.RUNNING.value, **lease}, "$inc": {"starts": 1}},
        return_document=ReturnDocument.AFTER,
    )


async def _outcome(part: Row, settings: Settings) -> Row:
    """Does the work; what is to be written of how it went. Whatever breaks it stays with this clinic."""
    if part["starts"] > MAX_STARTS:
        return _failure(part, "Interrupted")
    tenant = await Tenant.get(part["clinic_id"])
    if tenant is None or tenant.deletion_started_at is not None or tenant.importing is not None:
        return _success(PartStatus.DONE, {})
    try:
        async with asyncio.timeout(CLINIC_SECONDS), tenant_scope(tenant):
            done = await JOBS[part["job"]].work(settings)
    except Exception as error:
        log.error("a job failed at a clinic", job=part["job"], tenant=tenant.subdomain, exc_info=error)
        return _failure(part, type(error).__name__)
    if isinstance(done, More):
        return _success(PartStatus.MORE, done.counts)
    return _success(PartStatus.DONE, done)


def _success(status: PartStatus, counts: Mapping[str, int]) -> Row:
    told = {what: count for what, count in counts.items() if count}
    return {"status": status.value, "counts": told, "tries": 0, "error": None, "failed_at": None, "next_at": None}


def _failure(part: Row, error: str) -> Row:
    tries = part["tries"] + 1
    given_up = tries >= MAX_TRIES
    if given_up:
        log.error("a job was given up at a clinic", job=part["job"], clinic=str(part["clinic_id"]), error=error)
    moment = now()
    return {
        "status": PartStatus.FAILED.value,
        "tries": tries,
        "error": error,
        "failed_at": moment,
        "next_at": None if given_up else moment + delay_after(tries),
    }


async def _settle(part: Row, outcome: Row) -> None:
    """Notes how it went, if the part still is ours: a lease that ran out may be another's by now."""
    await JobPart.guarded().update_one(
        {"_id": part["_id"], "lease": part["lease"]}, {"$set": {**outcome, "lease": None, "starts": 0}}
    )
    if (event := _waiting_for.get(part["run_id"])) is not None:
        event.set()
