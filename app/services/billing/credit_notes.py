"""Credit notes: an issued invoice is taken back line by line, never more of a line than it had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from bson import ObjectId
from pydantic import BaseModel, Field
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_turn
from app.errors import FieldError, InvalidState, ValidationFailed
from app.services.billing.invoices import actor_id
from app.services.billing.lines import number_in
from app.services.billing.settling import billed_invoice, settle
from app.services.changes import Row, build, checked, row_of, storable
from app.services.counters import next_number
from app.services.idempotency import mark_of, once
from app.services.settings import clinic_settings
from models import CreditNote
from models.appointment import RequestMark
from models.billing import MAX_LINES, Quantity
from models.invoice import CreditLine
from models.money import portion, total_of


class AskedCredit(BaseModel):
    """A line of the invoice by its number, and how much of it; all that is left without a quantity."""

    number: int = Field(ge=1, le=MAX_LINES)
    quantity: Quantity | None = None


class _Asked(BaseModel):
    lines: list[AskedCredit] = Field(min_length=1, max_length=MAX_LINES)


async def create(values: Mapping[str, Any], *, key: str | None = None) -> Row:
    """Credits an invoice, in one transaction with it; answers with the credit note's row.

    `values`: `invoice_id, reason`, and maybe `lines` (else all that is left). Raises NOT_FOUND at `input.invoiceId`,
    INVALID_STATE for one that is not issued or has nothing left, VALIDATION_FAILED at `input.lines.…`.
    """
    mark = mark_of("createCreditNote", key, values)

    async def work() -> Row:
        id, lines = values["invoice_id"], values.get("lines")
        invoice = await billed_invoice(id, at="input.invoiceId")
        asked = build(_Asked, {"lines": lines}).lines if lines is not None else None
        reason = checked(CreditNote, {"reason": values["reason"]})["reason"]
        _taken(invoice, asked)  # before a number is used
        prefix, number = (await clinic_settings()).credit_note_prefix, await next_number("credit_note")
        named = {"id": ObjectId(), "number": f"{prefix}-{number:06d}", "reason": reason, "created_by": actor_id()}
        return await in_turn(id, lambda session: _credited(id, asked, named, mark, session))

    return await once(CreditNote, mark, work)


async def _credited(
    id: ObjectId,
    asked: Sequence[AskedCredit] | None,
    named: Mapping[str, Any],
    mark: RequestMark | None,
    session: AsyncClientSession,
) -> Row:
    invoice = await billed_invoice(id, at="input.invoiceId", session=session)
    lines = _taken(invoice, asked)
    sums = {name: total_of(getattr(line, name) for line in lines) for name in ("net", "tax", "total")}
    note: CreditNote = build(
        CreditNote,
        {
            **named,
            **sums,
            "invoice_id": id,
            "patient_id": invoice["patient_id"],
            "currency": invoice["currency"],
            "lines": lines,
            "requests": [mark] if mark else [],
        },
    )
    changes = _changes(invoice, lines)
    await settle(invoice, credited=sums["total"], values=changes, reason=named["reason"], session=session)
    await note.insert(session=session)
    return row_of(note)


def _taken(invoice: Row, asked: Sequence[AskedCredit] | None) -> list[CreditLine]:
    """The lines of a credit note. Raises VALIDATION_FAILED for more than a line has left, or INVALID_STATE."""
    lines = {line["number"]: line for line in invoice["lines"]}
    left = {number: number_in(line, "quantity") - number_in(line, "credited") for number, line in lines.items()}
    if not any(left.values()):
        raise InvalidState("All of the invoice was credited.")
    if asked is None:
        return [_credit(invoice, lines[number], rest) for number, rest in left.items() if rest]
    if wrong := [one for place, line in enumerate(asked) for one in _complaints(line, left, f"input.lines.{place}")]:
        raise ValidationFailed(fields=wrong)
    if twice := [number for number, times in Counter(line.number for line in asked).items() if times > 1]:
        raise ValidationFailed.at("input.lines", f"names line {twice[0]} twice")
    return [_credit(invoice, lines[one.number], one.quantity or left[one.number]) for one in asked]


def _complaints(line: AskedCredit, left: Mapping[int, Decimal], at: str) -> list[FieldError]:
    if line.number not in left:
        return [FieldError(f"{at}.number", "is no line of the invoice")]
    if not left[line.number]:
        return [FieldError(f"{at}.number", "was credited already")]
    if line.quantity is not None and line.quantity > left[line.number]:
        return [FieldError(f"{at}.quantity", f"is more than what is left, {left[line.number]:f}")]
    return []


def _credit(invoice: Row, line: Row, quantity: Decimal) -> CreditLine:
    """So much of a line. What is credited bit by bit adds up to the line, to the cent."""
    net, tax = (_between(invoice, line, name, quantity) for name in ("net", "tax"))
    return CreditLine(
        number=line["number"],
        service_id=line.get("service_id"),
        description=line["description"],
        quantity=quantity,
        net=net,
        tax=tax,
        total=net + tax,
    )


def _between(invoice: Row, line: Row, name: str, quantity: Decimal) -> Decimal:
    amount, whole, before = number_in(line, name), number_in(line, "quantity"), number_in(line, "credited")
    first, last = (portion(amount, part, whole, invoice["currency"]) for part in (before, before + quantity))
    return last - first


def _changes(invoice: Row, lines: Sequence[CreditLine]) -> Row:
    """What the invoice keeps of it: how much of each line was credited, as stored paths."""
    places = {line["number"]: (place, line) for place, line in enumerate(invoice["lines"])}
    changes: Row = {}
    for one in lines:
        place, line = places[one.number]
        counted = {"credited": one.quantity, "credited_net": one.net, "credited_tax": one.tax}
        changes |= {f"lines.{place}.{name}": storable(number_in(line, name) + more) for name, more in counted.items()}
    return changes
