"""What is read of processes, and servers that cannot run here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.comparison import peers
from benchmarks.comparison.options import VARIANTS
from benchmarks.comparison.parts import runnable
from benchmarks.comparison.processes import cpu_of, family, resident_mb
from benchmarks.comparison.report import keep, write_page
from benchmarks.comparison.targets import measured
from benchmarks.comparison.variants import ALL


def test_a_process_and_its_children_are_found() -> None:
    program = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        assert len(family(parent.pid)) == 2
        assert all(resident_mb(one) > 1 for one in family(parent.pid))
        parent.communicate(b"\n")


def test_cpu_grows_with_work_and_a_process_that_is_gone_used_none() -> None:
    before = cpu_of(os.getpid())
    while cpu_of(os.getpid()) <= before:
        sum(range(100_000))
    assert (cpu_of(2**30), resident_mb(2**30)) == (0.0, 0.0)


def test_every_name_that_can_be_chosen_is_a_server() -> None:
    assert set(ALL) == set(VARIANTS)


def test_servers_that_cannot_run_here_are_left_out() -> None:
    assert runnable(VARIANTS, node=False, executor=False) == ["floor", "ordinary", "polyclinic"]
    assert runnable(VARIANTS, node=True, executor=True) == list(VARIANTS)


def test_without_node_the_peers_are_left_out_and_it_is_said_why(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setenv("PATH", "/nowhere")
    assert not peers.set_up(said.append)
    assert said == ["Peers: left out, as node or npm is not on the PATH (version 20.19 or newer is needed)"]


def test_results_are_kept_and_the_page_is_written_from_them(tmp_path: Path) -> None:
    machine = {"processor": "P", "cores": 2, "memory_gb": 8, "system": "Linux 6"}
    about = {
        "date": "2026-01-31",
        "machine": machine,
        "versions": {"python": "3.11.2", "node": None},
        "data": "2 clinics",
        "database_cache_gb": 2.0,
        "load_before": 0.1,
        "rounds": 7,
        "seconds": 5,
    }
    results = {"about": about, "targets": measured({})}
    keep(results, tmp_path / "latest.json")
    write_page(results, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "- Machine: P, 2 cores, 8 GB, Linux 6\n" in page
    assert "- Versions: python 3.11.2\n" in page
    assert "| Q1 of the floor | ≥ 0.7× | ≥ 0.9× | – | not measured |" in page
    assert [one.name for one in tmp_path.iterdir() if one.suffix == ".new"] == []
