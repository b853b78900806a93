"""The figures. Each is one aggregation that answers, by group, with numbers that can be added up.

A new figure is one more function in `FIGURES`, and its columns in `ADDED` and `GREATEST`; money is in `revenue.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from app.services.changes import Row
from app.services.statistics.span import MOST_GROUPS, Span
from models import Appointment, QueueEntry, Visit
from models.appointment import AppointmentStatus
from models.queue import QueueStatus
from models.visit import VisitStatus

Figure = Callable[[Span], Awaitable[list[Row]]]
"""Rows with `_id`, the group, and numbers."""
_S = AppointmentStatus


async def appointments(span: Span) -> list[Row]:
    """How many appointments were to start, and what became of them. What should never have been entered is left out."""
    start, end = span.bounds
    cursor = await Appointment.guarded().aggregate(
        [
            {
                "$match": {
                    "starts_at": {"$gte": start, "$lt": end},
                    "status": {"$ne": _S.ENTERED_IN_ERROR.value},
                    **span.doctors,
                }
            },
            {
                "$group": {
                    "_id": span.key(span.day_of("starts_at")),
                    "appointments": {"$sum": 1},
                    "fulfilled": {"$sum": _one_if(_S.FULFILLED, _S.CHECKED_IN)},
                    "no_shows": {"$sum": _one_if(_S.NO_SHOW)},
                    "cancelled": {"$sum": _one_if(_S.CANCELLED)},
                }
            },
            {"$sort": {"appointments": -1, "_id": 1}},
            {"$limit": MOST_GROUPS},
        ]
    )
    rows: list[Row] = await cursor.to_list()
    return rows


async def waiting(span: Span) -> list[Row]:
    """Who came without an appointment, who was served, and how long people waited until they were called."""
    waited = {"$subtract": ["$called_at", "$waiting_since"]}
    cursor = await QueueEntry.guarded().aggregate(
        [
            {"$match": {"day": {"$gte": span.days[0], "$lte": span.days[-1]}, **span.doctors}},
            {
                "$group": {
                    "_id": span.key("$day"),
                    "walk_ins": {"$sum": _one_if_none("appointment_id", "transferred_from_id")},
                    "served": {"$sum": _one_if(QueueStatus.DONE)},
                    "left": {"$sum": _one_if(QueueStatus.LEFT, QueueStatus.SKIPPED)},
                    "called": {"$sum": {"$cond": [{"$ne": [{"$type": "$called_at"}, "date"]}, 0, 1]}},
                    "waited": {"$sum": waited},
                    "longest": {"$max": waited},
                }
            },
            {"$sort": {"called": -1, "_id": 1}},
            {"$limit": MOST_GROUPS},
        ]
    )
    rows: list[Row] = await cursor.to_list()
    return rows


async def visits(span: Span) -> list[Row]:
    """How many visits began. What should never have been entered is left out."""
    start, end = span.bounds
    written = {"$ne": VisitStatus.ENTERED_IN_ERROR.value}
    cursor = await Visit.guarded().aggregate(
        [
            {"$match": {"started_at": {"$gte": start, "$lt": end}, "status": written, **span.doctors}},
            {"$group": {"_id": span.key(span.day_of("started_at")), "visits": {"$sum": 1}}},
            {"$sort": {"visits": -1, "_id": 1}},
            {"$limit": MOST_GROUPS},
        ]
    )
    rows: list[Row] = await cursor.to_list()
    return rows


FIGURES: Sequence[Figure] = (appointments, waiting, visits)
ADDED = (
    "appointments",
    "visits",
    "fulfilled",
    "no_shows",
    "cancelled",
    "walk_ins",
    "served",
    "left",
    "called",
    "waited",
)
GREATEST = ("longest",)


def summed(rows: Sequence[Mapping[str, Any]]) -> Row:
    """All rows as one."""
    added: Row = {name: sum(row.get(name) or 0 for row in rows) for name in ADDED}
    greatest = {name: max((row[name] for row in rows if row.get(name) is not None), default=None) for name in GREATEST}
    return {**added, **greatest}


def _one_if(*statuses: Any) -> Row:
    return {"$cond": [{"$in": ["$status", [one.value for one in statuses]]}, 1, 0]}


def _one_if_none(*columns: str) -> Row:
    missing = [{"$eq": [{"$ifNull": [f"${column}", None]}, None]} for column in columns]
    return {"$cond": [{"$and": missing}, 1, 0]}
