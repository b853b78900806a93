"""One run of a job at a time, over all processes: a lock document with a lease that the run renews."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from datetime import timedelta

from pymongo.errors import DuplicateKeyError, PyMongoError

from app.errors import NotFound, Unavailable
from app.tasks import end
from models import JobLock
from models.values import now

LEASE = timedelta(seconds=60)
"""A run whose process was killed holds its job no longer than this."""
BEAT_SECONDS = 15.0


async def taken(name: str, holder: str) -> bool:
    """Takes the job in one atomic step, when nobody has it or whoever had it is dead."""
    moment = now()
    try:
        await JobLock.guarded().update_one(
            {"_id": name, "lease_until": {"$lte": moment}},
            {"$set": {"holder": holder, "lease_until": moment + LEASE}},
            upsert=True,
        )
    except (DuplicateKeyError, NotFound):  # the guard's word for an `_id` that is there already
        return False
    return True


async def give_back(name: str, holder: str) -> None:
    """Lets others have the job, unless another run took it over."""
    await JobLock.guarded().delete_one({"_id": name, "holder": holder})


async def while_held(name: str, holder: str, work: Awaitable[None]) -> None:
    """Does the work while renewing the hold, and stops it before another run can begin.

    Raises UNAVAILABLE when the hold could not be renewed, and what the work raises.
    """
    working = asyncio.ensure_future(work)
    beating = asyncio.create_task(_beat(name, holder), name=f"job {name}")
    try:
        await asyncio.wait({working, beating}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Unavailable("The job was stopped, because its hold could not be renewed.")
        working.result()
    finally:
        for task in (working, beating):
            await end(task)
            if not task.cancelled():
                task.exception()


async def _beat(name: str, holder: str) -> None:
    """Renews the hold until that fails: because another run has it, or for too long to be sure that none has."""
    sure_until = time.monotonic() + LEASE.total_seconds() - 2 * BEAT_SECONDS
    while time.monotonic() < sure_until:
        await asyncio.sleep(BEAT_SECONDS)
        began = time.monotonic()
        with contextlib.suppress(PyMongoError):
            kept = await JobLock.guarded().update_one(
                {"_id": name, "holder": holder}, {"$set": {"lease_until": now() + LEASE}}
            )
            if not kept.matched_count:
                return
            sure_until = began + LEASE.total_seconds() - 2 * BEAT_SECONDS
