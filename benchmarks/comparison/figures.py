"""Samples and what is made of them: medians, ratios of rounds, percentiles' ratios."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of one server. CPU is milliseconds per request, of the server's processes and of mongod."""

    per_second: float
    p50_ms: float
    p99_ms: float
    server_cpu_ms: float
    database_cpu_ms: float
    round_trips: float
    rows: float
    """Rows that the database gave out, per request."""

    @property
    def cpu_ms(self) -> float:
        """What a request costs, wherever."""
        return self.server_cpu_ms + self.database_cpu_ms


Rounds = Mapping[str, Sequence[Sample]]
"""By server, one sample for each round."""


def medians(samples: Sequence[Sample]) -> dict[str, Any]:
    """The median of each figure, the tail's ratio, and the requests per second of each round."""
    found = {field.name: round(median(getattr(one, field.name) for one in samples), 3) for field in fields(Sample)}
    tail = median(one.p99_ms / one.p50_ms for one in samples)
    return {**found, "tail": round(tail, 2), "rounds": [round(one.per_second, 1) for one in samples]}


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios round by round: what slows a whole round down slows both sides of it.

    >>> ratio([50, 100, 90], [100, 200, 100])
    0.5
    """
    return median(one / other for one, other in zip(ours, theirs, strict=True))


def per_second(rounds: Rounds, server: str) -> list[float]:
    """Requests per second of a server in each round."""
    return [one.per_second for one in rounds[server]]


def cost(rounds: Rounds, server: str) -> list[float]:
    """Milliseconds of CPU per request, server and database together, in each round."""
    return [one.cpu_ms for one in rounds[server]]
