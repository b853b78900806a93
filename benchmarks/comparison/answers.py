"""Checks that all servers give the same answers before any of them is timed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import httpx
from bson import ObjectId

from benchmarks.comparison.options import BenchmarkError
from benchmarks.comparison.stage import Contender, Ground
from benchmarks.comparison.workloads import Ask, Workload
from benchmarks.data.sizes import VISITS, Size
from benchmarks.data.visits import take_back

COMPARED = 5
"""Requests of each workload that are compared."""
PAGE = 50


class AnswersDiffer(BenchmarkError):
    """Two servers do not answer alike, so comparing their speed says nothing."""


def check_answers(ground: Ground, running: Sequence[Contender], workload: Workload, size: Size) -> int:
    """The length of an answer in bytes, once all have answered some requests alike. Raises `AnswersDiffer`."""
    asks = running[0].questions.of(workload, COMPARED)
    length = 0
    for ask in asks:
        answers = {one.name: _answer(ground, one, workload, ask, size) for one in running}
        first, (expected, length) = next(iter(answers.items()))
        for name, (found, _) in answers.items():
            if found != expected:
                raise AnswersDiffer(
                    f"{name} and {first} answer {workload.name} differently: {_difference(expected, found)}."
                )
        _check_rows(workload, json.loads(expected))
    return length


def _answer(ground: Ground, one: Contender, workload: Workload, ask: Ask, size: Size) -> tuple[str, int]:
    url = f"http://127.0.0.1:{one.server.port}/graphql"
    got = httpx.post(url, content=ask.body, headers=ask.headers, timeout=30)
    told = got.json()
    if got.status_code != 200 or told.get("errors") or "data" not in told:
        raise AnswersDiffer(f"{one.name} fails at {workload.name}: {got.text[:300]}")
    if workload.writes:
        booked = ObjectId(told["data"]["createAppointment"]["id"])
        asyncio.run(take_back(ground.uri, size, booked))
    return normalised(told["data"]), len(got.content)


def normalised(data: Any) -> str:
    """The answer with sorted keys. Cursors, which each server makes in its own way, and ids that are new count as
    the same when they are there."""
    return json.dumps(_plain(data), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain(value: Any, path: tuple[str, ...] = ()) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one, (*path, key)) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one, path) for one in value]
    if isinstance(value, str) and value and (path[-1] == "endCursor" or path == ("createAppointment", "id")):
        return f"<{path[-1]}>"
    return value


def _check_rows(workload: Workload, data: Any) -> None:
    """Full pages are what is measured; an empty answer would be quick everywhere."""
    match workload.name:
        case "q1":
            rows, wanted = len(data["appointments"]["edges"]), PAGE
        case "q2":
            rows, wanted = len(data["patient"]["appointments"]["edges"]), VISITS
        case _:
            return
    if rows != wanted:
        raise AnswersDiffer(f"{workload.name} brought {rows} appointments instead of {wanted}: delete the data folder.")


def _difference(first: str, second: str) -> str:
    """Where two texts part."""
    at = next(
        (at for at, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    return f"{first[max(0, at - 40) : at + 40]!r} against {second[max(0, at - 40) : at + 40]!r}"
