"""What a transaction has written so far: its commands, as they were sent, and how many documents each has changed.

Kept for those transactions alone that may turn out to span two clusters (`app.tenancy.spanning`), which hand it to the
clinic's cluster before they commit. The wall sees each command on its way and each reply, and tells of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import bson
from bson import CodecOptions
from bson.binary import UuidRepresentation
from pymongo.monitoring import CommandFailedEvent, CommandStartedEvent, CommandSucceededEvent

CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, uuid_representation=UuidRepresentation.STANDARD)
WRITES = frozenset({"insert", "update", "delete", "findAndModify"})
OF_THE_SESSION = frozenset(
    {
        "$clusterTime",
        "$db",
        "$readPreference",
        "autocommit",
        "lsid",
        "maxTimeMS",
        "readConcern",
        "startTransaction",
        "txnNumber",
        "writeConcern",
    }
)
"""What of a command says how it was sent, not what it does."""


@dataclass(frozen=True, slots=True)
class Write:
    """One command: in which database, itself as BSON, and how many documents it has changed."""

    database: str
    command: bytes
    count: int

    def stored(self) -> dict[str, Any]:
        """As it is kept. The command stays bytes: names with a dollar sign are not for every server to store."""
        return {"database": self.database, "command": self.command, "count": self.count}

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> Write:
        """One that was kept."""
        return cls(row["database"], bytes(row["command"]), row["count"])


@dataclass(slots=True)
class Transcript:
    """The writes of one try of a transaction, in order."""

    writes: list[Write] = field(default_factory=list)


def effect_of(reply: Mapping[str, Any]) -> int:
    """How many documents a write has met, by its reply."""
    return int(reply["lastErrorObject"].get("n", 0) if "lastErrorObject" in reply else reply.get("n", 0))


def _with_ids(command: bytes, reply: Mapping[str, Any]) -> bytes:
    """The command, under which upserts make documents with the ids that the server has given them: others may hold
    these by now."""
    made = {one["index"]: one["_id"] for one in reply.get("upserted", ())}
    alone = reply.get("lastErrorObject", {}).get("upserted")
    if not made and alone is None:
        return command
    known = bson.decode(command, codec_options=CODEC)
    if alone is not None:
        known["update"] = _named(known["update"], alone)
    for index, id in made.items():
        known["updates"][index]["u"] = _named(known["updates"][index]["u"], id)
    return bson.encode(known, codec_options=CODEC)


def _named(change: Any, id: Any) -> Any:
    if isinstance(change, list):
        return [*change, {"$set": {"_id": id}}]
    if any(name.startswith("$") for name in change):
        return {**change, "$setOnInsert": {**change.get("$setOnInsert", {}), "_id": id}}
    return {"_id": id, **change}


_kept: dict[bytes, Transcript] = {}
_under_way: dict[tuple[Any, int], tuple[Transcript, str, bytes]] = {}


def keep(session_id: Mapping[str, Any]) -> Transcript:
    """Begins a transcript of a session's commands, in place of an earlier one."""
    begun = _kept[bytes(session_id["id"])] = Transcript()
    return begun


def drop(session_id: Mapping[str, Any]) -> None:
    """Ends it: what the session sends from now on is not written down."""
    _kept.pop(bytes(session_id["id"]), None)


def note_sent(event: CommandStartedEvent) -> None:
    """For the wall: a command is on its way. It is encoded at once: its documents are the caller's, who may change
    them later."""
    if not _kept or event.command_name not in WRITES or "autocommit" not in event.command:
        return
    transcript = _kept.get(bytes(event.command["lsid"]["id"]))
    if transcript is not None:
        plain = {name: value for name, value in event.command.items() if name not in OF_THE_SESSION}
        sent = transcript, event.database_name, bson.encode(plain, codec_options=CODEC)
        _under_way[event.connection_id, event.request_id] = sent


def note_answered(event: CommandSucceededEvent) -> None:
    """For the wall: a reply has come. What has changed nothing is left out."""
    if not _under_way:
        return
    transcript, database, command = _under_way.pop((event.connection_id, event.request_id), (None, "", b""))
    if transcript is not None and (count := effect_of(event.reply)):
        transcript.writes.append(Write(database, _with_ids(command, event.reply), count))


def note_failed(event: CommandFailedEvent) -> None:
    """For the wall: there is no reply, or none that is good. The transaction is over."""
    _under_way.pop((event.connection_id, event.request_id), None)
