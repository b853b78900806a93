"""What came in by day and method, and what was billed by service: each by one aggregation within the clinic."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from app.errors import ValidationFailed
from app.services.changes import Row
from app.services.scheduling.claims import check_year
from app.services.scheduling.diary import clinic_zone
from app.services.scheduling.slots import day_bounds
from models import Invoice, Payment
from models.invoice import BILLED
from models.payment import PaymentKind

LONGEST = timedelta(days=366)
MOST_ROWS = 1_000


def span(first: date, last: date) -> Row:
    """The condition of instants in the clinic's days from `first` to `last`, both included.

    Raises VALIDATION_FAILED at `from` or `to`, also for more than 366 days.
    """
    check_year(first, "from")
    check_year(last, "to")
    if not first <= last < first + LONGEST:
        raise ValidationFailed.at("to", f"must be on one of the {LONGEST.days} days that begin with from")
    return {"$gte": day_bounds(first, clinic_zone())[0], "$lt": day_bounds(last, clinic_zone())[1]}


async def by_day(within: Row) -> list[Row]:
    """What was paid and given back on each of the clinic's days: `day, currency, received, refunded, kept, count`."""
    text = {"$dateToString": {"date": "$received_at", "format": "%Y-%m-%d", "timezone": clinic_zone().key}}
    return await _received(within, {"day": text})


async def by_method(within: Row) -> list[Row]:
    """The same by method: `method, currency, received, refunded, kept, count`."""
    return await _received(within, {"method": "$method"})


async def _received(within: Row, key: Row) -> list[Row]:
    def summed(kind: PaymentKind) -> Row:
        return {"$sum": {"$cond": [{"$eq": ["$kind", kind.value]}, "$amount", 0]}}

    cursor = await Payment.guarded().aggregate(
        [
            {"$match": {"received_at": within}},
            {
                "$group": {
                    "_id": {**key, "currency": "$currency"},
                    "received": summed(PaymentKind.PAYMENT),
                    "refunded": summed(PaymentKind.REFUND),
                    "count": {"$sum": 1},
                }
            },
            {"$set": {"kept": {"$subtract": ["$received", "$refunded"]}}},
            {"$sort": {"_id": 1}},
            {"$limit": MOST_ROWS},
        ]
    )
    return [_flat(row) for row in await cursor.to_list()]


async def by_service(within: Row) -> list[Row]:
    """What was billed for each service by invoices issued then, less what was credited of them since; the most first:
    `service_id, currency, net, tax, total, count`."""
    billed: dict[str, Any] = {"status": {"$in": [one.value for one in BILLED]}, "dated_at": within}
    cursor = await Invoice.guarded().aggregate(
        [
            {"$match": billed},
            {"$project": {"currency": 1, "line": {"$zip": {"inputs": [f"$lines.{name}" for name in _FIGURES]}}}},
            {"$unwind": "$line"},
            {
                "$group": {
                    "_id": {"service_id": _figure("service_id"), "currency": "$currency"},
                    "net": {"$sum": {"$subtract": [_figure("net"), _figure("credited_net")]}},
                    "tax": {"$sum": {"$subtract": [_figure("tax"), _figure("credited_tax")]}},
                    "count": {"$sum": 1},
                }
            },
            {"$set": {"total": {"$add": ["$net", "$tax"]}}},
            {"$sort": {"net": -1, "_id": 1}},
            {"$limit": MOST_ROWS},
        ]
    )
    return [_flat(row) for row in await cursor.to_list()]


_FIGURES = ("service_id", "net", "tax", "credited_net", "credited_tax")
"""What of a line is summed up. The lines are not unwound as a whole, for they hold descriptions that are sealed; each
line has all of these, none left out, so the lists of them are equally long."""


def _figure(name: str) -> Row:
    return {"$arrayElemAt": ["$line", _FIGURES.index(name)]}


def _flat(row: Row) -> Row:
    return {**row.pop("_id"), **row}
