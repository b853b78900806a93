"""Where a clinic's documents are, and whether they may be changed there at this moment.

A clinic can be moved to another database while it works. Nothing is written into a database that the clinic has left,
or is about to leave: each write rests on a look at the clinic's row that is at most `CONFIRMED_SECONDS` old. Requests
of people who are signed in bring such a look with them; whoever has none shares one with all who need one.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bson import ObjectId

from app.errors import BeingMoved
from app.shared_commands import SharedCommands
from app.tenancy.away import cluster_of
from app.tenancy.clusters import clusters
from app.tenancy.scope import POOL, Database, Residence, Scope

CONFIRMED_SECONDS = 5.0
"""So long a process goes on writing by what it knows of where a clinic is."""
KEPT = 10_000
TENANTS = "tenants"
COLUMNS = {"placement.database": 1, "placement.cluster": 1, "move.stage": 1, "move.lease_until": 1}
"""What of a stored clinic says where it is, and whether it may be written to."""
READ_ONLY_STAGE = "read_only"
WRITTEN_MEANWHILE = frozenset({"audit_entries", "audit_pending", "portal_sessions"})
"""What reading writes: the mover takes it along last, and what comes later still."""

_databases: dict[tuple[int, str], Database] = {}


class Moved(BeingMoved):
    """The clinic has its documents in another database than the scope says."""

    def __init__(self, residence: Residence) -> None:
        super().__init__()
        self.residence = residence


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a clinic is, and until when it can be read only if at all."""

    residence: Residence
    read_only_until: datetime | None = None


def own_database(home: Database, residence: Residence) -> Database | None:
    """The clinic's own database, by the connections of `home` or those to its cluster; None for one that lives in the
    shared database.

    The same object each time, for work is kept apart by the identity of databases. Raises `ClusterUnavailable` for a
    cluster that nobody has seen to be ready.
    """
    if residence.database is None:
        return None
    if residence.cluster is not None:
        return clusters.database(residence)
    name = id(home.client), residence.database
    kept = _databases.get(name)
    if kept is None or kept.client is not home.client:
        kept = _databases[name] = home.client[residence.database]
    return kept


async def database_at(home: Database, residence: Residence) -> Database:
    """Where a clinic's documents are, whoever asks. Raises `ClusterUnavailable`."""
    await clusters.ready(residence)
    own = own_database(home, residence)
    return own if own is not None else home


def database_of(scope: Scope, home: Callable[[], Database]) -> Database:
    """Where the documents of the scope's clinic are; `home` gives the shared database."""
    if scope.database is not None:
        return scope.database
    residence = scope.tenant.residence if scope.tenant is not None else POOL
    own = own_database(home(), residence)
    return own if own is not None else home()


def home_of(scope: Scope | None, home: Callable[[], Database]) -> Database:
    """The shared database by the client whose transactions reach the scope's clinic; `home` gives the shared database
    by the process's own client."""
    shared = home()
    place = scope.database if scope is not None else None
    if place is None or cluster_of(place) is not None or place.client is shared.client:
        return shared
    return place.client[shared.name]


def residence_of(row: Mapping[str, Any]) -> Residence:
    """Where a stored clinic's documents are."""
    placement = row.get("placement") or {}
    return Residence(placement.get("database"), placement.get("cluster"))


def standing_of(row: Mapping[str, Any]) -> Standing:
    """What a stored clinic's row, read with `COLUMNS`, says."""
    move = row.get("move") or {}
    until = move.get("lease_until") if move.get("stage") == READ_ONLY_STAGE else None
    return Standing(residence_of(row), until)


class Standings:
    """What this process has seen of clinics in the last seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: OrderedDict[ObjectId, tuple[float, Standing | None]] = OrderedDict()

    def confirm(self, clinic: ObjectId, row: Mapping[str, Any]) -> Standing:
        """Notes what was just read of a clinic."""
        standing = standing_of(row)
        self._keep(clinic, standing)
        return standing

    def _keep(self, clinic: ObjectId, standing: Standing | None) -> None:
        self._kept[clinic] = (self._clock() + CONFIRMED_SECONDS, standing)
        self._kept.move_to_end(clinic)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    async def check(self, scope: Scope, collection: str, home: Callable[[], Database]) -> None:
        """Raises `BeingMoved` when the scope's clinic cannot be written to at this moment, `Moved` when it lives
        elsewhere by now."""
        tenant = scope.tenant
        if tenant is None:
            return
        kept = self._kept.get(tenant.id)
        standing = kept[1] if kept is not None and kept[0] > self._clock() else await self._read(tenant.id, home())
        if standing is None:
            return
        if standing.residence != tenant.residence:
            raise Moved(standing.residence)
        until = standing.read_only_until
        if until is not None and collection not in WRITTEN_MEANWHILE and until > datetime.now(UTC):
            raise BeingMoved

    async def _read(self, clinic: ObjectId, home: Database) -> Standing | None:
        """None for a clinic that is about to be opened, or was just deleted: nobody moves it."""
        row = await _rows.get(clinic, place=home, at=id(home))
        if row is not None:
            return self.confirm(clinic, row)
        self._keep(clinic, None)
        return None

    def forget(self) -> None:
        """Drops everything known."""
        self._kept.clear()


async def _read(home: Database, ids: Sequence[ObjectId]) -> Mapping[ObjectId, dict[str, Any]]:
    cursor = home[TENANTS].find({"_id": {"$in": list(ids)}}, COLUMNS)
    return {row["_id"]: row for row in await cursor.to_list()}


_rows: SharedCommands[ObjectId, dict[str, Any]] = SharedCommands(_read)
standings = Standings()
"""This process's."""
