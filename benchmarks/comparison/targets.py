"""The targets, and whether they are reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.comparison.figures import ratio

AIM, MUST, MISSED, UNKNOWN = "aim reached", "must reached", "MISSED", "not measured"
OURS = "polyclinic"
MAIN = "32"
"""The concurrency at which targets are measured."""
Results = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """One row. `unit` follows the numbers; `at_most` says that less is better."""

    name: str
    must: float
    aim: float
    unit: str = ""
    at_most: bool = False

    def verdict(self, value: float | None) -> str:
        """What a measured value amounts to."""
        if value is None:
            return UNKNOWN
        sign = -1 if self.at_most else 1
        if sign * value >= sign * self.aim:
            return AIM
        return MUST if sign * value >= sign * self.must else MISSED


TARGETS = (
    Target("Q1 of the floor", 0.70, 0.90, "×"),
    Target("Q1 against Mercurius, graphql-jit, DataLoader", 1.2, 1.6, "×"),
    Target("Q1 against Apollo Server, mongoose", 3.5, 4.5, "×"),
    Target("Q1 against Strawberry and Beanie, the usual way", 8.0, 8.0, "×"),
    Target("Q2 of the floor", 0.65, 0.80, "×"),
    Target("M1 of the floor", 0.75, 0.90, "×"),
    Target("Q1, p99 / p50", 4.0, 2.5, at_most=True),
    Target("memory of a process", 120.0, 80.0, " MB", at_most=True),
    Target("cost per request, ten times the clinics", 1.10, 1.03, "×", at_most=True),
    Target("cost per request, ten times the rows", 1.10, 1.03, "×", at_most=True),
)


def measured(results: Results) -> list[dict[str, Any]]:
    """Each target with its value and verdict, as far as it was measured."""
    values = (
        _against(results, "q1", "floor"),
        _against(results, "q1", "mercurius"),
        _against(results, "q1", "apollo"),
        _against(results, "q1", "ordinary"),
        _against(results, "q2", "floor"),
        _against(results, "m1", "floor"),
        _figure(results, "q1", MAIN, "tail"),
        _memory(results),
        _figure(results, "growth", "ten times the clinics", "ratio"),
        _figure(results, "growth", "ten times the rows", "ratio"),
    )
    return [
        {
            "target": target.name,
            "must": target.must,
            "aim": target.aim,
            "value": None if value is None else round(value, 2),
            "unit": target.unit,
            "at_most": target.at_most,
            "verdict": target.verdict(value),
        }
        for target, value in zip(TARGETS, values, strict=True)
    ]


def _against(results: Results, workload: str, other: str) -> float | None:
    ours, theirs = _rounds(results, workload, OURS), _rounds(results, workload, other)
    return ratio(ours, theirs) if ours and theirs and len(ours) == len(theirs) else None


def _rounds(results: Results, workload: str, server: str) -> Sequence[float] | None:
    found = results.get(workload, {}).get(server, {}).get(MAIN)
    return found["rounds"] if found else None


def _memory(results: Results) -> float | None:
    """The most that a process held after any workload."""
    found = (_figure(results, workload, "memory_mb") for workload in ("q1", "q2", "q3", "m1"))
    return max((one for one in found if one is not None), default=None)


def _figure(results: Results, part: str, *path: str) -> float | None:
    """A figure of Polyclinic's in a workload, or of the named place in another part."""
    found: Any = results.get(part)
    for step in path if part == "growth" else (OURS, *path):
        found = found.get(step) if found else None
    return None if found is None else float(found)
