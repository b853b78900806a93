"""Where somebody stands in a queue, and how long people wait: each by one aggregation for all queues."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from bson import ObjectId

from app.services.changes import Row
from app.services.queue.entries import today
from app.services.queue.turns import PLACE
from app.services.settings import clinic_settings
from models import QueueEntry
from models.queue import ACTIVE_VALUES, QueueStatus
from models.values import now

MOST_QUEUES = 100
MINUTE = 60_000
_WAITING, _CALLED, _SERVED, _DONE = (
    QueueStatus.WAITING.value,
    QueueStatus.CALLED.value,
    QueueStatus.IN_SERVICE.value,
    QueueStatus.DONE.value,
)


async def places(entries: list[ObjectId]) -> Mapping[ObjectId, Row]:
    """By entry, for those that wait: `position` (1 is next), and `estimated_minutes` until they are called.

    The estimate is what is before them times how long one takes: what today's took on average in that queue, or the
    clinic's usual slot before anybody was served.
    """
    cursor, settings = await asyncio.gather(QueueEntry.guarded().aggregate(_places(entries)), clinic_settings())
    found = await cursor.to_list()
    return {row["_id"]: _place(row, settings.slot_minutes) for row in found}


def _place(row: Row, usual: int) -> Row:
    each = row["each"] / MINUTE if row["each"] is not None else usual
    before = row["position"] - 1 + min(row["served"], 1)
    return {"position": row["position"], "estimated_minutes": round(before * each)}


def _places(entries: list[ObjectId]) -> list[Row]:
    order = dict(PLACE)
    return [
        {
            "$match": {
                "$or": [
                    {"status": {"$in": [_WAITING, _CALLED, _SERVED]}},
                    {"status": _DONE, "day": today()},
                ]
            }
        },
        {
            "$project": {
                "queue_key": 1,
                "status": 1,
                "priority": 1,
                "waiting_since": 1,
                "took": {"$cond": [{"$eq": ["$status", _DONE]}, _between("$started_at", "$finished_at"), None]},
            }
        },
        {
            "$setWindowFields": {
                "partitionBy": "$queue_key",
                "output": {"each": {"$avg": "$took"}, "served": {"$sum": _one_if(_CALLED, _SERVED)}},
            }
        },
        {"$match": {"status": _WAITING}},
        {
            "$setWindowFields": {
                "partitionBy": "$queue_key",
                "sortBy": order,
                "output": {"position": {"$sum": 1, "window": {"documents": ["unbounded", "current"]}}},
            }
        },
        {"$match": {"_id": {"$in": entries}}},
        {"$project": {"position": 1, "each": 1, "served": 1}},
    ]


async def queue_waits() -> list[Row]:
    """Each queue that anybody is or was in today: what is going on now, and what today was like on average."""
    cursor = await QueueEntry.guarded().aggregate(_waits())
    rows: list[Row] = [_shown(row) for row in await cursor.to_list()]
    return rows


def _waits() -> list[Row]:
    waited = {"$cond": [{"$ne": ["$day", today()]}, None, _between("$waiting_since", "$called_at")]}
    took = {"$cond": [{"$eq": ["$status", _DONE]}, _between("$started_at", "$finished_at"), None]}
    return [
        {"$match": {"$or": [{"status": {"$in": ACTIVE_VALUES}}, {"day": today()}]}},
        {
            "$group": {
                "_id": "$queue_key",
                **{name: {"$first": f"${name}"} for name in ("doctor_id", "room_id", "service_id", "desk")},
                "waiting": {"$sum": _one_if(_WAITING)},
                "called": {"$sum": _one_if(_CALLED)},
                "in_service": {"$sum": _one_if(_SERVED)},
                "served": {"$sum": _one_if(_DONE)},
                "left": {"$sum": _one_if(QueueStatus.LEFT.value, QueueStatus.SKIPPED.value)},
                "since": {"$min": {"$cond": [{"$eq": ["$status", _WAITING]}, "$waiting_since", None]}},
                "waited": {"$avg": waited},
                "longest": {"$max": waited},
                "took": {"$avg": took},
            }
        },
        {"$sort": {"waiting": -1, "_id": 1}},
        {"$limit": MOST_QUEUES},
    ]


def _shown(row: Row) -> Row:
    since = (now() - row["since"]).total_seconds() * 1000 if row["since"] is not None else None
    return {
        **row,
        "waiting_minutes": minutes(since),
        "average_minutes": minutes(row["waited"]),
        "longest_minutes": minutes(row["longest"]),
        "service_minutes": minutes(row["took"]),
    }


def minutes(milliseconds: float | None) -> int | None:
    """Whole minutes, None for nothing."""
    return None if milliseconds is None else round(milliseconds / MINUTE)


def _between(start: str, end: str) -> Row:
    """Milliseconds; null when one of them is missing."""
    return {"$subtract": [end, start]}


def _one_if(*statuses: str) -> Any:
    return {"$cond": [{"$in": ["$status", list(statuses)]}, 1, 0]}
