"""Documents in memory, for row types: what the executors ask of a model, and not a mongod behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from pydantic import SecretStr

from app.graphql.loaders import Loaders

Stored = dict[str, Any]


@dataclass(slots=True)
class Shelves:
    """What is stored, by model."""

    rows: dict[str, list[Stored]] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    """Models that cannot be read."""
    slow: set[str] = field(default_factory=set)
    """Models that answer after everything else has."""


SHELVES = Shelves()
"""The one store; tests fill it anew."""
ASKED: ContextVar[list[str]] = ContextVar("asked")
"""What was asked of it, by name: the list of the context at hand."""


def refill(rows: Mapping[str, list[Stored]], failing: Sequence[str] = ()) -> None:
    """Puts other documents there."""
    SHELVES.rows, SHELVES.failing, SHELVES.slow = dict(rows), set(failing), set()


class Shelf:
    """A model of which documents lie in `SHELVES`: the part of a guarded document that reading needs."""

    name: str
    remembered = False

    @classmethod
    async def rows(
        cls,
        criteria: Mapping[str, Any] | None = None,
        *,
        projection: Mapping[str, Any] | None = None,
        sort: Sequence[tuple[str, int]] = (),
        limit: int = 0,
    ) -> list[Stored]:
        ASKED.get().append(cls.name)
        if cls.name in SHELVES.failing:
            raise RuntimeError(f"{cls.name} cannot be read")
        for _ in range(50 if cls.name in SHELVES.slow else 0):
            await asyncio.sleep(0)
        found = [row for row in SHELVES.rows.get(cls.name, []) if _matches(row, criteria or {})]
        for column, direction in reversed(sort):
            found.sort(key=lambda row: row[column], reverse=direction < 0)
        return [_projected(row, projection) for row in found[: limit or None]]

    @classmethod
    def guarded(cls) -> Any:
        """The collection, as far as pages of related rows need it."""
        return SimpleNamespace(aggregate=cls._aggregate, received=_received)

    @classmethod
    async def _aggregate(cls, pipeline: Sequence[Mapping[str, Any]]) -> Any:
        match, sort, project, group = (next(iter(stage.values())) for stage in pipeline)
        rows = await cls.rows(match, projection=project, sort=list(sort.items()))
        by, limit = group["_id"].removeprefix("$"), group["rows"]["$firstN"]["n"]
        found: dict[Any, list[Stored]] = {}
        for row in rows:
            found.setdefault(row[by], []).append(row)
        groups = [{"_id": key, "rows": some[:limit]} for key, some in found.items()]

        async def to_list() -> list[Stored]:
            return groups

        return SimpleNamespace(to_list=to_list)


async def _received(_: Sequence[Stored]) -> None:
    return None


def shelf(name: str) -> Any:
    """A model with its own documents."""
    return type(name, (Shelf,), {"name": name})


def _projected(row: Stored, projection: Mapping[str, Any] | None) -> Stored:
    if projection is None:
        return dict(row)
    shown = {name for name, wanted in projection.items() if wanted}
    return {name: value for name, value in row.items() if name in shown or (name == "_id" and "_id" not in projection)}


def _matches(row: Stored, criteria: Mapping[str, Any]) -> bool:
    return all(_holds(row, name, wanted) for name, wanted in criteria.items())


def _holds(row: Stored, name: str, wanted: Any) -> bool:
    if name == "$and":
        return all(_matches(row, one) for one in wanted)
    if name == "$or":
        return any(_matches(row, one) for one in wanted)
    conditions = wanted if isinstance(wanted, Mapping) else {"$eq": wanted}
    return all(_compares(row.get(name), operator, value) for operator, value in conditions.items())


def _compares(value: Any, operator: str, wanted: Any) -> bool:
    match operator:
        case "$eq":
            return bool(value == wanted)
        case "$in":
            return value in wanted
        case "$gt":
            return bool(value > wanted)
        case "$gte":
            return bool(value >= wanted)
        case "$lt":
            return bool(value < wanted)
        case "$lte":
            return bool(value <= wanted)
    raise AssertionError(f"the shelf knows no {operator}")


@dataclass(slots=True)
class RowContext:
    """One request's context, as far as row types need it; `answers` are those of the root fields, by key."""

    answers: Mapping[str, Any] = field(default_factory=dict)
    loaders: Loaders = field(default_factory=Loaders)
    settings: Any = field(default_factory=lambda: SimpleNamespace(session_secret=SecretStr("x" * 40)))
    calls: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """What is read for the operations that are run from now on, and by what they leave running."""

    def __post_init__(self) -> None:
        ASKED.set(self.asked)
