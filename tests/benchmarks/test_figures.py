"""Medians, ratios, verdicts and tables."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.comparison.figures import Sample, cost, medians, ratio
from benchmarks.comparison.tables import Table, target_table, workload_tables
from benchmarks.comparison.targets import AIM, MISSED, MUST, TARGETS, UNKNOWN, Target, measured


def sample(per_second: float, p50: float = 10.0, p99: float = 20.0) -> Sample:
    return Sample(per_second, p50, p99, server_cpu_ms=2.0, database_cpu_ms=1.0, round_trips=3.0, rows=111.0)


def test_a_figure_is_the_median_of_the_rounds() -> None:
    found = medians([sample(100, 10, 20), sample(300, 12, 60), sample(200, 30, 33)])
    assert (found["per_second"], found["p50_ms"], found["p99_ms"]) == (200, 12, 33)
    assert found["rounds"] == [100, 300, 200]
    assert found["tail"] == 2.0, "the median of the rounds' own ratios, not the ratio of medians"


def test_a_round_that_was_slow_for_both_does_not_change_the_ratio() -> None:
    assert ratio([500, 50, 480], [1000, 100, 960]) == 0.5


def test_the_cost_of_a_request_is_the_servers_and_the_databases() -> None:
    assert cost({"a": [sample(1)]}, "a") == [3.0]


@pytest.mark.parametrize(("value", "verdict"), [(0.9, AIM), (0.89, MUST), (0.7, MUST), (0.69, MISSED), (None, UNKNOWN)])
def test_a_target_that_asks_for_much(value: float | None, verdict: str) -> None:
    assert Target("speed", must=0.7, aim=0.9).verdict(value) == verdict


@pytest.mark.parametrize(("value", "verdict"), [(1.03, AIM), (1.04, MUST), (1.1, MUST), (1.11, MISSED)])
def test_a_target_that_asks_for_little(value: float, verdict: str) -> None:
    assert Target("cost", must=1.1, aim=1.03, at_most=True).verdict(value) == verdict


def results() -> dict[str, Any]:
    rounds = {"polyclinic": [90, 80], "floor": [100, 100], "ordinary": [10, 10]}
    q1 = {name: {"32": medians([sample(one) for one in found]), "memory_mb": 90.0} for name, found in rounds.items()}
    growth = {"base": {"ratio": 1.0}, "ten times the clinics": {"ratio": 1.2}, "ten times the rows": {"ratio": 1.0}}
    return {"q1": q1, "growth": growth}


def test_every_target_is_judged_by_what_was_measured() -> None:
    found = {one["target"]: (one["value"], one["verdict"]) for one in measured(results())}
    assert len(found) == len(TARGETS)
    assert found["Q1 of the floor"] == (0.85, MUST)
    assert found["Q1 against Strawberry and Beanie, the usual way"] == (8.5, AIM)
    assert found["Q1, p99 / p50"] == (2.0, AIM)
    assert found["memory of a process"] == (90.0, MUST)
    assert found["cost per request, ten times the clinics"] == (1.2, MISSED)
    assert found["cost per request, ten times the rows"] == (1.0, AIM)
    assert found["Q2 of the floor"] == (None, UNKNOWN)


def test_targets_are_judged_when_nothing_was_measured() -> None:
    assert {one["verdict"] for one in measured({})} == {UNKNOWN}
    assert "not measured" in target_table(measured({})).text()


def test_a_workload_has_a_table_for_each_concurrency_that_was_run() -> None:
    (table,) = workload_tables(results(), "q1")
    assert table.title.endswith("32 at once")
    assert [row[1:3] for row in table.rows] == [("85", "1.00×"), ("100", "0.85×"), ("10", "8.50×")]


def test_a_table_is_written_with_its_columns_under_each_other_and_as_markdown() -> None:
    table = Table("T", ("name", "n"), (("a", "1"), ("long name", "100")))
    assert table.text() == "T\n  name         n\n  a            1\n  long name  100"
    assert table.markdown().splitlines()[2:] == ["| name | n |", "| --- | ---: |", "| a | 1 |", "| long name | 100 |"]
