"""Whose a document without a clinic is: decided from what somebody says and from what it is tied to. Reads nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

from bson import ObjectId

if TYPE_CHECKING:
    from app.services.legacy.uniques import Mark

Clinics = frozenset[ObjectId]


class Key(NamedTuple):
    """A document: its collection, and its id as BSON, which can always be compared."""

    collection: str
    id: bytes


class Tie(NamedTuple):
    """A reference: from which field, to which document."""

    path: str
    to: Key


class Rule(StrEnum):
    """By which it was decided whose a document is; the first that says anything counts."""

    MAP = "map"
    NAMED = "named"
    ALL = "all"
    REFERENCES = "references"


@dataclass(slots=True)
class Found:
    """A document without a clinic. `named` are clinics that it names itself, `problem` is why no clinic can have it."""

    ties: tuple[Tie, ...] = ()
    named: Clinics = frozenset()
    problem: str | None = None
    shared: bool = False
    quarantined: bool = False
    text: str = ""
    """The id as people write it."""
    marks: tuple[Mark, ...] = ()
    """What it takes up under unique indexes."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Either `clinics` and the rule, or the reason why it goes into quarantine; `clinics` then is whose it would be."""

    clinics: Clinics = frozenset()
    rule: Rule | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """What whoever runs the migration says: clinics of single documents, and one for all others."""

    of_one: Mapping[tuple[str, str], Clinics] = field(default_factory=dict)
    of_all: ObjectId | None = None


SEVERAL = "is tied to documents of several clinics"
NOBODYS = "nothing shows whose it is"
OPEN = "is tied to shared documents alone, which several clinics have"


def decide(
    found: Mapping[Key, Found],
    owners: Mapping[Key, Clinics],
    pointed: Mapping[Key, Clinics],
    said: Said,
) -> dict[Key, Decision]:
    """A decision for each document of `found`, the same in whatever order they come.

    `owners` are the clinics of the documents that they point to, `pointed` those of the documents that point to them.
    What is tied together goes together: to the one clinic that all of it leads to, or else into quarantine. What
    points to a document that stays in quarantine stays there too.
    """
    return _Deciding(found, owners, pointed, said).decisions()


class _Deciding:
    def __init__(
        self, found: Mapping[Key, Found], owners: Mapping[Key, Clinics], pointed: Mapping[Key, Clinics], said: Said
    ) -> None:
        self.found, self.owners, self.pointed = found, owners, pointed
        self.given = {key: given for key, one in found.items() if (given := _given(key, one, said)) is not None}
        self.faults: dict[Key, str] = {}
        self.inferred: dict[Key, Clinics] = {}
        self.from_: dict[Key, list[tuple[Key, str]]] = defaultdict(list)
        for key, one in found.items():
            for tie in one.ties:
                if tie.to in found and tie.to != key:
                    self.from_[tie.to].append((key, tie.path))

    def decisions(self) -> dict[Key, Decision]:
        for key, one in self.found.items():
            if (fault := one.problem or self._fault(key, one)) is not None:
                self.faults[key] = fault
        self._spread(list(self.faults))
        self._infer()
        return {key: self._decision(key) for key in self.found}

    def _decision(self, key: Key) -> Decision:
        clinics, rule = self.given.get(key, (self.inferred.get(key, frozenset()), Rule.REFERENCES))
        if key in self.faults:
            return Decision(clinics, None, self.faults[key])
        return Decision(clinics, rule)

    def _fault(self, key: Key, one: Found) -> str | None:
        """What stands against a document by itself."""
        to = [(tie.path, self.owners[tie.to]) for tie in one.ties if tie.to in self.owners]
        here = [frozenset({clinic}) for clinic in self.pointed.get(key, ())]
        given = self.given.get(key)
        if given is None:
            if missing := [tie.path for tie in one.ties if tie.to not in self.owners and tie.to not in self.found]:
                return f"{missing[0]} points to nothing"
            border = [*(clinics for _, clinics in to), *here]
            return SEVERAL if border and not _common(border) else None
        clinics = given[0]
        if len(clinics) > 1 and not one.shared:
            return "names several clinics"
        to += [(tie.path, self.given[tie.to][0]) for tie in one.ties if tie.to in self.given]
        for path, theirs in to:
            if not clinics <= theirs:
                return f"{path} points to another clinic's document"
        return None if all(one <= clinics for one in here) else "another clinic's document points to it"

    def _spread(self, faulty: list[Key]) -> None:
        """What points to a faulty document is faulty too."""
        while faulty:
            bad = faulty.pop()
            for key, path in self.from_.get(bad, ()):
                if key not in self.faults:
                    self.faults[key] = f"{path} leads to one of {bad.collection} that cannot be assigned"
                    faulty.append(key)

    def _infer(self) -> None:
        fresh: list[Key] = []
        for group in self._groups():
            evidence = [clinics for key in group for clinics in self._evidence(key)]
            common = _common(evidence)
            if len(common) == 1:
                self.inferred |= dict.fromkeys(group, common)
                continue
            fault = NOBODYS if not evidence else OPEN if common else SEVERAL
            self.faults |= dict.fromkeys(group, fault)
            fresh += group
        self._spread(fresh)

    def _evidence(self, key: Key) -> Iterator[Clinics]:
        """The clinics of all that a document is tied to and that is settled."""
        for tie in self.found[key].ties:
            if tie.to in self.owners:
                yield self.owners[tie.to]
            elif tie.to in self.given:
                yield self.given[tie.to][0]
        for clinic in self.pointed.get(key, ()):
            yield frozenset({clinic})
        for other, _ in self.from_.get(key, ()):
            if other in self.given and other not in self.faults:
                yield self.given[other][0]

    def _groups(self) -> list[list[Key]]:
        """The documents of which nothing is said and that have no fault, those that are tied together in one list."""
        open_ = [key for key in self.found if key not in self.given and key not in self.faults]
        seen: set[Key] = set()
        groups: list[list[Key]] = []
        for start in open_:
            if start in seen:
                continue
            seen.add(start)
            group = [start]
            for key in group:
                for other in self._beside(key):
                    if other not in seen and other not in self.given and other not in self.faults:
                        seen.add(other)
                        group.append(other)
            groups.append(group)
        return groups

    def _beside(self, key: Key) -> Iterator[Key]:
        yield from (tie.to for tie in self.found[key].ties if tie.to in self.found)
        yield from (other for other, _ in self.from_.get(key, ()))


def _given(key: Key, one: Found, said: Said) -> tuple[Clinics, Rule] | None:
    if (mapped := said.of_one.get((key.collection, one.text))) is not None:
        return mapped, Rule.MAP
    if one.named:
        return one.named, Rule.NAMED
    return (frozenset({said.of_all}), Rule.ALL) if said.of_all is not None else None


def _common(sets: Iterable[Clinics]) -> Clinics:
    several = list(sets)
    return reduce(frozenset.intersection, several) if several else frozenset()


def values_at(value: Any, steps: list[str]) -> Iterator[Any]:
    """What stands at a dotted path, in each item of the lists on the way."""
    if isinstance(value, list):
        for item in value:
            yield from values_at(item, steps)
    elif not steps:
        yield value
    elif isinstance(value, Mapping) and steps[0] in value:
        yield from values_at(value[steps[0]], steps[1:])
