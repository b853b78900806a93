"""Server processes: started, awaited, looked at in /proc, ended by their ids."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.config import PROJECT_ROOT
from app.db.mongod import die_with_parent
from benchmarks.comparison.options import BenchmarkError
from benchmarks.comparison.workloads import Ask

START_SECONDS = 60.0
STOP_SECONDS = 15.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that runs: its first process, which may watch over others."""

    pid: int
    port: int

    def cpu(self) -> float:
        """Seconds of CPU that it and its children have used."""
        return sum(cpu_of(one) for one in family(self.pid))

    def memory_mb(self) -> list[float]:
        """Resident memory of each process that has a tenth of the largest one's or more."""
        found = sorted((resident_mb(one) for one in family(self.pid)), reverse=True)
        return [one for one in found if one > found[0] / 10]


@contextmanager
def serving(command: Sequence[str], env: Mapping[str, str], port: int, ask: Ask, log: Path) -> Iterator[Serving]:
    """Runs the command until the block ends; it is ready when `ask` is answered. Raises `BenchmarkError`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **env},
            cwd=PROJECT_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent(),  # noqa: PLW1509 - it calls the kernel and nothing else
        )
    try:
        _wait_for(process, port, ask, log)
        yield Serving(process.pid, port)
    finally:
        _end(process)


def _wait_for(process: subprocess.Popen[bytes], port: int, ask: Ask, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    why = "nothing"
    while process.poll() is None and time.monotonic() < deadline:
        try:
            answer = httpx.post(f"http://127.0.0.1:{port}/graphql", content=ask.body, headers=ask.headers)
        except httpx.TransportError:
            time.sleep(0.05)
            continue
        if answer.status_code == 200:
            return
        why = answer.text[:300]
        time.sleep(0.2)
    raise BenchmarkError(f"A server did not start (it answered {why}): see {log}.")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        for one in family(process.pid):
            os.kill(one, 9)
        process.wait()


def family(pid: int) -> list[int]:
    """A process and all that it started, directly or not."""
    parents = {int(entry.name): _parent(entry) for entry in _PROC.iterdir() if entry.name.isdigit()}
    found, fresh = [pid], {pid}
    while fresh := {one for one, parent in parents.items() if parent in fresh}:
        found += sorted(fresh)
    return found


def cpu_of(pid: int) -> float:
    """Seconds of CPU in user and kernel; 0 for a process that is gone."""
    fields = _stat(_PROC / str(pid))
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0


def resident_mb(pid: int) -> float:
    """Resident memory, in millions of bytes; 0 for a process that is gone."""
    try:
        pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _parent(entry: Path) -> int:
    fields = _stat(entry)
    return int(fields[1]) if fields else 0


def _stat(entry: Path) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold anything."""
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
