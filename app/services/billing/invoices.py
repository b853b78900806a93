"""Invoices: made and changed as drafts, issued with a number, called void while nothing was paid."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction, in_turn
from app.errors import InvalidState, NotFound, ValidationFailed
from app.services.billing.coverage import cover, give_back, today
from app.services.billing.lines import Bill, Order, asked_again, billed, number_in, ordered
from app.services.billing.visits import of_visit
from app.services.changes import Row, another_version, build, change_row, checked, row_of, storable
from app.services.counters import next_number
from app.services.idempotency import mark_of, once
from app.services.references import check_references
from app.services.settings import clinic_settings
from app.services.states import advance, refused, state_of
from app.tenancy.scope import current_scope
from models import Invoice
from models.appointment import RequestMark
from models.invoice import InvoiceLine, InvoiceStatus
from models.money import ZERO
from models.values import now


async def create(values: Mapping[str, Any], *, key: str | None = None) -> Row:
    """Stores a draft with the patient's membership applied; answers with its row.

    `values`: `patient_id, lines`, and maybe `visit_id, discount, notes`. Raises NOT_FOUND and VALIDATION_FAILED at
    `input.…`, IDEMPOTENCY_CONFLICT for a used `key` with another input, INVALID_STATE for a visit entered in error.
    """
    mark = mark_of("createInvoice", key, values)

    async def work() -> Row:
        order = await _checked_order(values)
        patient_id = values["patient_id"]
        more = checked(Invoice, {"notes": values.get("notes")}) | await of_visit(values.get("visit_id"), patient_id)
        return await in_turn(patient_id, lambda session: drafted(order, patient_id, more, mark, session))

    return await once(Invoice, mark, work)


async def _checked_order(values: Mapping[str, Any]) -> Order:
    await check_references(Invoice, {"patient_id": values["patient_id"]}, at="input")
    return await ordered(values["lines"], values.get("discount"))


async def drafted(
    order: Order, patient_id: ObjectId, more: Row, mark: RequestMark | None, session: AsyncClientSession
) -> Row:
    """Stores a draft within a transaction, with the plan's share of each line; answers with its row."""
    bill = await with_plan(order, patient_id, session)
    values = {**bill.values(), "open": ZERO, **more, "patient_id": patient_id, "created_by": actor_id()}
    invoice: Invoice = build(Invoice, {**values, "requests": [mark] if mark else []})
    await invoice.insert(session=session)
    return row_of(invoice)


async def with_plan(order: Order, patient_id: ObjectId, session: AsyncClientSession) -> Bill[InvoiceLine]:
    """The priced lines, each with what the patient's membership took off it."""
    coverage = await cover(order, patient_id, session)
    bill = billed(order, InvoiceLine, coverage.charges)
    for line, share in zip(bill.lines, coverage.shares, strict=True):
        line.coverage = share
    return bill


def actor_id() -> Any:
    """The user who acts, if anybody of the staff does."""
    actor = current_scope().actor
    return actor.user_id if actor is not None else None


async def update(id: ObjectId, version: int, changes: Mapping[str, Any]) -> Row:
    """Changes a draft's `lines`, `discount` or `notes`; the membership is applied anew. Answers with the new row.

    Raises INVALID_STATE for an invoice that is no draft any more, CONFLICT for an older version.
    """
    row = await stored(id)
    values = checked(Invoice, {name: changes[name] for name in ("notes",) if name in changes})
    if "lines" not in changes and "discount" not in changes:
        return await _replace(_still_draft(row, version), values, None)
    order = await ordered(
        changes.get("lines") or asked_again(row), changes["discount"] if "discount" in changes else row.get("discount")
    )
    _still_draft(row, version)  # what an input points to is looked for before states are judged

    async def work(session: AsyncClientSession) -> Row:
        await give_back(row, session)
        bill = await with_plan(order, row["patient_id"], session)
        priced = {name: storable(value) for name, value in bill.values().items()}
        return await _replace(row, {**values, **priced}, session)

    return await in_turn(row["patient_id"], work)


async def _replace(row: Row, values: Row, session: AsyncClientSession | None) -> Row:
    state = {"status": InvoiceStatus.DRAFT.value}
    return await change_row(Invoice, row["_id"], row["version"], values, state=state, session=session)


async def draft(id: ObjectId, version: int) -> Row:
    """The row of a draft. Raises NOT_FOUND at `input.id`, INVALID_STATE, or CONFLICT at `input.version`."""
    return _still_draft(await stored(id), version)


def _still_draft(row: Row, version: int) -> Row:
    if row["status"] != InvoiceStatus.DRAFT.value:
        raise refused(Invoice, state_of(Invoice, row))
    if row["version"] != version:
        raise another_version()
    return row


async def stored(id: ObjectId, *, at: str = "input.id", session: AsyncClientSession | None = None) -> Row:
    """The row of an invoice. Raises NOT_FOUND at the path `at`."""
    rows: list[Row] = await Invoice.rows({"_id": id}, limit=1, session=session)
    if not rows:
        raise NotFound.at(at)
    return rows[0]


async def issue(id: ObjectId, version: int, due_on: date | None) -> Row:
    """Gives a draft its number and a day on which it is due; answers with the new row.

    Raises INVALID_STATE for one that is no draft, CONFLICT for an older version. The number is taken first: one that a
    step which then fails has taken is never used.
    """
    row = await draft(id, version)
    settings = await clinic_settings()
    first = date.fromisoformat(today())
    if due_on is not None and due_on < first:
        raise ValidationFailed.at("input.dueOn", "must not be in the past")
    due = due_on or first + timedelta(days=settings.invoice_due_days)
    number = f"{settings.invoice_prefix}-{await next_number('invoice'):06d}"
    total, moment = number_in(row, "total"), now()
    values = {"number": number, "due_on": due.isoformat(), "issued_at": moment, "dated_at": moment}
    to = InvoiceStatus.ISSUED if total else InvoiceStatus.PAID
    return await advance(Invoice, id, version, to, values={**values, "open": storable(total)})


async def void(id: ObjectId, version: int, reason: str) -> Row:
    """Calls a draft or an issued invoice void, and gives back what it used of a membership; answers with the new row.

    Raises INVALID_STATE when something of it was paid or credited: that takes a credit note.
    """
    row = await stored(id)
    if number_in(row, "credited") and row["version"] == version:
        raise InvalidState("Part of the invoice was credited: credit the rest.")

    async def work(session: AsyncClientSession) -> Row:
        values = {"voided_at": now(), "open": storable(ZERO)}
        changed = await advance(Invoice, id, version, InvoiceStatus.VOID, values=values, reason=reason, session=session)
        await give_back(changed, session)
        return changed

    return await in_transaction(work)
