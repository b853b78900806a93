"""Sends requests by wrk, and reads what it found."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparison.options import BenchmarkError
from benchmarks.comparison.workloads import Ask, Workload, lines

SCRIPT = Path(__file__).with_name("post.lua")
MARK = "FIGURES "
MOST_BOOKINGS = 4_000
"""Bookings a second for which there are slots at hand."""


class LoadError(BenchmarkError):
    """The load did not run as it must for a figure to count."""


class NothingAnsweredError(LoadError):
    """Requests take longer than the run did."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one run of the load generator found."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def find_wrk(report: Callable[[str], None]) -> str:
    """The path of wrk; installs Debian's package where that is possible. Raises `BenchmarkError`."""
    if found := shutil.which("wrk"):
        return found
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        raise BenchmarkError("wrk, which makes the load, was not found: apt-get install wrk, or put it on the PATH.")
    report("Load: installing wrk")
    for step in (["update"], ["install", "--yes", "wrk"]):
        subprocess.run([apt, *step], check=False, capture_output=True)
    if found := shutil.which("wrk"):
        return found
    raise BenchmarkError("wrk could not be installed: apt-get install wrk says why.")


def most_asks(workload: Workload, seconds: int) -> int:
    """So many requests must be at hand for a run: bookings cannot come again."""
    return MOST_BOOKINGS * (seconds + 1) if workload.writes else 10**9


def load(wrk: str, port: int, workload: Workload, asks: Sequence[Ask], *, at_once: int, seconds: int) -> Loaded:
    """Keeps `at_once` requests in flight for so long. Raises `LoadError` when any of them failed."""
    with tempfile.NamedTemporaryFile("w", suffix=".asks") as file:
        file.writelines(lines(asks))
        file.flush()
        ways = ("once" if workload.writes else "again", "plain" if workload.name == "q3" else "checked")
        command = [wrk, "-t1", f"-c{at_once}", f"-d{seconds}s", "--timeout", "20s", "-s", str(SCRIPT)]
        command += [f"http://127.0.0.1:{port}/graphql", "--", file.name, *ways]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return parse(done.stdout, done.stderr)


def parse(out: str, errors: str = "") -> Loaded:
    """What wrk printed, by the script's last line. Raises `LoadError` when it is not there or tells of failures."""
    told = next((line for line in reversed(out.splitlines()) if line.startswith(MARK)), None)
    if told is None:
        raise LoadError(f"wrk ended without figures: {(errors or out).strip()[:300]}")
    found = json.loads(told.removeprefix(MARK))
    if found["spent"]:
        raise LoadError("the server booked faster than there were slots at hand: raise MOST_BOOKINGS in load.py")
    if wrong := found["failed"] + found["broken"]:
        raise LoadError(f"{wrong} of {found['requests']} requests failed: {errors.strip()[:300]}")
    if not found["requests"]:
        raise NothingAnsweredError("no request was answered in time: give more SECONDS")
    return Loaded(found["requests"], found["seconds"], found["p50_ms"], found["p99_ms"])
