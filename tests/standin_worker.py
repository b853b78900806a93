"""A worker with a job of a test's own, in a hurry: `python -m tests.standin_worker JOB KIND ROOMS`.

It opens so many rooms, named after the job, at each clinic, each of them once. `KIND`: `works`; `hangs` after half of
them until it is killed; `stops` after half of them as long as it takes, and says so if it is cut off.
Lines on its standard output tell how far it is.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

from pymongo.errors import DuplicateKeyError

from app.config import Settings
from app.jobs import hands, parts, streams
from app.services.jobs import Counts, job
from models import Room
from scripts.worker import cli

NAME, KIND, ROOMS = sys.argv[1], sys.argv[2], int(sys.argv[3])


def tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@job(NAME, "Opens rooms.", every=None)
async def work(_: Settings) -> Counts:
    opened = 0
    for number in range(ROOMS):
        if number == ROOMS // 2 and KIND != "works":
            tell("half")
            try:
                await asyncio.sleep(600 if KIND == "hangs" else 1)
            except asyncio.CancelledError:
                tell("cut off")
                raise
        with suppress(DuplicateKeyError):
            await Room(name=f"{NAME} {number}", name_key=f"{NAME} {number}").insert()
            opened += 1
    tell("done")
    return {"opened": opened}


if __name__ == "__main__":
    streams.VISIBLE_SECONDS = 2.0
    hands.STOP_SECONDS = 3.0
    parts.CLINIC_SECONDS = 60.0 if KIND == "stops" else 1.5 if KIND == "works" else 600.0
    parts.MARGIN_SECONDS = -598.5 if KIND == "hangs" else 0.0  # the lease of what is killed ends soon
    del sys.argv[1:]
    cli()
