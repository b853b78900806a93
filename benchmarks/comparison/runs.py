"""The runs: interleaved, round after round, each with what it cost server and database."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from benchmarks.comparison.figures import Sample
from benchmarks.comparison.load import Loaded, LoadError, NothingAnsweredError, load, most_asks
from benchmarks.comparison.processes import Serving
from benchmarks.comparison.stage import Contender, Ground
from benchmarks.comparison.workloads import Workload

WARM_SECONDS = 1
MOST_WARMING = 20
"""Runs, for a server that is slow."""
LEAST_TURNS = 2
"""So many answers on each connection make a run count."""
MORE_TIME = 5
SETTLE_SECONDS = 30.0
IDLE_CPU = 0.02
"""Seconds of CPU in a tenth of a second that an idle server may use."""


def interleaved(
    ground: Ground, running: Sequence[Contender], workload: Workload, at_once: int
) -> dict[str, list[Sample]]:
    """Each in turn, round after round, once all are warm."""
    ground.report(f"Runs: {workload.name}, {at_once} at once, {ground.options.rounds} rounds of {len(running)}")
    for one in running:
        _warm(ground, one, workload, at_once)
    found: dict[str, list[Sample]] = {one.name: [] for one in running}
    for number in range(ground.options.rounds):
        turn = number % len(running)
        for one in (*running[turn:], *running[:turn]):  # nobody always comes after the same
            found[one.name].append(_run(ground, one, workload, at_once, ground.options.seconds))
    return found


def _warm(ground: Ground, one: Contender, workload: Workload, at_once: int) -> None:
    """Runs that do not count, until every caller has asked once: what is kept in memory is then there."""
    asked = 0
    for _ in range(MOST_WARMING):
        asks = one.questions.of(workload, most_asks(workload, WARM_SECONDS))
        start = 0 if workload.writes else asked % len(asks)
        turned = asks[start:] + asks[:start]
        with suppress(NothingAnsweredError):
            loaded = load(ground.wrk, one.server.port, workload, turned, at_once=at_once, seconds=WARM_SECONDS)
            asked += loaded.requests
        _settle(one.server)
        if asked >= one.questions.callers:
            return


def _settle(server: Serving) -> None:
    """Waits until the server has done with what was in flight when the load ended."""
    deadline, before = time.monotonic() + SETTLE_SECONDS, -1.0
    while (used := server.cpu()) - before > IDLE_CPU and time.monotonic() < deadline:
        before = used
        time.sleep(0.1)


def _run(ground: Ground, one: Contender, workload: Workload, at_once: int, seconds: int) -> Sample:
    """One run. A server too slow for it, whose figures would be those of a handful of requests, gets more time."""
    try:
        loaded, sample = _timed(ground, one, workload, at_once, seconds)
        if loaded.requests >= LEAST_TURNS * at_once:
            return sample
    except NothingAnsweredError:
        pass
    ground.report(f"Runs: {one.name} answers too few in {seconds} s, so once more in {seconds * MORE_TIME} s")
    return _timed(ground, one, workload, at_once, seconds * MORE_TIME)[1]


def _timed(ground: Ground, one: Contender, workload: Workload, at_once: int, seconds: int) -> tuple[Loaded, Sample]:
    asks = one.questions.of(workload, most_asks(workload, seconds))
    time.sleep(0.2)  # what the one before left to be written is not charged to this one
    before, cpu = ground.mongod.counters(), one.server.cpu()
    try:
        loaded = load(ground.wrk, one.server.port, workload, asks, at_once=at_once, seconds=seconds)
    except LoadError as error:
        raise type(error)(f"{one.name}, {workload.name}, {at_once} at once: {error}") from None
    finally:
        _settle(one.server)
    after, used = ground.mongod.counters(), one.server.cpu() - cpu
    each = 1 / (loaded.requests + at_once)  # those in flight at the end were worked on too
    sample = Sample(
        per_second=loaded.per_second,
        p50_ms=loaded.p50_ms,
        p99_ms=loaded.p99_ms,
        server_cpu_ms=used * 1e3 * each,
        database_cpu_ms=(after.cpu - before.cpu) * 1e3 * each,
        round_trips=(after.commands - before.commands) * each,
        rows=(after.rows - before.rows) * each,
    )
    return loaded, sample
