"""Calling, serving and passing over: how somebody moves through a queue."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from bson import ObjectId

from app.errors import Conflict, InvalidState, NotFound, ValidationFailed
from app.services.changes import Row
from app.services.queue.entries import one_at_a_time, today
from app.services.queue.places import chosen_queue
from app.services.scheduling.parties import read_parties
from app.services.states import advance
from models import QueueEntry
from models.queue import ACTIVE_VALUES, QueueStatus
from models.values import now

PLACE = [("priority", 1), ("waiting_since", 1), ("_id", 1)]
"""The order in which people are called."""
STALE = timedelta(hours=12)
CLOSED_AT_ONCE = 500
_S = QueueStatus


async def call_next(queue: Mapping[str, Any] | None, call_room_id: ObjectId | None) -> Row | None:
    """Calls whoever is next in a queue, into a room if one is named; answers with the row, or None for an empty queue.

    Of several who call at once each gets somebody else: the entry is taken by one comparison of its state, and who
    comes too late looks for the next. Raises NOT_FOUND or VALIDATION_FAILED at `input.…`.
    """
    await _check_room(call_room_id)
    place = await chosen_queue(queue)
    waiting = {"queue_key": place["queue_key"], "status": _S.WAITING.value}
    while rows := await QueueEntry.rows(waiting, projection=["patient_id"], sort=PLACE, limit=1):
        state = {"status": _S.WAITING.value, "patient_id": rows[0]["patient_id"]}
        values = {"called_at": now(), **_into(call_room_id)}
        try:
            return await advance(QueueEntry, rows[0]["_id"], None, _S.CALLED, values=values, state=state)
        except (InvalidState, NotFound):
            continue  # somebody else was quicker
    return None


async def recall(entry_id: ObjectId, version: int | None, call_room_id: ObjectId | None) -> Row:
    """Calls somebody once more, who was called already or was passed over and has turned up.

    How long they have waited is told by the first call. Raises INVALID_STATE for somebody who was not called yet.
    """
    await _check_room(call_room_id)
    again = {"status": {"$in": [_S.CALLED.value, _S.SKIPPED.value]}}
    rows = await QueueEntry.rows({"_id": entry_id}, projection=["status"], limit=1)
    if rows and rows[0]["status"] == _S.WAITING:
        raise InvalidState("The patient was not called yet. What may follow: CALLED (by callNext), LEFT, TRANSFERRED.")
    with one_at_a_time():
        return await advance(QueueEntry, entry_id, version, _S.CALLED, values=_into(call_room_id), state=again)


def _into(room_id: ObjectId | None) -> Row:
    return {} if room_id is None else {"call_room_id": room_id}


async def _check_room(room_id: ObjectId | None) -> None:
    if room_id is None:
        return
    room = (await read_parties({"room_id": room_id}))["room_id"]
    if room is None:
        raise NotFound.at("input.callRoomId")
    if room.get("archived_at") is not None:
        raise ValidationFailed.at("input.callRoomId", "is archived")


async def start(entry_id: ObjectId, version: int | None) -> Row:
    """Somebody who was called is being served."""
    return await advance(QueueEntry, entry_id, version, _S.IN_SERVICE, values={"started_at": now()})


async def finish(entry_id: ObjectId, version: int | None) -> Row:
    """Somebody was served."""
    return await advance(QueueEntry, entry_id, version, _S.DONE, values={"finished_at": now()})


async def skip(entry_id: ObjectId, version: int | None, reason: str | None) -> Row:
    """Somebody was called and did not come: the next may be called."""
    return await advance(QueueEntry, entry_id, version, _S.SKIPPED, reason=reason)


async def leave(entry_id: ObjectId, version: int | None, reason: str | None) -> Row:
    """Somebody goes without having been served to the end."""
    return await advance(QueueEntry, entry_id, version, _S.LEFT, reason=reason)


async def close_stale() -> int:
    """Takes those out of the queues, at the clinic in scope, whom nobody took out on an earlier day; how many.

    Who came shortly before midnight stays: a clinic may work through the night.
    """
    stale = {"status": {"$in": ACTIVE_VALUES}, "day": {"$lt": today()}, "waiting_since": {"$lt": now() - STALE}}
    closed = 0
    for row in await QueueEntry.rows(stale, projection=["_id"], limit=CLOSED_AT_ONCE):
        try:
            await advance(QueueEntry, row["_id"], None, _S.LEFT, reason="The day was over.")
        except (InvalidState, Conflict, NotFound):
            continue  # somebody has just done it
        closed += 1
    return closed
