"""The parts of the comparison: what runs on which data, and what is kept of it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median
from typing import Any

from benchmarks.comparison.answers import check_answers
from benchmarks.comparison.figures import Sample, cost, medians, per_second, ratio
from benchmarks.comparison.runs import interleaved
from benchmarks.comparison.stage import Ground, contender, contenders, questions_for
from benchmarks.comparison.targets import OURS
from benchmarks.comparison.variants import ALL
from benchmarks.comparison.workloads import WORKLOADS
from benchmarks.data.building import ensure
from benchmarks.data.sizes import Size, growth_of

CONCURRENCY = (32, 1)
SCALED = ("floor", "polyclinic", "mercurius", "mercurius-prefetch", "apollo")
"""Servers that are also run as two processes."""
SCALED_WORKLOADS = ("q1", "q3")
Part = dict[str, Any]


def workloads(ground: Ground, names: Sequence[str], variants: Sequence[str], size: Size) -> dict[str, Part]:
    """The named workloads on all servers: workload → variant → concurrency → figures."""
    _ready(ground, size)
    found: dict[str, Part] = {}
    with contenders(ground, variants, size) as running:
        for name in names:
            workload = WORKLOADS[name]
            found[name] = {one.name: {} for one in running}
            length = check_answers(ground, running, workload, size)
            ground.report(f"Answers: {name} is answered alike by all, in {length:,} bytes")
            for at_once in CONCURRENCY:
                for server, samples in interleaved(ground, running, workload, at_once).items():
                    found[name][server][str(at_once)] = medians(samples)
            for one in running:
                found[name][one.name]["memory_mb"] = round(max(one.server.memory_mb()), 1)
    return found


def growth(ground: Ground, size: Size) -> Part:
    """What Q1 costs on a base, with ten times the clinics, and with ten times the rows."""
    sizes = dict(zip(("base", "ten times the clinics", "ten times the rows"), growth_of(size), strict=True))
    for one in sizes.values():
        _ready(ground, one)
    with ExitStack() as stack:
        running = []
        for name, one in sizes.items():
            questions = questions_for(ground, one, one.clinics)
            running.append(stack.enter_context(contender(ground, name, OURS, one, questions)))
        rounds = interleaved(ground, running, WORKLOADS["q1"], CONCURRENCY[0])
    base = cost(rounds, "base")
    return {
        name: {
            "size": str(one),
            "cpu_ms": round(median(cost(rounds, name)), 3),
            "ratio": round(ratio(cost(rounds, name), base), 3),
            **medians(rounds[name]),
        }
        for name, one in sizes.items()
    }


def processes(ground: Ground, variants: Sequence[str], size: Size) -> Part:
    """One process against two: workload → variant → number of processes → figures."""
    _ready(ground, size)
    chosen = [name for name in SCALED if name in variants]
    found: Part = {}
    with ExitStack() as stack:
        questions = questions_for(ground, size, size.clinics)
        running = [
            stack.enter_context(contender(ground, f"{name}-{number}", name, size, questions, number))
            for name in chosen
            for number in (1, 2)
        ]
        for workload in SCALED_WORKLOADS:
            rounds = interleaved(ground, running, WORKLOADS[workload], CONCURRENCY[0])
            found[workload] = {name: _scaled(rounds, name) for name in chosen}
    return found


def _scaled(rounds: dict[str, list[Sample]], name: str) -> Part:
    one, two = f"{name}-1", f"{name}-2"
    gain = ratio(per_second(rounds, two), per_second(rounds, one))
    return {"1": medians(rounds[one]), "2": medians(rounds[two]), "ratio": round(gain, 2)}


def mixed(ground: Ground, size: Size) -> Part:
    """Q1 of all clinics of a set with many, in turns, against Q1 of a single one of them, on one server."""
    _, many, _ = growth_of(size)
    _ready(ground, many)
    everybody = questions_for(ground, many, many.clinics)
    with contender(ground, "mixed", OURS, many, everybody) as server:
        alone = server.with_questions("1 clinic", everybody.of_first(1))
        together = server.with_questions(f"{many.clinics} clinics", everybody)
        rounds = interleaved(ground, [together, alone], WORKLOADS["q1"], CONCURRENCY[0])
    return {name: {"cpu_ms": round(median(cost(rounds, name)), 3), **medians(rounds[name])} for name in rounds}


def _ready(ground: Ground, size: Size) -> None:
    asyncio.run(ensure(ground.options.data, ground.uri, size, ground.report))


def runnable(variants: Sequence[str], *, node: bool, executor: bool) -> list[str]:
    """The chosen servers without those that cannot run here."""
    able = [name for name in variants if node or not ALL[name].needs_node]
    return [name for name in able if executor or name != "polyclinic-off"]
