"""What a request does with patients' data: noted by the guard as it happens, written before any of it is shown.

The guard knows which column of a collection names the patient. Each read adds the patients of the rows that came, and
each write is announced before it is sent, so a change that nobody can account for is never made. Whoever writes a
resolver, a service or a route does nothing for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId

OK = "ok"
BEGUN = "begun"
"""The result of an act that is announced and not yet over."""


Patients = dict[bytes, ObjectId]
"""Ids by their bytes, which hash, compare and sort in no time; ids themselves do it in Python."""


def by_bytes(patients: Iterable[ObjectId]) -> Patients:
    return {one.binary: one for one in patients}


@dataclass(slots=True, eq=False)
class Touched:
    """What one act has touched of one clinic's data."""

    scope: Any
    """The scope in which it was touched: it says which clinic, and where its data lives."""
    collections: set[str] = field(default_factory=set)
    fresh: Patients = field(default_factory=dict)
    """The patients whom no entry names as read or changed yet."""
    told: Patients = field(default_factory=dict)
    """Those whom entries have named."""
    announced: Patients | None = None
    """Those whom announcements have named; None before the first."""
    written: tuple[str, int, int] | None = None
    """What the last entry told: the result, and how many collections and patients."""

    def add(self, collection: str, patients: Iterable[ObjectId]) -> None:
        self.collections.add(collection)
        self.fresh |= by_bytes(patients)
        for known in self.told.keys() & self.fresh.keys():
            del self.fresh[known]

    def tell(self, patients: Patients) -> None:
        """Notes that an entry names them."""
        self.told |= patients
        for known in patients.keys() & self.fresh.keys():
            del self.fresh[known]

    def as_told(self, result: str) -> tuple[str, int, int]:
        return result, len(self.collections), len(self.told) + len(self.fresh)


@dataclass(slots=True, eq=False)
class Act:
    """One root field of an operation, one call of a route: what the entries name as the action."""

    action: str
    result: str = OK
    touched: dict[ObjectId, Touched] = field(default_factory=dict)

    def at(self, scope: Any) -> Touched:
        """What this act has touched at the scope's clinic."""
        own = scope.tenant_id
        found = self.touched.get(own)
        if found is None:
            found = self.touched[own] = Touched(scope)
        return found

    @property
    def untold(self) -> bool:
        """Whether there is something that no entry tells yet."""
        return any(one.written != one.as_told(self.result) for one in self.touched.values())


Announce = Callable[["Trail", Act, Touched, Patients], Awaitable[None]]
Write = Callable[["Trail", "list[Act]"], Awaitable[None]]

_act: ContextVar[Act | None] = ContextVar("polyclinic_act", default=None)


class Trail:
    """One request's acts. `announce` and `write` store entries; without them nothing may be shown or changed."""

    def __init__(self, action: str, *, announce: Announce, write: Write) -> None:
        self._announce = announce
        self._write = write
        self._own = Act(action)
        self.acts: list[Act] = [self._own]
        self.asker: Any = None
        """The scope of whoever the request turned out to be from."""

    def begin(self, action: str) -> Act:
        """A new act, to which everything in the running task counts from now on."""
        act = Act(action)
        self.acts.append(act)
        _act.set(act)
        return act

    @property
    def act(self) -> Act:
        """The act of the running task: the root field's, else the request's own."""
        act = _act.get()
        return act if act is not None and act in self.acts else self._own

    def note(self, scope: Any, collection: str, patients: Iterable[ObjectId] = ()) -> None:
        """Patients whose data was read or is to be written."""
        self.act.at(scope).add(collection, patients)

    async def announce(self, scope: Any, collection: str, patients: Sequence[ObjectId] = ()) -> None:
        """Before a write: stores that it is about to happen; once per act and clinic, and again for other patients."""
        act = self.act
        touched = act.at(scope)
        touched.add(collection, patients)
        if touched.announced is None:
            named = touched.told | touched.fresh
        elif not (named := {one: id for one, id in by_bytes(patients).items() if one not in touched.announced}):
            return
        await self._announce(self, act, touched, named)
        touched.announced = (touched.announced or {}) | named

    @property
    def untold(self) -> bool:
        return any(act.untold for act in self.acts)

    async def write(self) -> None:
        """Stores what was touched and is not told yet. Whoever shows data calls it first, and shows nothing when it
        raises."""
        acts = [act for act in self.acts if act.untold]
        if acts:
            await self._write(self, acts)
