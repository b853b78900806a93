"""The end of a day at the till: what should be there by the books, what was counted, and the difference.

A closing takes the payments that none took before: each payment belongs to one closing at most, which one write sees
to, so what comes while somebody counts is not lost but in the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import in_turn
from app.errors import FieldError, InvalidState, ValidationFailed
from app.services.billing.coverage import today
from app.services.billing.invoices import actor_id
from app.services.billing.lines import number_in
from app.services.changes import Row, build, row_of
from app.services.scheduling.claims import check_year
from app.services.scheduling.diary import clinic_zone
from app.services.scheduling.slots import day_bounds
from models import DayClosing, Payment
from models.money import ZERO, is_whole
from models.payment import CountedMethod, PaymentKind, PaymentMethod

MOST_PAYMENTS = 10_000
"""So many one closing may take: it bounds the transaction."""
Key = tuple[str, str]
"""Method and currency."""


async def of_day(day: date) -> Row:
    """A day at the till: its closing or, as long as there is none, what it would expect: `day, methods, closing`.

    Raises VALIDATION_FAILED at `day`, INVALID_STATE for a day that was left open and has a closed one after it.
    """
    check_year(day, "day")
    rows: list[Row] = await DayClosing.rows({"day": day.isoformat()}, limit=1)
    if rows:
        return {"day": rows[0]["day"], "methods": rows[0]["methods"], "closing": rows[0]}
    expected = await _expected(await _untaken(day, None), None)
    methods = [
        {"method": method, "currency": currency, "payments": came, "refunds": went, "expected": came - went}
        for (method, currency), (came, went) in sorted(expected.items())
    ]
    return {"day": day.isoformat(), "methods": methods, "closing": None}


async def _untaken(day: date, session: AsyncClientSession | None) -> Row:
    """The filter of the payments that a closing of that day takes: those of the day, and of the days since the latest
    closing. Raises INVALID_STATE when a later day is closed."""
    latest = await DayClosing.rows({}, projection=["day"], sort=[("day", -1)], limit=1, session=session)
    first = min(day, date.fromisoformat(latest[0]["day"])) if latest else day
    if latest and latest[0]["day"] > day.isoformat():
        raise InvalidState(f"A later day, {latest[0]['day']}, was closed already.")
    zone = clinic_zone()
    return {"closing_id": None, "received_at": {"$gte": day_bounds(first, zone)[0], "$lt": day_bounds(day, zone)[1]}}


async def _expected(where: Row, session: AsyncClientSession | None) -> dict[Key, tuple[Decimal, Decimal]]:
    """What came in and what went out of the payments that match, by method and currency."""

    def summed(kind: PaymentKind) -> Row:
        return {"$sum": {"$cond": [{"$eq": ["$kind", kind.value]}, "$amount", 0]}}

    group = {"_id": {"method": "$method", "currency": "$currency"}}
    sums = {"came": summed(PaymentKind.PAYMENT), "went": summed(PaymentKind.REFUND)}
    cursor = await Payment.guarded().aggregate([{"$match": where}, {"$group": {**group, **sums}}], session=session)
    return {
        (row["_id"]["method"], row["_id"]["currency"]): (number_in(row, "came"), number_in(row, "went"))
        for row in await cursor.to_list()
    }


async def close(day: date, counted: Sequence[Mapping[str, Any]], notes: str | None) -> Row:
    """Closes one of the clinic's days, once; answers with the closing's row.

    `counted`: `method` and `amount` (money) for each method. Raises VALIDATION_FAILED at `input.…` when the day is to
    come or a method with money in the books was not counted, INVALID_STATE when it, or a later day, was closed already.
    """
    check_year(day, "input.day")
    if day.isoformat() > today():
        raise ValidationFailed.at("input.day", "has not come yet")
    found = _counted(counted)

    async def work(session: AsyncClientSession) -> Row:
        closing: DayClosing = build(DayClosing, {"id": ObjectId(), "day": day, "notes": notes, "closed_by": actor_id()})
        where = await _untaken(day, session)
        if await Payment.guarded().count_documents(where, limit=MOST_PAYMENTS + 1, session=session) > MOST_PAYMENTS:
            raise InvalidState(f"These are more than {MOST_PAYMENTS} payments: close an earlier day first.")
        expected = await _expected(where, session)
        closing.methods = _compared(expected, found)
        await closing.insert(session=session)
        await Payment.guarded().update_many(where, {"$set": {"closing_id": closing.id}}, session=session)
        return row_of(closing)

    try:
        return await in_turn("till", work)
    except DuplicateKeyError:
        raise InvalidState("The day was closed already.") from None


def _counted(counted: Sequence[Mapping[str, Any]]) -> dict[Key, Decimal]:
    found: dict[Key, Decimal] = {}
    for place, one in enumerate(counted):
        method, amount, currency = one["method"], one["amount"]["amount"], one["amount"]["currency"]
        at = f"input.counted.{place}"
        if (method.value, currency) in found:
            raise ValidationFailed.at(f"{at}.method", "was counted twice")
        if not amount.is_finite() or not abs(amount) <= Decimal("1e15") or not is_whole(amount, currency):
            raise ValidationFailed.at(f"{at}.amount.amount", f"has more digits than {currency} has")
        found[method.value, currency] = amount
    return found


def _compared(expected: Mapping[Key, tuple[Decimal, Decimal]], counted: Mapping[Key, Decimal]) -> list[CountedMethod]:
    if missing := sorted(expected.keys() - counted.keys()):
        told = [f"{PaymentMethod(method).name} in {currency}" for method, currency in missing]
        raise ValidationFailed(fields=[FieldError("input.counted", f"says nothing of {one}") for one in told])
    rows = []
    for key in sorted({*expected, *counted}):
        came, went = expected.get(key, (ZERO, ZERO))
        values = {"payments": came, "refunds": went, "expected": came - went, "counted": counted[key]}
        difference = counted[key] - (came - went)
        rows.append(build(CountedMethod, {"method": key[0], "currency": key[1], **values, "difference": difference}))
    return rows
