"""Servers side by side on one mongod, and who asks them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.db.mongod import free_port
from benchmarks.comparison.database import Mongod
from benchmarks.comparison.options import Options
from benchmarks.comparison.processes import Serving, serving
from benchmarks.comparison.variants import ALL
from benchmarks.comparison.workloads import WORKLOADS, Caller, Questions
from benchmarks.data.settings import bench_settings
from benchmarks.data.sizes import Size
from benchmarks.data.visits import sign_in, tidy

CALLERS = 20
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Ground:
    """What every part of the comparison stands on."""

    options: Options
    uri: str
    mongod: Mongod
    wrk: str
    report: Report

    @property
    def logs(self) -> Path:
        return self.options.data / "logs"


@dataclass(frozen=True, slots=True)
class Contender:
    """A server that runs, and who asks it. `questions` are shared by all on the same data."""

    name: str
    server: Serving
    questions: Questions

    def with_questions(self, name: str, questions: Questions) -> Contender:
        """The same server, asked something else, under another name."""
        return Contender(name, self.server, questions)


def questions_for(ground: Ground, size: Size, callers: int) -> Questions:
    """Puts a data set back as it was built, and signs in so many callers at as many of its clinics."""
    asyncio.run(tidy(ground.options.data, ground.uri, size))
    chosen = range(min(callers, size.clinics))
    signed_in = asyncio.run(sign_in(ground.options.data, ground.uri, size, chosen))
    return Questions(size, [Caller(clinic, token) for clinic, token in signed_in])


@contextmanager
def contender(
    ground: Ground, name: str, variant: str, size: Size, questions: Questions, processes: int = 1
) -> Iterator[Contender]:
    """Runs a variant on a data set, under a name of its own in tables and logs."""
    settings = bench_settings(ground.options.data, ground.uri, size.database)
    port = free_port()
    started = ALL[variant].start(settings, port, processes)
    (ready,) = questions.of(WORKLOADS["q3"], 1)
    ground.report(f"Servers: starting {name}")
    with serving(started.command, started.env, port, ready, ground.logs / f"{name}.log") as server:
        yield Contender(name, server, questions)


@contextmanager
def contenders(ground: Ground, variants: Sequence[str], size: Size) -> Iterator[list[Contender]]:
    """One server of each variant on one data set."""
    questions = questions_for(ground, size, CALLERS)
    with ExitStack() as stack:
        yield [stack.enter_context(contender(ground, name, name, size, questions)) for name in variants]
