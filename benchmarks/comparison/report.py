"""Keeps the results in `benchmarks/latest.json`, and writes `docs/performance.md` from them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from app.config import PROJECT_ROOT
from benchmarks.comparison.tables import (
    Table,
    growth_table,
    memory_table,
    mixed_table,
    processes_table,
    target_table,
    workload_tables,
)
from benchmarks.comparison.workloads import WORKLOADS

LATEST = PROJECT_ROOT / "benchmarks" / "latest.json"
PAGE = PROJECT_ROOT / "docs" / "performance.md"
TEXT = Path(__file__).with_name("performance.md.in")

Results = dict[str, Any]


def tables(results: Mapping[str, Any]) -> Iterator[Table]:
    """Every table for which there are figures, the targets first."""
    yield target_table(results["targets"])
    for name in WORKLOADS:
        if name in results:
            yield from workload_tables(results, name)
            yield memory_table(results, name)
    for part, table in (("growth", growth_table), ("processes", processes_table), ("mixed", mixed_table)):
        if part in results:
            yield table(results[part])


def keep(results: Results, file: Path = LATEST) -> None:
    """Writes workload → variant → figures, beside `about` and `targets`: all of one call, nothing of others."""
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    fresh.replace(file)


def write_page(results: Mapping[str, Any], file: Path = PAGE) -> None:
    """Writes the page for readers."""
    chapters = "\n\n".join(table.markdown() for table in tables(results))
    text = TEXT.read_text().replace("{about}", _about(results["about"])).replace("{tables}", chapters)
    file.write_text(text)


def _about(about: Mapping[str, Any]) -> str:
    machine, versions = about["machine"], about["versions"]
    named = ", ".join(f"{name} {number}" for name, number in versions.items() if number)
    hardware = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}"
    beside = f"{about['load_before']:g} other processes ran in the minute before, on average"
    return "\n".join(
        [
            f"- When: {about['date']}; {about['rounds']} rounds of {about['seconds']} s; {beside}",
            f"- Machine: {hardware}",
            f"- Data: {about['data']}; the database caches {about['database_cache_gb']:g} GB of it",
            f"- Versions: {named}",
        ]
    )
