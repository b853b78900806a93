"""The results as tables, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.comparison.figures import ratio
from benchmarks.comparison.targets import OURS
from benchmarks.comparison.variants import ALL
from benchmarks.comparison.workloads import WORKLOADS

HEAD = (
    "requests/s",
    "Polyclinic is",
    "p50 ms",
    "p99 ms",
    "CPU ms",
    "database CPU ms",
    "round trips",
    "rows",
)


@dataclass(frozen=True, slots=True)
class Table:
    """The first column is text, the others are numbers or a word."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def text(self) -> str:
        """With columns under each other."""
        widths = [max(len(row[at]) for row in (self.head, *self.rows)) for at in range(len(self.head))]

        def line(row: Sequence[str]) -> str:
            cells = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
            return "  " + "  ".join(cells).rstrip()

        return "\n".join([self.title, line(self.head), *map(line, self.rows)])

    def markdown(self) -> str:
        """As GitHub shows it."""
        marks = ("---", *("---:" for _ in self.head[1:]))
        rows = (f"| {' | '.join(row)} |" for row in (self.head, marks, *self.rows))
        return "\n".join([f"**{self.title}**", "", *rows])


def workload_tables(results: Mapping[str, Any], name: str) -> Iterator[Table]:
    """One table for each concurrency at which a workload was run."""
    found = results[name]
    title = f"{name.upper()}: {WORKLOADS[name].title}"
    for at_once in ("32", "1"):
        rows = [
            (ALL[server].title, *_figures(figures[at_once], found.get(OURS, {}).get(at_once)))
            for server, figures in found.items()
            if server in ALL and at_once in figures
        ]
        if rows:
            yield Table(f"{title}; {at_once} at once", ("server", *HEAD), tuple(rows))


def memory_table(results: Mapping[str, Any], name: str) -> Table:
    """What a process of each server holds after a workload."""
    rows = [
        (ALL[server].title, f"{figures['memory_mb']:.0f}") for server, figures in results[name].items() if server in ALL
    ]
    return Table(f"Memory of a process after {name.upper()}", ("server", "MB"), tuple(rows))


def growth_table(growth: Mapping[str, Any]) -> Table:
    """What a request of Q1 costs as the system grows."""
    rows = [
        (f"{name}: {one['size']}", f"{one['cpu_ms']:.2f}", f"{one['ratio']:.2f}×", f"{one['per_second']:,.0f}")
        for name, one in growth.items()
        if isinstance(one, Mapping)
    ]
    return Table(
        "Growth: CPU of Q1, server and database", ("data", "ms a request", "of the first", "requests/s"), tuple(rows)
    )


def processes_table(processes: Mapping[str, Any]) -> Table:
    """One process against two."""
    rows = [
        (
            f"{ALL[server].title}, {workload.upper()}",
            f"{one['1']['per_second']:,.0f}",
            f"{one['2']['per_second']:,.0f}",
            f"{one['ratio']:.2f}×",
        )
        for workload, servers in processes.items()
        if isinstance(servers, Mapping) and workload in WORKLOADS
        for server, one in servers.items()
    ]
    return Table("Two processes against one, 32 at once", ("server", "one", "two", "two of one"), tuple(rows))


def mixed_table(mixed: Mapping[str, Any]) -> Table:
    """All clinics at once against a single one."""
    rows = [
        (name, f"{one['per_second']:,.0f}", f"{one['p50_ms']:.1f}", f"{one['p99_ms']:.1f}", f"{one['cpu_ms']:.2f}")
        for name, one in mixed.items()
        if isinstance(one, Mapping) and "per_second" in one
    ]
    return Table(
        "Q1 of many clinics mixed, and of one", ("clinics", "requests/s", "p50 ms", "p99 ms", "CPU ms"), tuple(rows)
    )


def target_table(targets: Sequence[Mapping[str, Any]]) -> Table:
    """What was to be reached, and what was."""
    rows = []
    for one in targets:
        bound = "≤ " if one["at_most"] else "≥ "
        value = "–" if one["value"] is None else f"{one['value']:g}{one['unit']}"
        wanted = (f"{bound}{one['must']:g}{one['unit']}", f"{bound}{one['aim']:g}{one['unit']}")
        rows.append((one["target"], *wanted, value, one["verdict"]))
    return Table("Targets", ("what", "must", "aim", "measured", "verdict"), tuple(rows))


def _figures(one: Mapping[str, Any], ours: Mapping[str, Any] | None) -> tuple[str, ...]:
    alike = ours is not None and len(ours["rounds"]) == len(one["rounds"])
    return (
        f"{one['per_second']:,.0f}",
        f"{ratio(ours['rounds'], one['rounds']):.2f}×" if ours is not None and alike else "–",
        f"{one['p50_ms']:.1f}",
        f"{one['p99_ms']:.1f}",
        f"{one['server_cpu_ms']:.2f}",
        f"{one['database_cpu_ms']:.2f}",
        f"{one['round_trips']:.1f}",
        f"{one['rows']:.0f}",
    )
