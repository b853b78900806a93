"""Quotes: written, sent with a number, accepted or declined until their last day, and invoiced once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import in_turn
from app.errors import InvalidState, NotFound, ValidationFailed
from app.services.billing.coverage import today
from app.services.billing.invoices import actor_id, drafted
from app.services.billing.lines import Order, asked_again, billed, ordered
from app.services.billing.visits import of_visit
from app.services.changes import Row, another_version, build, change_row, checked, row_of, storable
from app.services.counters import next_number
from app.services.idempotency import mark_of, once
from app.services.references import check_references
from app.services.settings import clinic_settings
from app.services.states import advance, refused, state_of
from models import Invoice, Quote
from models.appointment import RequestMark
from models.billing import BillLine
from models.quote import QuoteStatus
from models.values import now


def is_over(row: Mapping[str, Any]) -> bool:
    """Whether the last day of a quote has passed in the clinic's zone."""
    return bool(row["valid_until"] < today())


def of_status(status: QuoteStatus) -> dict[str, Any]:
    """The filter of quotes in that state, as it is shown: one that was sent expires with its last day."""
    sent = {"status": QuoteStatus.SENT.value}
    if status is QuoteStatus.SENT:
        return {**sent, "valid_until": {"$gte": today()}}
    if status is QuoteStatus.EXPIRED:
        return {"$or": [{"status": status.value}, {**sent, "valid_until": {"$lt": today()}}]}
    return {"status": status.value}


async def create(values: Mapping[str, Any], *, key: str | None = None) -> Row:
    """Stores a draft; answers with its row.

    `values`: `patient_id, lines`, and maybe `visit_id, discount, notes, valid_until`. Raises NOT_FOUND and
    VALIDATION_FAILED at `input.…`, IDEMPOTENCY_CONFLICT for a used `key` with another input, INVALID_STATE for a visit
    entered in error.
    """
    mark = mark_of("createQuote", key, values)

    async def work() -> Row:
        await check_references(Quote, {"patient_id": values["patient_id"]}, at="input")
        visit = await of_visit(values.get("visit_id"), values["patient_id"])
        order = await ordered(values["lines"], values.get("discount"))
        quote: Quote = build(
            Quote,
            {
                **billed(order, BillLine).values(),
                "patient_id": values["patient_id"],
                "visit_id": visit.get("visit_id"),
                "valid_until": await _last_day(values.get("valid_until")),
                "notes": values.get("notes"),
                "requests": [mark] if mark else [],
                "created_by": actor_id(),
            },
        )
        await quote.insert()
        return row_of(quote)

    return await once(Quote, mark, work)


async def _last_day(wanted: date | None) -> date:
    first = date.fromisoformat(today())
    if wanted is not None and wanted < first:
        raise ValidationFailed.at("input.validUntil", "must not be in the past")
    return wanted or first + timedelta(days=(await clinic_settings()).quote_valid_days)


async def _stored(id: ObjectId, *, at: str = "input.id") -> Row:
    rows: list[Row] = await Quote.rows({"_id": id}, limit=1)
    if not rows:
        raise NotFound.at(at)
    return rows[0]


async def _draft(id: ObjectId, version: int) -> Row:
    row = await _stored(id)
    if row["status"] != QuoteStatus.DRAFT.value:
        raise refused(Quote, state_of(Quote, row))
    if row["version"] != version:
        raise another_version()
    return row


async def update(id: ObjectId, version: int, changes: Mapping[str, Any]) -> Row:
    """Changes a draft's `lines`, `discount`, `notes` or `valid_until`; answers with the new row.

    Raises INVALID_STATE for a quote that was sent, CONFLICT for an older version.
    """
    row = await _draft(id, version)
    values = checked(Quote, {name: changes[name] for name in ("notes",) if name in changes})
    if "valid_until" in changes:
        values["valid_until"] = (await _last_day(changes["valid_until"])).isoformat()
    if "lines" in changes or "discount" in changes:
        off = changes["discount"] if "discount" in changes else row.get("discount")
        order = await ordered(changes.get("lines") or asked_again(row), off)
        values |= {name: storable(value) for name, value in billed(order, BillLine).values().items()}
    return await change_row(Quote, id, version, values, state={"status": QuoteStatus.DRAFT.value})


async def send(id: ObjectId, version: int) -> Row:
    """Gives a draft its number: from now on the patient may accept it. Answers with the new row.

    Raises INVALID_STATE for one that is no draft, or whose last day is over.
    """
    row = await _draft(id, version)
    if is_over(row):
        raise InvalidState("The last day of the quote is over: change it first.")
    number = f"{(await clinic_settings()).quote_prefix}-{await next_number('quote'):06d}"
    values = {"number": number, "sent_at": now(), "dated_at": now()}
    return await advance(Quote, id, version, QuoteStatus.SENT, values=values)


async def decide(id: ObjectId, version: int, to: QuoteStatus, reason: str | None) -> Row:
    """Accepts or declines a quote that was sent; answers with the new row.

    One whose last day is over becomes EXPIRED instead, and INVALID_STATE is raised as for any other expired one.
    """
    row = await _stored(id)
    if row["status"] == QuoteStatus.SENT.value and is_over(row):
        row = await advance(Quote, id, row["version"], QuoteStatus.EXPIRED)
        raise refused(Quote, state_of(Quote, row))
    return await advance(Quote, id, version, to, state={"valid_until": {"$gte": today()}}, reason=reason)


async def invoice(id: ObjectId, *, key: str | None = None) -> Row:
    """Makes a draft invoice of an accepted quote, with the patient's membership applied; answers with the invoice.

    A quote is invoiced once, which a unique index sees to. Raises NOT_FOUND at `input.quoteId`, or INVALID_STATE.
    """
    mark = mark_of("invoiceQuote", key, {"id": id})

    async def work() -> Row:
        row = await _stored(id, at="input.quoteId")
        if row["status"] != QuoteStatus.ACCEPTED.value:
            raise refused(Quote, state_of(Quote, row))
        visit = await of_visit(row.get("visit_id"), row["patient_id"])
        order = await ordered(asked_again(row), row.get("discount"), agreed=True)
        try:
            return await in_turn(row["patient_id"], lambda session: _invoiced(row, order, visit, mark, session))
        except DuplicateKeyError as error:
            if "quote_id" not in (error.details or {}).get("keyPattern", {}):
                raise
            raise InvalidState("The quote was invoiced already.") from None

    return await once(Invoice, mark, work)


async def _invoiced(row: Row, order: Order, visit: Row, mark: RequestMark | None, session: AsyncClientSession) -> Row:
    more = {"quote_id": row["_id"], "notes": row.get("notes")} | visit
    made = await drafted(order, row["patient_id"], more, mark, session)
    invoiced = {"$set": {"invoiced_at": now(), "updated_at": now()}, "$inc": {"version": 1}}
    await Quote.guarded().update_one({"_id": row["_id"]}, invoiced, session=session)
    return made
