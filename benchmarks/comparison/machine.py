"""On what, with what and when it was measured."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.config import PROJECT_ROOT
from benchmarks.comparison.options import Options
from benchmarks.comparison.peers import node_text
from benchmarks.data.sizes import Size

PACKAGES = ("strawberry-graphql", "graphql-core", "starlette", "uvicorn", "uvloop", "beanie", "pymongo", "orjson")
CACHE_GB = 2.0
"""Of the database's own cache."""
BUSY = 0.5
"""Processes that ran on average in the last minute: more than this disturbs what is measured."""


def load_now() -> float:
    """How many processes ran on average in the last minute."""
    return os.getloadavg()[0]


def about(options: Options, size: Size, mongod: str) -> dict[str, Any]:
    """What a reader must know to compare figures."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"processor": _processor(), "cores": os.cpu_count(), "memory_gb": _memory_gb(), "system": _system()},
        "versions": {
            "polyclinic": _commit(),
            "python": platform.python_version(),
            "mongod": mongod,
            "node": node_text().removeprefix("v") or None,
            **{name: version(name) for name in PACKAGES},
        },
        "data": str(size),
        "database_cache_gb": CACHE_GB,
        "load_before": round(load_now(), 2),
        "rounds": options.rounds,
        "seconds": options.seconds,
    }


def _processor() -> str:
    return _line(Path("/proc/cpuinfo"), "model name") or platform.machine()


def _memory_gb() -> int | None:
    found = _line(Path("/proc/meminfo"), "MemTotal")
    return round(int(found.split()[0]) / 1e6) if found else None


def _line(file: Path, name: str) -> str | None:
    if not file.exists():
        return None
    lines = (line.partition(":") for line in file.read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), None)


def _system() -> str:
    return f"{platform.system()} {platform.release()}"


def _commit() -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    asked = [git, "describe", "--always", "--dirty"]
    return subprocess.run(asked, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False).stdout.strip() or None
