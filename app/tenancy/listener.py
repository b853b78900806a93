"""The wall behind the guard: looks at each command on its way to the server, whoever sent it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

from bson import ObjectId
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

from app.errors import TenantWallBroken
from app.tenancy.away import cluster_of
from app.tenancy.criteria import carries_tenant
from app.tenancy.kinds import SHARED_FIELD, TENANT_FIELD, Kind, kind_of
from app.tenancy.pipelines import BUSY_CLAIMS, busy_claims_pipeline
from app.tenancy.scope import POOL, Scope, scope_or_none
from app.tenancy.transcripts import note_answered, note_failed, note_sent

Command = Mapping[str, Any]
CLINICS = (Kind.TENANT, Kind.SHARED)
UNREADABLE = (AttributeError, LookupError, RecursionError, TypeError, ValueError)
CURSORS_REMEMBERED = 100_000
LEDGER = "audit_entries"


class Verdict(StrEnum):
    """What the wall made of a command."""

    NO_CLINIC_DATA = "no clinic data"
    HELD = "held to its clinic"
    SYSTEM = "inside a system scope"
    BUSY_CLAIMS = "the narrow read of busy times"
    LEDGER = "audit entries that are stored together"
    BROKEN = "refused"


Recorder = Callable[[CommandStartedEvent, Verdict], None]


class TenantWall(CommandListener):
    """Raises `TenantWallBroken` for a command on a clinic's collection that is not held to the clinic in scope.

    `recorders` are called with each command and its verdict, before anything is raised. `cluster` names the one whose
    commands these are; None for the home cluster.
    """

    def __init__(self, recorders: Iterable[Recorder] = (), *, cluster: str | None = None) -> None:
        self.recorders = list(recorders)
        self._cluster = cluster
        self._cursors: OrderedDict[tuple[Any, int], ObjectId | None] = OrderedDict()

    def started(self, event: CommandStartedEvent) -> None:
        try:
            verdict = self.judge(event)
        except UNREADABLE:  # the driver would swallow it, and send the command
            verdict = Verdict.BROKEN
        for record in self.recorders:
            record(event, verdict)
        if verdict is Verdict.BROKEN:
            raise TenantWallBroken(f"{event.command_name} on a clinic's collection is not held to its clinic")
        note_sent(event)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Notes which clinic opened a cursor, until the cursor is read to its end."""
        note_answered(event)
        cursor = event.reply.get("cursor")
        if not isinstance(cursor, Mapping) or not cursor.get("id") or event.command_name == "getMore":
            return
        if kind_of(_collection(cursor.get("ns"))) in CLINICS:
            self._cursors[event.connection_id, cursor["id"]] = _own(scope_or_none())
            if len(self._cursors) > CURSORS_REMEMBERED:
                self._cursors.popitem(last=False)

    def failed(self, event: CommandFailedEvent) -> None:
        """A failed command opens no cursor."""
        note_failed(event)

    def judge(self, event: CommandStartedEvent) -> Verdict:
        """The verdict on one command under the current scope."""
        name, command = event.command_name, event.command
        if name == "explain" and isinstance(command.get("explain"), Mapping):
            command = command["explain"]
            name = next(iter(command))
        if not _touches_clinics(name, command):
            return Verdict.NO_CLINIC_DATA
        scope = scope_or_none()
        if scope is not None and scope.system_reason:
            return Verdict.SYSTEM
        if name == "aggregate" and _is_busy_claims(command):
            return Verdict.BUSY_CLAIMS
        if scope is not None and scope.ledger:
            kept = name == "insert" and _is_ledger(command) and self._in_place(scope, event.database_name)
            return Verdict.LEDGER if kept else Verdict.BROKEN
        own = _own(scope)
        if own is None or not self._in_place(scope, event.database_name):
            return Verdict.BROKEN
        if name == "getMore":
            return self._opened_by(own, event.connection_id, command)
        check = _CHECKS.get(name)
        return Verdict.HELD if check is not None and check(command, own) else Verdict.BROKEN

    def _in_place(self, scope: Scope | None, database_name: str) -> bool:
        """A clinic with its own database is served from there only."""
        if scope is None:
            return True
        if scope.database is not None:
            return scope.database.name == database_name and cluster_of(scope.database) == self._cluster
        residence = scope.tenant.residence if scope.tenant is not None else POOL
        return residence.cluster == self._cluster and residence.database in (None, database_name)

    def _opened_by(self, own: ObjectId, address: Any, command: Command) -> Verdict:
        opened_by = self._cursors.get((address, command["getMore"]))
        return Verdict.HELD if opened_by == own else Verdict.BROKEN


def _own(scope: Scope | None) -> ObjectId | None:
    return scope.tenant.id if scope is not None and scope.tenant is not None else None


def _collection(namespace: Any) -> str:
    return namespace.partition(".")[2] if isinstance(namespace, str) else ""


