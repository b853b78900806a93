"""As many server processes as cores may be used, not as many as the machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.cores import available_cores


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("files", "own", "cores"),
    [
        ({}, "0::/", 8),
        ({}, None, 8),
        ({"cpu.max": "max 100000"}, "0::/", 8),
        ({"cpu.max": "200000 100000"}, "0::/", 2),
        ({"cpu.max": "150000 100000"}, "0::/", 2),
        ({"cpu.max": "20000 100000"}, "0::/", 1),
        ({"cpu.max": "1600000 100000"}, "0::/", 8),
        ({"cpu.max": "nonsense"}, "0::/", 8),
        ({"cpu.max": "0 0"}, "0::/", 8),
        ({"system.slice/clinic.service/cpu.max": "300000 100000"}, "0::/system.slice/clinic.service", 3),
        ({"system.slice/cpu.max": "400000 100000"}, "0::/system.slice/clinic.service", 4),
        ({"other.slice/cpu.max": "100000 100000"}, "0::/system.slice/clinic.service", 8),
        ({"cpu.max": "100000 100000"}, "0::/../../elsewhere", 1),
        ({"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/", 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/", 8),
    ],
)
def test_a_limit_counts_when_it_is_less(tmp_path: Path, files: dict[str, str], own: str | None, cores: int) -> None:
    groups = tmp_path / "cgroup"
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(f"{text}\n")
    mine = tmp_path / "own"
    if own is not None:
        mine.write_text(f"9:name=systemd:/\n{own}\n")

    assert available_cores(cgroups=groups, own=mine) == cores


def test_here_there_is_one_at_least_and_no_more_than_there_are() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
