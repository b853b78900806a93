"""Payments for invoices, money that was given back, and the till that is counted at the end of a day."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.appointment import RequestMark
from models.base import TenantDocument, Versioned
from models.billing import Amount, listed_by
from models.references import PlatformReference, Reference
from models.uniques import ONE_PER_NUMBER, ONE_PER_REQUEST
from models.values import Currency, Day, Line, Text, Value, now


class PaymentMethod(StrEnum):
    """How money changes hands."""

    CASH = "cash"
    CARD = "card"
    TRANSFER = "transfer"
    OTHER = "other"


class PaymentKind(StrEnum):
    """Which way money went."""

    PAYMENT = "payment"
    REFUND = "refund"


class Payment(Versioned, TenantDocument):
    """Money for an invoice, or back from it. `amount` is above zero either way; `refunded` is what went back of a
    payment, and `payment_id` of a refund says of which."""

    kind: PaymentKind = PaymentKind.PAYMENT
    number: Line
    invoice_id: Annotated[PydanticObjectId, Reference("invoices")]
    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    payment_id: Annotated[PydanticObjectId, Reference("payments")] | None = None
    amount: Amount
    refunded: Amount = Decimal(0)
    currency: Currency
    method: PaymentMethod
    reference: Line | None = None
    reason: Line | None = None
    """Why money was given back."""
    received_at: datetime = Field(default_factory=now)
    received_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    closing_id: Annotated[PydanticObjectId, Reference("day_closings")] | None = None
    """The closing that counted it: one at most, for ever."""
    requests: list[RequestMark] = Field(default_factory=list)

    class Settings:
        name = "payments"
        indexes = (
            *listed_by("received_at"),
            IndexModel(
                [("tenant_id", ASCENDING), ("invoice_id", ASCENDING), ("received_at", DESCENDING), ("_id", DESCENDING)],
                name="invoice_received_at",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("method", ASCENDING), ("received_at", DESCENDING), ("_id", DESCENDING)],
                name="method_received_at",
            ),
            IndexModel([("tenant_id", ASCENDING), ("closing_id", ASCENDING), ("received_at", ASCENDING)], name="till"),
            ONE_PER_NUMBER,
            ONE_PER_REQUEST,
        )


class CountedMethod(Value):
    """One method of a day: what came in and went out by the books, and what the cashier counted."""

    method: PaymentMethod
    currency: Currency
    payments: Amount
    refunds: Amount
    expected: Amount
    counted: Amount
    difference: Amount


class DayClosing(Versioned, TenantDocument):
    """The end of one of the clinic's days at the till. It is made once and never changed."""

    day: Day
    methods: list[CountedMethod] = Field(default_factory=list, max_length=100)
    notes: Annotated[Text | None, Sealed()] = None
    closed_at: datetime = Field(default_factory=now)
    closed_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None

    class Settings:
        name = "day_closings"
        indexes = (IndexModel([("tenant_id", ASCENDING), ("day", DESCENDING)], name="one_per_day", unique=True),)
