"""Requests as they are sent, and what the load generator says of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bson import ObjectId

from benchmarks.comparison.answers import AnswersDiffer, _check_rows, _difference, normalised
from benchmarks.comparison.load import LoadError, NothingAnsweredError, find_wrk, most_asks, parse
from benchmarks.comparison.options import BenchmarkError
from benchmarks.comparison.workloads import DISTINCT, WORKLOADS, Caller, Questions, lines
from benchmarks.data.shapes import Clinic
from benchmarks.data.sizes import SMALL

FINE = {"requests": 100, "seconds": 2.0, "p50_ms": 5.0, "p99_ms": 9.5, "failed": 0, "broken": 0, "spent": 0}
CALLERS = [Caller(Clinic(number, ObjectId()), f"token-{number}") for number in range(3)]


def told(**changes: float) -> str:
    return f"Running 2s test\n  100 requests in 2.00s\nFIGURES {json.dumps({**FINE, **changes})}\n"


def test_the_figures_of_a_run_are_read() -> None:
    found = parse(told())
    assert (found.requests, found.per_second, found.p50_ms, found.p99_ms) == (100, 50, 5.0, 9.5)


@pytest.mark.parametrize(
    ("out", "errors", "says"),
    [
        (told(failed=3), '{"errors": []}', r'3 of 100 requests failed: \{"errors": \[\]\}'),
        (told(broken=1), "", "1 of 100 requests failed"),
        (told(spent=1), "", "faster than there were slots"),
        ("unable to connect", "", "without figures: unable to connect"),
    ],
)
def test_a_run_that_failed_gives_no_figure(out: str, errors: str, says: str) -> None:
    with pytest.raises(LoadError, match=says):
        parse(out, errors)


def test_a_run_without_answers_is_told_apart() -> None:
    with pytest.raises(NothingAnsweredError, match="more SECONDS"):
        parse(told(requests=0))


def test_without_wrk_and_without_the_right_to_install_it_one_sentence_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BenchmarkError, match="apt-get install wrk"):
        find_wrk(lambda _: None)


def test_no_two_bookings_ask_for_the_same_time() -> None:
    questions = Questions(SMALL, CALLERS)
    first, second = (questions.of(WORKLOADS["m1"], 500) for _ in range(2))
    times = set()
    for ask in (*first, *second):
        given = json.loads(ask.body)["variables"]["input"]
        times |= {(given["doctorId"], given["startsAt"]), (ask.caller.host, given["patientId"], given["startsAt"])}
    assert len(times) == 2 * 1_000


def test_readers_take_turns_and_ask_the_same_every_time() -> None:
    questions = Questions(SMALL, CALLERS)
    asks = questions.of(WORKLOADS["q1"], most_asks(WORKLOADS["q1"], 5))
    assert len(asks) == DISTINCT
    assert [ask.caller for ask in asks[:3]] == CALLERS
    assert asks == questions.of(WORKLOADS["q1"], DISTINCT)
    assert {ask.caller for ask in questions.of_first(1).of(WORKLOADS["q1"], 10)} == {CALLERS[0]}


def test_a_line_is_host_token_and_body() -> None:
    (ask,) = Questions(SMALL, CALLERS).of(WORKLOADS["q2"], 1)
    host, token, body = next(lines([ask])).rstrip("\n").split("\t")
    assert (host, token) == ("clinic-0000.localhost", "token-0")
    assert json.loads(body)["operationName"] == "Patient"


def test_answers_are_alike_whatever_the_order_of_keys_and_the_making_of_cursors() -> None:
    page = {"edges": [], "pageInfo": {"endCursor": "abc", "hasNextPage": True}}
    other = {"pageInfo": {"hasNextPage": True, "endCursor": "xyz"}, "edges": []}
    assert normalised({"appointments": page}) == normalised({"appointments": other})
    assert normalised({"createAppointment": {"id": "1"}}) == normalised({"createAppointment": {"id": "2"}})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"patient": {"id": "1"}}, {"patient": {"id": "2"}}),
        ({"pageInfo": {"endCursor": "a"}}, {"pageInfo": {"endCursor": None}}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
        ({"createAppointment": {"patient": {"id": "1"}}}, {"createAppointment": {"patient": {"id": "2"}}}),
    ],
)
def test_answers_that_differ_are_told_apart(one: object, other: object) -> None:
    assert normalised(one) != normalised(other)
    assert " against " in _difference(normalised(one), normalised(other))


def test_a_page_that_is_not_full_is_no_measure() -> None:
    with pytest.raises(AnswersDiffer, match="0 appointments instead of 50"):
        _check_rows(WORKLOADS["q1"], {"appointments": {"edges": []}})


def test_the_peers_packages_are_pinned_and_name_no_registry() -> None:
    folder = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"
    asked = json.loads((folder / "package.json").read_text())["dependencies"]
    locked = json.loads((folder / "package-lock.json").read_text())["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in asked} == asked
    assert not any({"funding", "resolved"} & package.keys() for package in locked.values())
    assert all(package["integrity"] for name, package in locked.items() if name)
