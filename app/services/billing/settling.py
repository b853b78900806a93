"""How payments, refunds and credit notes change an invoice: its state follows from what is open of it."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import InvalidState
from app.services.billing.invoices import stored
from app.services.billing.lines import number_in
from app.services.changes import Row, storable
from app.services.states import advance, refused, state_of
from models import Invoice
from models.invoice import BILLED, InvoiceStatus
from models.money import ZERO


async def billed_invoice(id: ObjectId, *, at: str, session: AsyncClientSession | None = None) -> Row:
    """The row of an invoice that was issued and counts. Raises NOT_FOUND at the path `at`, or INVALID_STATE."""
    row = await stored(id, at=at, session=session)
    if state_of(Invoice, row) not in BILLED:
        raise refused(Invoice, state_of(Invoice, row))
    return row


def state_after(open_: Decimal, paid: Decimal) -> InvoiceStatus:
    """The state of an issued invoice of which so much is open, and so much was paid."""
    if open_ <= 0:
        return InvoiceStatus.PAID
    return InvoiceStatus.PARTIALLY_PAID if paid > 0 else InvoiceStatus.ISSUED


async def settle(
    row: Row,
    *,
    paid: Decimal = ZERO,
    credited: Decimal = ZERO,
    values: Mapping[str, Any] | None = None,
    reason: str | None = None,
    session: AsyncClientSession,
) -> Row:
    """Counts `paid` and `credited` (below zero for a refund) into the invoice of a row that was read in the same
    transaction; answers with its new row. Whoever changed it meanwhile makes the transaction start anew."""
    paid_now = number_in(row, "paid") + paid
    credited_now = number_in(row, "credited") + credited
    open_now = number_in(row, "total") - credited_now - paid_now
    if paid_now < 0:
        raise InvalidState("More would be given back than was paid.")
    counted = {"paid": storable(paid_now), "credited": storable(credited_now), "open": storable(open_now)}
    return await advance(
        Invoice,
        row["_id"],
        row["version"],
        state_after(open_now, paid_now),
        values={**counted, **(values or {})},
        reason=reason,
        again=True,
        session=session,
    )
