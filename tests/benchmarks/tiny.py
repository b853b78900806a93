"""A process that builds a tiny data set and compares the answers of the Python servers on it: `-m … URI FOLDER`."""

from __future__ import annotations

import asyncio
import sys
from contextlib import closing
from pathlib import Path

from benchmarks.comparison.answers import check_answers
from benchmarks.comparison.database import Mongod
from benchmarks.comparison.options import read_options
from benchmarks.comparison.stage import Ground, contenders
from benchmarks.comparison.workloads import WORKLOADS
from benchmarks.data.building import ensure
from benchmarks.data.sizes import Size

TINY = Size(clinics=2, patients=60, appointments=120)
SERVERS = ("floor", "ordinary", "polyclinic", "polyclinic-off")


def main(uri: str, folder: Path, *, compare: bool) -> None:
    asyncio.run(ensure(folder, uri, TINY, print))
    if not compare:
        return
    with closing(Mongod(uri)) as mongod:
        ground = Ground(read_options(["--data", str(folder)], ()), uri, mongod, "wrk", print)
        with contenders(ground, SERVERS, TINY) as running:
            for workload in WORKLOADS.values():
                length = check_answers(ground, running, workload, TINY)
                sys.stdout.write(f"{workload.name} {length > 0}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), compare=sys.argv[3:] == ["compare"])
