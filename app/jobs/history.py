"""How jobs went: the latest runs, what is due by the schedule, and the clinics at which a job fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from bson import ObjectId

from app.jobs.parts import MAX_TRIES
from app.services.cron import JOBS
from app.services.dispatching import delay_after
from app.services.jobs import Job
from models import JobPart, JobRun
from models.job_run import JobResult
from models.values import now

Row = dict[str, Any]
_GOOD = (JobResult.DONE.value, JobResult.PARTLY.value)
FAILING: Mapping[str, Any] = {"tries": {"$gt": 0}}
"""Filter: clinics at which a job fails."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def latest_runs() -> Mapping[str, Row | None]:
    """The latest run of each job, by name; None for one that never ran."""
    found: dict[str, Row | None] = {}
    for name in sorted(JOBS):
        rows = await JobRun.rows({"job": name}, sort=[("started_at", -1)], limit=1)
        found[name] = rows[0] if rows else None
    return found


def slot_of(every: timedelta, moment: datetime) -> datetime:
    """When the stretch of the schedule began in which `moment` lies."""
    return _EPOCH + (moment - _EPOCH) // every * every


class Due(Enum):
    """Whether a job is to run: in this stretch of its schedule not any more, or not before a while."""

    NOW = "now"
    LATER = "later"
    OVER = "over"


async def due(job: Job, moment: datetime) -> Due:
    """Where the job stands in this stretch of its schedule.

    After a run that failed as a whole, or was cut off, it is due again in a while; after `MAX_TRIES` that failed not
    before the next stretch.
    """
    if job.every is None:
        return Due.OVER
    slot = {"job": job.name, "retry": False, "started_at": {"$gte": slot_of(job.every, moment)}}
    runs = [row for row in await JobRun.rows(slot, sort=[("started_at", -1)]) if row.get("ended_at") is not None]
    failed = sum(row["result"] == JobResult.FAILED.value for row in runs)
    if any(row["result"] in _GOOD for row in runs) or failed >= MAX_TRIES:
        return Due.OVER
    return Due.LATER if runs and runs[0]["ended_at"] + delay_after(len(runs)) > moment else Due.NOW


async def retries_due() -> Mapping[str, list[ObjectId]]:
    """By job, the clinics at which it failed and is to be tried again now."""
    found: dict[str, list[ObjectId]] = {}
    for row in await JobPart.rows({"next_at": {"$lte": now()}}, projection=("job", "clinic_id"), limit=1_000):
        found.setdefault(row["job"], []).append(row["clinic_id"])
    return found


async def failures(job: str | None = None) -> Sequence[Row]:
    """The clinics at which jobs (that one, or all) fail: `job, clinic_id, tries, error, failed_at, next_at`, those that
    were given up (no `next_at`) first."""
    shown = ("job", "clinic_id", "tries", "error", "failed_at", "next_at")
    return await JobPart.rows({**FAILING, **of_job(job)}, projection=shown, sort=[("tries", -1)], limit=1_000)


def of_job(name: str | None) -> dict[str, Any]:
    """Filter: what is of that job; of all jobs without a name."""
    return {"job": name} if name is not None else {}


async def standing() -> Sequence[Row]:
    """Of each job, by name: `job`, when it `ran` and `succeeded` (or None), `seconds` of the `latest_run` (or None), at
    how many clinics it is `failing` and was `given_up`."""
    latest, failing = await latest_runs(), await _failing()
    found: list[Row] = []
    for name, run in latest.items():
        good = await JobRun.rows({"job": name, "result": JobResult.DONE.value}, sort=[("started_at", -1)], limit=1)
        ended = run["ended_at"] if run else None
        none = {"failing": 0, "given_up": 0}
        found.append(
            {
                "job": name,
                "latest_run": run,
                "ran": run["started_at"] if run else None,
                "succeeded": good[0]["started_at"] if good else None,
                "seconds": (ended - run["started_at"]).total_seconds() if run and ended else None,
                **failing.get(name, none),
            }
        )
    return found


async def _failing() -> Mapping[str, Row]:
    """By job, at how many clinics it is `failing` and was `given_up`."""
    given_up = {"$cond": [{"$gte": ["$tries", MAX_TRIES]}, 1, 0]}
    counts = {"_id": "$job", "failing": {"$sum": 1}, "given_up": {"$sum": given_up}}
    cursor = await JobPart.guarded().aggregate([{"$match": dict(FAILING)}, {"$group": counts}])
    return {row.pop("_id"): row for row in await cursor.to_list()}
