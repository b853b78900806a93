"""Filters of the stock's lists, and what all of it is worth."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from bson import ObjectId

from app.errors import ValidationFailed
from app.services.billing.coverage import today
from app.services.changes import Row
from models import StockLot, StockMovement
from models.inventory import IN_STOCK
from models.values import search_key

MOST_DAYS = 3_650


def low() -> Row:
    """Items in use whose stock is below their reorder level."""
    return {"low": True, "archived_at": None}


def lots(*, item_id: ObjectId | None, lot: str | None, in_stock: bool) -> Row:
    """Lots of an item, of a maker's number, with something left."""
    where: Row = dict(IN_STOCK) if in_stock else {}
    if item_id is not None:
        where["item_id"] = item_id
    if lot is not None:
        where["lot_key"] = search_key(lot)
    return where


def expiring(within_days: int) -> Row:
    """Lots with something left that expire within so many days, or have expired.

    Raises VALIDATION_FAILED at `withinDays`.
    """
    if not 0 <= within_days <= MOST_DAYS:
        raise ValidationFailed.at("withinDays", f"must be from 0 to {MOST_DAYS}")
    last = date.fromisoformat(today()) + timedelta(days=within_days)
    return {**IN_STOCK, "order_day": {"$lte": last.isoformat()}}


async def of_act(act: str) -> list[Row]:
    """All movements of one act, in their order."""
    rows: list[Row] = await StockMovement.rows({"act": act}, sort=[("_id", 1)])
    return rows


async def value() -> Mapping[str, Any]:
    """What the stock is worth at what each lot cost last: `amounts` by currency, `expired` of them, and how many lots
    have no price."""
    worth = {"$multiply": ["$balance", "$unit_cost.amount"]}
    stages = [
        {"$match": dict(IN_STOCK)},
        {
            "$group": {
                "_id": "$unit_cost.currency",
                "amount": {"$sum": worth},
                "expired": {"$sum": {"$cond": [{"$lt": ["$order_day", today()]}, worth, 0]}},
                "lots": {"$sum": 1},
            }
        },
        {"$sort": {"_id": 1}},
    ]
    groups = await (await StockLot.guarded().aggregate(stages)).to_list()
    priced = [group for group in groups if group["_id"] is not None]
    return {
        "total": [{"amount": group["amount"], "currency": group["_id"]} for group in priced],
        "expired": [{"amount": group["expired"], "currency": group["_id"]} for group in priced],
        "without_price": sum(group["lots"] for group in groups if group["_id"] is None),
    }
