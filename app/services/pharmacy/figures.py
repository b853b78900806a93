"""What was handed out, in numbers: units and what they cost, by item and stretch of the clinic's calendar."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

from bson import ObjectId

from app.services.changes import Row
from app.services.statistics.span import MOST_GROUPS, Span, StatisticsBy, span_of
from models import StockMovement
from models.inventory import MovementKind

COUNTED = (MovementKind.DISPENSED, MovementKind.RETURNED)
"""What came back counts against what was handed out, on the day on which it came."""


class Stretch(StrEnum):
    """How long the stretches are into which days are put together."""

    WHOLE = "whole"
    MONTH = "month"
    DAY = "day"


async def dispensed(first: date, last: date, stretch: Stretch, item_id: ObjectId | None) -> Row:
    """`rows`, one for each stretch and item with `day` (the first of the stretch), `item_id`, `units` and `value`, in
    the order of time, the most units first; 1,000 at most. And their `total`.

    Raises VALIDATION_FAILED at `from` or `to` for none, or more than 366 days.
    """
    span = span_of(first, last, StatisticsBy.DAY, None)
    rows = [_row(group, first) for group in await _groups(span, stretch, item_id)]
    total = {"units": sum(row["units"] for row in rows), "value": _summed(row["value"] for row in rows)}
    return {"rows": rows, "total": total}


async def _groups(span: Span, stretch: Stretch, item_id: ObjectId | None) -> list[Row]:
    """By one aggregation: for each item and stretch, the units and amounts, those of each currency by themselves."""
    start, end = span.bounds
    about = {"item_id": item_id} if item_id is not None else {}
    kinds = {"kind": {"$in": [kind.value for kind in COUNTED]}}
    key = {"day": _first_day(span, stretch), "item": "$item_id"}
    units = {"$multiply": ["$quantity", -1]}
    worth = {"$multiply": [units, {"$ifNull": ["$unit_cost.amount", 0]}]}
    priced = {"currency": "$_id.currency", "amount": "$amount"}
    cursor = await StockMovement.guarded().aggregate(
        [
            {"$match": {**about, **kinds, "at": {"$gte": start, "$lt": end}}},
            {
                "$group": {
                    "_id": {**key, "currency": {"$ifNull": ["$unit_cost.currency", None]}},
                    "units": {"$sum": units},
                    "amount": {"$sum": worth},
                }
            },
            {
                "$group": {
                    "_id": {"day": "$_id.day", "item": "$_id.item"},
                    "units": {"$sum": "$units"},
                    "amounts": {"$push": priced},
                }
            },
            {"$sort": {"_id.day": 1, "units": -1, "_id.item": 1}},
            {"$limit": MOST_GROUPS},
        ]
    )
    groups: list[Row] = await cursor.to_list()
    return groups


def _first_day(span: Span, stretch: Stretch) -> Any:
    """The expression for the first day of an instant's stretch, as text; null for that of all days."""
    if stretch is Stretch.WHOLE:
        return None
    if stretch is Stretch.DAY:
        return span.day_of("at")
    return {"$dateToString": {"date": "$at", "timezone": span.zone.key, "format": "%Y-%m-01"}}


def _row(group: Mapping[str, Any], first: date) -> Row:
    """A month that had begun before is told from the first day that was asked for."""
    began = max(group["_id"]["day"] or "", first.isoformat())
    value = [
        {"currency": one["currency"], "amount": one["amount"].to_decimal()}
        for one in group["amounts"]
        if one["currency"] is not None
    ]
    return {"day": began, "item_id": group["_id"]["item"], "units": group["units"], "value": _summed([value])}


def _summed(parts: Iterable[Iterable[Mapping[str, Any]]]) -> list[Row]:
    """Amounts by currency, in the order of their currencies."""
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for part in parts:
        for one in part:
            sums[one["currency"]] += one["amount"]
    return [{"amount": amount, "currency": currency} for currency, amount in sorted(sums.items())]
