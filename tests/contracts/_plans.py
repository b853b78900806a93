"""How the database carries out a command, read from its own explanation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.tenancy.scope import Database

READS = ("find", "aggregate", "count", "distinct")
WITHOUT_INDEX = ("HashJoin", "NestedLoopJoin")
"""How a `$lookup` walks the other collection."""
_SESSION = frozenset(
    {"$clusterTime", "$db", "$readPreference", "autocommit", "lsid", "maxTimeMS", "readConcern", "startTransaction"}
    | {"txnNumber", "comment"}
)


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan that won, and what running it took."""

    stages: tuple[str, ...]
    indexes: tuple[str, ...]
    bounded: tuple[tuple[str, ...], ...]
    """For each index that is walked: its fields of which only some values are looked at."""
    keys: int
    documents: int
    returned: int

    @property
    def scans_collection(self) -> bool:
        return "COLLSCAN" in self.stages

    @property
    def sorts(self) -> bool:
        """Whether all that matches is gathered and sorted before the first row comes."""
        return "SORT" in self.stages

    @property
    def examined(self) -> int:
        return max(self.keys, self.documents)

    def __str__(self) -> str:
        pairs = zip(self.indexes, self.bounded, strict=True)
        walked = ", ".join(f"{name} by {'/'.join(by) or 'nothing'}" for name, by in pairs)
        return f"{' '.join(self.stages)} [{walked}], {self.examined} looked at for {self.returned}"


async def plan_of(raw: Database, command: Mapping[str, Any]) -> Plan:
    """How a command that the application sent is carried out now; it is run once more for that."""
    bare = {name: value for name, value in command.items() if name not in _SESSION}
    told = await raw.command({"explain": bare, "verbosity": "executionStats"})
    winners = [one["winningPlan"] for one in _parts(told) if "winningPlan" in one]
    parts = [part for winner in winners for part in _parts(winner)]
    walked = [part for part in parts if "indexBounds" in part]
    done: Mapping[str, Any] = next((one for one in _parts(told) if "totalKeysExamined" in one), {})
    return Plan(
        stages=(*_stages(parts), *_behind(told)),
        indexes=tuple(part["indexName"] for part in walked),
        bounded=tuple(tuple(_bounded(part["indexBounds"])) for part in walked),
        keys=done.get("totalKeysExamined", 0),
        documents=done.get("totalDocsExamined", 0),
        returned=done.get("nReturned", 0),
    )


def _stages(parts: list[Mapping[str, Any]]) -> Iterator[str]:
    yield from (part["stage"] for part in parts if isinstance(part.get("stage"), str))


def _behind(told: Mapping[str, Any]) -> Iterator[str]:
    """What stages of a pipeline do that no index plan shows."""
    for part in _parts(told.get("stages", [])):
        if "$sort" in part:
            yield "SORT"
        if part.get("collectionScans"):
            yield "COLLSCAN"
    if any(part.get("strategy") in WITHOUT_INDEX for part in _parts(told)):
        yield "COLLSCAN"


def _bounded(bounds: Mapping[str, list[str]]) -> Iterator[str]:
    every = (["[MinKey, MaxKey]"], ["[MaxKey, MinKey]"])
    yield from (name for name, spans in bounds.items() if spans not in every)


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from _parts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _parts(inner)
