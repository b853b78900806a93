"""Money by group: what was billed, and what came in. Each by one aggregation, for each currency by itself."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from bson import Decimal128

from app.services.changes import Row
from app.services.statistics.span import MOST_GROUPS, Span, StatisticsBy
from models import Invoice, Payment
from models.invoice import BILLED
from models.payment import PaymentKind

Sums = Mapping[str, Decimal]
"""Currency → amount."""
MONEY = ("billed", "received")


async def money(span: Span) -> dict[Any, dict[str, Sums]]:
    """By group `billed` and `received`. A payment is for an invoice as a whole, and has neither doctor nor service:
    what came in is told by day, for all doctors together."""
    told_by_day = span.by is StatisticsBy.DAY and span.doctor_id is None
    figures = (_billed(span), _received(span)) if told_by_day else (_billed(span),)
    found: defaultdict[Any, dict[str, Sums]] = defaultdict(dict)
    for name, rows in zip(MONEY, await asyncio.gather(*figures), strict=False):
        for row in rows:
            sums = found[row["_id"]["group"]].setdefault(name, {})
            found[row["_id"]["group"]][name] = {**sums, row["_id"]["currency"]: decimal(row["amount"])}
    return found


def summed(parts: Iterable[Sums]) -> Sums:
    """All together."""
    total: defaultdict[str, Decimal] = defaultdict(Decimal)
    for part in parts:
        for currency, amount in part.items():
            total[currency] += amount
    return total


def shown(sums: Sums) -> list[Row]:
    """Amounts as the schema shows them, in the order of their currencies."""
    return [{"amount": amount, "currency": currency} for currency, amount in sorted(sums.items())]


def decimal(amount: Any) -> Decimal:
    return amount.to_decimal() if isinstance(amount, Decimal128) else Decimal(amount)


async def _billed(span: Span) -> list[Row]:
    """What issued invoices of these days came to with tax, less what was credited of them since."""
    start, end = span.bounds
    billed = {"status": {"$in": [one.value for one in BILLED]}, "dated_at": {"$gte": start, "$lt": end}}
    whole: Row = {"$subtract": ["$total", "$credited"]}
    lines: list[Row] = []
    if span.by is StatisticsBy.SERVICE:
        # Not unwound as a whole, for lines hold descriptions that are sealed.
        inputs = [f"$lines.{name}" for name in _OF_LINE]
        lines = [
            {"$project": {"currency": 1, "line": {"$zip": {"inputs": inputs}}}},
            {"$unwind": "$line"},
            {"$project": {"currency": 1, "service_id": _of_line("service_id"), "amount": _LEFT_OF_LINE}},
        ]
        whole = {"$ifNull": ["$amount", 0]}
    return await _grouped(Invoice, [{"$match": billed | span.doctors}, *lines], span, "dated_at", whole)


_OF_LINE = ("service_id", "net", "tax", "credited_net", "credited_tax")


def _of_line(name: str) -> Row:
    return {"$arrayElemAt": ["$line", _OF_LINE.index(name)]}


_LEFT_OF_LINE = {
    "$subtract": [
        {"$add": [_of_line("net"), _of_line("tax")]},
        {"$add": [_of_line("credited_net"), _of_line("credited_tax")]},
    ]
}


async def _received(span: Span) -> list[Row]:
    """What was paid on these days, less what was given back."""
    start, end = span.bounds
    back = {"$eq": ["$kind", PaymentKind.REFUND.value]}
    amount: Row = {"$cond": [back, {"$multiply": ["$amount", -1]}, "$amount"]}
    within = [{"$match": {"received_at": {"$gte": start, "$lt": end}}}]
    return await _grouped(Payment, within, span, "received_at", amount)


async def _grouped(model: Any, before: list[Row], span: Span, time: str, amount: Row) -> list[Row]:
    group = {"group": span.key(span.day_of(time)), "currency": "$currency"}
    cursor = await model.guarded().aggregate(
        [
            *before,
            {"$group": {"_id": group, "amount": {"$sum": amount}}},
            {"$sort": {"amount": -1, "_id": 1}},
            {"$limit": MOST_GROUPS},
        ]
    )
    rows: list[Row] = await cursor.to_list()
    return rows
