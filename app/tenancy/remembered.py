"""Rows that many answers show and that seldom change: a clinic's doctors, rooms and services, kept by this process.

Nothing is shown that was different when the request came. Each write to such a collection counts the clinic's
`catalog_version` up before it is answered, and each request of somebody signed in reads that number anew (it comes with
the session). Rows are kept under the number that the request which read them had seen, and serve requests that see the
same number alone. Changes by hand, around the guard, are seen after some seconds.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId

from app.tenancy.scope import POOL, Residence, Scope, TenantId

Row = dict[str, Any]
Read = Callable[[list[ObjectId]], Awaitable[list[Row]]]
Clock = Callable[[], float]
Place = tuple[TenantId, str, Residence, int]

KEPT_ROWS = 20_000
SECONDS = 10.0
"""So long rows are served without a look at the database."""


@dataclass(slots=True)
class _Shelf:
    """Rows of one collection of one clinic. None stands for an id that the clinic does not have."""

    version: int
    until: float
    rows: dict[ObjectId, Row | None] = field(default_factory=dict)


class Remembered:
    """What this process keeps. Rows are shared by all who get them: nobody may change one."""

    def __init__(self, *, rows: int = KEPT_ROWS, clock: Clock = time.monotonic) -> None:
        """About so many `rows` are kept; `clock` is a steady one, in seconds."""
        self._most = rows
        self._clock = clock
        self._shelves: OrderedDict[Place, _Shelf] = OrderedDict()
        self._latest: OrderedDict[TenantId, int] = OrderedDict()
        self.kept = 0

    async def rows(self, scope: Scope, collection: str, keys: Sequence[ObjectId], read: Read) -> list[Row]:
        """The clinic's rows of these ids, those it has, from what is kept or by `read`, which reads whole rows."""
        residence = scope.tenant.residence if scope.tenant is not None else POOL
        place = (scope.tenant_id, collection, residence, id(scope.database))
        shelf = self._shelf(place, scope)
        if shelf is None:
            return await read(list(keys))
        missing = [key for key in keys if key not in shelf.rows]
        rows = {key: shelf.rows[key] for key in keys if key in shelf.rows}
        if missing:
            found = {row["_id"]: row for row in await read(missing)}
            read_now = {key: found.get(key) for key in missing}
            rows |= read_now
            self._keep(place, shelf, read_now)
        return [row for row in rows.values() if row is not None]

    def changed(self, clinic: TenantId, version: int) -> None:
        """A write of this process has counted the clinic's number up to `version`: requests that have not seen it
        read anew, also those that began before the write."""
        self._latest[clinic] = max(version, self._latest.get(clinic, 0))
        self._latest.move_to_end(clinic)
        while len(self._latest) > self._most:
            self._latest.popitem(last=False)

    def _shelf(self, place: Place, scope: Scope) -> _Shelf | None:
        """Where the rows that this request may see are kept; None for one that has not seen the latest number."""
        version = scope.tenant.catalog_version if scope.tenant is not None else None
        shelf = self._shelves.get(place)
        if version is None or version < self._latest.get(place[0], 0):
            return None
        if shelf is None or shelf.version < version or self._clock() >= shelf.until:
            self._drop(place)
            shelf = self._shelves[place] = _Shelf(version, self._clock() + SECONDS)
        self._shelves.move_to_end(place)
        return shelf

    def _keep(self, place: Place, shelf: _Shelf, rows: Mapping[ObjectId, Row | None]) -> None:
        before = len(shelf.rows)
        shelf.rows.update(rows)
        if self._shelves.get(place) is not shelf:
            return  # dropped while the rows were read: nobody looks there any more
        self.kept += len(shelf.rows) - before
        while self.kept > self._most and len(self._shelves) > 1:
            self._drop(next(iter(self._shelves)))

    def _drop(self, place: Place) -> None:
        shelf = self._shelves.pop(place, None)
        if shelf is not None:
            self.kept -= len(shelf.rows)


remembered = Remembered()
"""This process's."""
