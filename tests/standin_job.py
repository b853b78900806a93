"""A process that works at a job until it is killed: `python -m tests.standin_job NAME LEASE_SECONDS`."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from app.config import Settings, load_settings
from app.jobs import lock
from app.jobs.runs import run_job
from app.services.jobs import Counts, job
from scripts.runtime import backend


def main() -> None:
    name, lease = sys.argv[1], float(sys.argv[2])
    lock.LEASE = timedelta(seconds=lease)
    lock.BEAT_SECONDS = lease / 8

    @job(name, "Never ends.", per_clinic=False)
    async def work(_: Settings) -> Counts:
        sys.stdout.write("working\n")
        sys.stdout.flush()
        await asyncio.sleep(600)
        return {}

    settings = load_settings()
    with backend(settings, with_schema=False) as ready:
        ready.run(run_job(name, settings))


if __name__ == "__main__":
    main()