def _touches_clinics(name: str, command: Command) -> bool:
    """Whether a command reads, writes or administers a clinic's collection, itself or by a join."""
    if name == "killCursors":
        return False
    if name == "dropDatabase":
        return True
    if name == "bulkWrite":
        return any(kind_of(_collection(space.get("ns"))) in CLINICS for space in command.get("nsInfo", ()))
    target = command.get("collection") if name == "getMore" else command.get(name)
    if kind_of(target) in CLINICS or kind_of(_collection(target)) in CLINICS:
        return True
    return name == "aggregate" and _pipeline_touches_clinics(target, command.get("pipeline", ()))


def _pipeline_touches_clinics(target: Any, pipeline: Any) -> bool:
    if target == 1 and any("$changeStream" in stage for stage in pipeline):
        return True
    return any(kind in CLINICS for kind, _ in _reached(pipeline))


def _reached(pipeline: Any) -> Iterable[tuple[Kind | None, Any]]:
    """Each collection that a pipeline joins or writes to: its kind, and the filter or pipeline that holds it."""
    for stage in pipeline:
        ((name, content),) = stage.items()
        if name in ("$out", "$merge"):
            yield Kind.TENANT, None
        elif name == "$facet":
            for branch in content.values():
                yield from _reached(branch)
        elif name == "$graphLookup":
            yield kind_of(content["from"]), content.get("restrictSearchWithMatch")
        elif name in ("$lookup", "$unionWith"):
            target = content if isinstance(content, str) else content.get("from", content.get("coll"))
            inner = [] if isinstance(content, str) else content.get("pipeline", [])
            yield kind_of(target), inner
            yield from _reached(inner)


def _pipeline_held(kind: Kind | None, pipeline: Any, own: ObjectId) -> bool:
    if kind in CLINICS and not (pipeline and carries_tenant(kind, own, pipeline[0].get("$match"))):
        return False
    return all(_branch_held(reached, holder, own) for reached, holder in _reached(pipeline))


def _branch_held(kind: Kind | None, holder: Any, own: ObjectId) -> bool:
    if kind not in CLINICS:
        return True
    if isinstance(holder, Mapping):
        return carries_tenant(kind, own, holder)
    return bool(holder) and carries_tenant(kind, own, holder[0].get("$match"))


def _aggregate_held(command: Command, own: ObjectId) -> bool:
    if not isinstance(command["aggregate"], str):  # the whole database: a change stream over all clinics
        return False
    return _pipeline_held(kind_of(command["aggregate"]), command["pipeline"], own)


def _filter_held(name: str, key: str) -> Callable[[Command, ObjectId], bool]:
    def check(command: Command, own: ObjectId) -> bool:
        kind = kind_of(command[name])
        return kind is not None and carries_tenant(kind, own, command.get(key))

    return check


def _each_held(name: str, key: str) -> Callable[[Command, ObjectId], bool]:
    def check(command: Command, own: ObjectId) -> bool:
        kind = kind_of(command[name])
        return kind is not None and all(carries_tenant(kind, own, part["q"]) for part in command[key])

    return check


def _insert_held(command: Command, own: ObjectId) -> bool:
    if kind_of(command["insert"]) is Kind.SHARED:
        return all(document.get(SHARED_FIELD) == [own] for document in command["documents"])
    return all(document.get(TENANT_FIELD) == own for document in command["documents"])


_CHECKS: Mapping[str, Callable[[Command, ObjectId], bool]] = {
    "aggregate": _aggregate_held,
    "count": _filter_held("count", "query"),
    "delete": _each_held("delete", "deletes"),
    "distinct": _filter_held("distinct", "query"),
    "find": _filter_held("find", "filter"),
    "findAndModify": _filter_held("findAndModify", "query"),
    "insert": _insert_held,
    "update": _each_held("update", "updates"),
}
"""Everything else on a clinic's collection is administration, and needs a system scope."""


def _is_ledger(command: Command) -> bool:
    """Whether all that a command inserts are audit entries, each linked in a clinic's chain."""
    return command["insert"] == LEDGER and all(
        isinstance(document.get(TENANT_FIELD), ObjectId) and {"seq", "mac", "key_id"} <= document.keys()
        for document in command["documents"]
    )


def _is_busy_claims(command: Command) -> bool:
    """Compared as a whole, so that nothing else can pass under this name."""
    pipeline = command.get("pipeline")
    if command["aggregate"] != BUSY_CLAIMS or not isinstance(pipeline, list) or len(pipeline) != 4:
        return False
    within = pipeline[2].get("$match", {}).get("claims")
    if not isinstance(within, Mapping) or set(within) != {"$gte", "$lt"}:
        return False
    return bool(pipeline == busy_claims_pipeline(within["$gte"], within["$lt"]))
