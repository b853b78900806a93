"""How many processor cores this process may use, which on a shared machine are fewer than it has."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def available_cores(*, cgroups: Path = CGROUPS, own: Path = OWN) -> int:
    """The cores that the scheduler may put us on, or the share that the control group (a container's limit) allows,
    rounded up, when that is less. A limit that cannot be read counts as none."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    shares = [share for folder in _folders(cgroups, own) if (share := _share(folder)) is not None]
    return max(1, min([cores, *map(math.ceil, shares)]))


def _folders(cgroups: Path, own: Path) -> list[Path]:
    """Where limits on this process stand: its own group and those above it (version 2), and version 1's one place."""
    try:
        paths = [line.split(":", 2)[2] for line in own.read_text().splitlines() if line.startswith("0::")]
    except (OSError, IndexError):
        paths = []
    groups = [cgroups / path.strip("/") for path in paths if ".." not in path]
    above = [parent for group in groups for parent in group.parents if parent.is_relative_to(cgroups)]
    return [cgroups, cgroups / "cpu", *groups, *above]


def _share(folder: Path) -> float | None:
    """Cores' worth of time that the group may use; None without a limit."""
    return _ratio(_words(folder / "cpu.max")) or _ratio(
        [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
    )


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


def _ratio(words: list[str]) -> float | None:
    """`quota period`, both in microseconds; a quota of `max` or -1 is none."""
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        return None
    quota, period = map(int, words)
    return quota / period if quota and period else None
