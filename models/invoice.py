"""Invoices of a clinic, and the credit notes that take something off them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.appointment import RequestMark
from models.base import TenantDocument, Versioned
from models.billing import MAX_LINES, OF_VISIT, Amount, BillLine, Discount, Quantity, listed_by
from models.references import ANY_ID, PlatformReference, Reference
from models.states import Staged, Transitions
from models.uniques import ONE_PER_NUMBER, ONE_PER_REQUEST
from models.values import Currency, Day, Line, Text, Value, now


class InvoiceStatus(StrEnum):
    """The states of an invoice. Those behind ISSUED follow from what was paid and credited."""

    DRAFT = "draft"
    ISSUED = "issued"
    PARTIALLY_PAID = "partially_paid"
    PAID = "paid"
    """Nothing of it is open."""
    VOID = "void"


_S = InvoiceStatus
TRANSITIONS: Transitions = {
    _S.DRAFT: frozenset({_S.ISSUED, _S.PAID, _S.VOID}),
    _S.ISSUED: frozenset({_S.PARTIALLY_PAID, _S.PAID, _S.VOID}),
    _S.PARTIALLY_PAID: frozenset({_S.ISSUED, _S.PAID}),
    _S.PAID: frozenset({_S.ISSUED, _S.PARTIALLY_PAID}),
    _S.VOID: frozenset(),
}
OWED = (_S.ISSUED, _S.PARTIALLY_PAID)
"""States in which something is open."""
BILLED = (*OWED, _S.PAID)
"""States of an invoice that counts."""


class PlanShare(Value):
    """What a membership takes off a line: so many units that cost nothing, and a percentage off the rest."""

    membership_id: Annotated[PydanticObjectId, Reference("patient_memberships")]
    plan_name: Line
    since: Day
    """When the period began whose included services it uses."""
    included: Amount
    percent: Amount


class InvoiceLine(BillLine):
    """A line, and what of it was credited since."""

    coverage: PlanShare | None = None
    credited: Amount = Decimal(0)
    """The quantity."""
    credited_net: Amount = Decimal(0)
    credited_tax: Amount = Decimal(0)


class Invoice(Staged, TenantDocument):
    """What a patient is asked to pay. `open` is `total` less `credited` and `paid`; below zero it is the patient's.

    Once issued it has a number, and nothing but payments, refunds and credit notes changes it. `dated_at` orders the
    lists: when it was issued, or made as long as it is a draft.
    """

    transitions: ClassVar[Transitions] = TRANSITIONS

    status: InvoiceStatus = InvoiceStatus.DRAFT
    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    quote_id: Annotated[PydanticObjectId, Reference("quotes")] | None = None
    membership_id: Annotated[PydanticObjectId, Reference("patient_memberships")] | None = None
    """The membership whose price it asks for."""
    visit_id: Annotated[PydanticObjectId, Reference("visits")] | None = None
    doctor_id: Annotated[PydanticObjectId, Reference("staff")] | None = None
    """Who saw the patient at the visit; the revenue by doctor follows from it."""
    number: Line | None = None
    currency: Currency
    lines: list[InvoiceLine] = Field(min_length=1, max_length=MAX_LINES)
    discount: Discount | None = None
    """Off all lines together."""
    net: Amount
    tax: Amount
    total: Amount
    paid: Amount = Decimal(0)
    credited: Amount = Decimal(0)
    open: Amount
    notes: Annotated[Text | None, Sealed()] = None
    dated_at: datetime = Field(default_factory=now)
    issued_at: datetime | None = None
    due_on: Day | None = None
    voided_at: datetime | None = None
    requests: list[RequestMark] = Field(default_factory=list)
    created_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None

    class Settings:
        name = "invoices"
        indexes = (
            *listed_by("dated_at"),
            IndexModel(
                [("tenant_id", ASCENDING), ("status", ASCENDING), ("dated_at", DESCENDING), ("_id", DESCENDING)],
                name="status_dated_at",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("quote_id", ASCENDING)],
                name="one_per_quote",
                unique=True,
                partialFilterExpression={"quote_id": ANY_ID},
            ),
            OF_VISIT,
            ONE_PER_NUMBER,
            ONE_PER_REQUEST,
        )


class CreditLine(Value):
    """What is taken off one line of the invoice, which `number` names."""

    number: int = Field(ge=1, le=MAX_LINES)
    service_id: Annotated[PydanticObjectId, Reference("services")] | None = None
    description: Annotated[Line, Sealed()]
    quantity: Quantity
    net: Amount
    tax: Amount
    total: Amount


class CreditNote(Versioned, TenantDocument):
    """Takes an issued invoice back, as a whole or in part. It is never changed."""

    number: Line
    invoice_id: Annotated[PydanticObjectId, Reference("invoices")]
    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    currency: Currency
    lines: list[CreditLine] = Field(min_length=1, max_length=MAX_LINES)
    net: Amount
    tax: Amount
    total: Amount
    reason: Line
    issued_at: datetime = Field(default_factory=now)
    requests: list[RequestMark] = Field(default_factory=list)
    created_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None

    class Settings:
        name = "credit_notes"
        indexes = (
            *listed_by("issued_at"),
            IndexModel(
                [("tenant_id", ASCENDING), ("invoice_id", ASCENDING), ("issued_at", DESCENDING), ("_id", DESCENDING)],
                name="invoice_issued_at",
            ),
            ONE_PER_NUMBER,
            ONE_PER_REQUEST,
        )
