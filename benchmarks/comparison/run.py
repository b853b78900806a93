"""The comparison as a whole: `run(options)`."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from app.db.mongod import MongodError, embedded_mongod
from benchmarks.comparison import parts, peers, report
from benchmarks.comparison.database import Mongod
from benchmarks.comparison.load import find_wrk
from benchmarks.comparison.machine import BUSY, CACHE_GB, about, load_now
from benchmarks.comparison.options import BenchmarkError, Options
from benchmarks.comparison.stage import Ground
from benchmarks.comparison.targets import measured
from benchmarks.comparison.variants import ALL, can_switch_executor
from benchmarks.comparison.workloads import WORKLOADS
from benchmarks.data.sizes import FULL, SMALL, Size


def say(line: str) -> None:
    """Tells what is being done, at once."""
    print(line, flush=True)


def run(options: Options) -> None:
    """Measures what was asked for, prints it and keeps it. Raises `BenchmarkError` with one sentence."""
    wrk = find_wrk(say)
    if (load := load_now()) > BUSY:
        say(f"Machine: it is busy (load {load:.1f}), so figures will vary; CPU per request and ratios vary least")
    variants = _variants(options)
    say(f"Database: starting mongod on {options.data}")
    options.data.mkdir(parents=True, exist_ok=True)
    try:
        with (
            embedded_mongod(options.data, cache_gb=CACHE_GB, report=say) as uri,
            closing(Mongod(uri)) as mongod,
        ):
            results = _measured(Ground(options, uri, mongod, wrk, say), variants)
    except MongodError as error:
        raise BenchmarkError(str(error).replace("another DATA_DIR", "another folder by --data")) from None
    _tell(options, results)


def _variants(options: Options) -> list[str]:
    if not {*WORKLOADS, "processes"} & set(options.parts):
        return []  # the other parts run Polyclinic alone
    node = any(ALL[name].needs_node for name in options.variants) and peers.set_up(say)
    if "polyclinic-off" in options.variants and not can_switch_executor():
        say("Servers: this version has no executor that can be turned off, so polyclinic-off is left out")
    chosen = parts.runnable(options.variants, node=node, executor=can_switch_executor())
    if not chosen:
        raise BenchmarkError("None of the chosen servers can run here: see the lines above.")
    return chosen


def _measured(ground: Ground, variants: list[str]) -> dict[str, Any]:
    options = ground.options
    size: Size = SMALL if options.small else FULL
    results: dict[str, Any] = {"about": about(options, size, ground.mongod.version)}
    if names := [name for name in options.parts if name in WORKLOADS]:
        results |= parts.workloads(ground, names, variants, size)
    if "growth" in options.parts:
        results["growth"] = parts.growth(ground, size)
    if "processes" in options.parts:
        results["processes"] = parts.processes(ground, variants, size)
    if "mixed" in options.parts:
        results["mixed"] = parts.mixed(ground, size)
    return {**results, "targets": measured(results)}


def _tell(options: Options, results: dict[str, Any]) -> None:
    print()
    targets, *others = report.tables(results)
    for table in (*others, targets):  # what matters most stands where the eye ends
        print(table.text(), end="\n\n")
    report.keep(results)
    if options.whole:
        report.write_page(results)
        say("Written: benchmarks/latest.json and docs/performance.md")
    else:
        say("Written: benchmarks/latest.json (docs/performance.md is for the whole comparison)")
