"""Quotes: what something would cost, until a day."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.appointment import RequestMark
from models.base import TenantDocument
from models.billing import MAX_LINES, OF_VISIT, Amount, BillLine, Discount, listed_by
from models.references import PlatformReference, Reference
from models.states import Staged, Transitions
from models.uniques import ONE_PER_NUMBER, ONE_PER_REQUEST
from models.values import Currency, Day, Line, Text, now


class QuoteStatus(StrEnum):
    """The states of a quote. One that was sent expires by itself when its last day is over."""

    DRAFT = "draft"
    SENT = "sent"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    EXPIRED = "expired"


_S = QuoteStatus
TRANSITIONS: Transitions = {
    _S.DRAFT: frozenset({_S.SENT}),
    _S.SENT: frozenset({_S.ACCEPTED, _S.DECLINED, _S.EXPIRED}),
    _S.ACCEPTED: frozenset(),
    _S.DECLINED: frozenset(),
    _S.EXPIRED: frozenset(),
}


class Quote(Staged, TenantDocument):
    """An offer to a patient. It has a number once it was sent, and becomes one invoice at most."""

    transitions: ClassVar[Transitions] = TRANSITIONS

    status: QuoteStatus = QuoteStatus.DRAFT
    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    visit_id: Annotated[PydanticObjectId, Reference("visits")] | None = None
    number: Line | None = None
    currency: Currency
    lines: list[BillLine] = Field(min_length=1, max_length=MAX_LINES)
    discount: Discount | None = None
    net: Amount
    tax: Amount
    total: Amount
    valid_until: Day
    """The last of the clinic's days on which it can be accepted."""
    notes: Annotated[Text | None, Sealed()] = None
    dated_at: datetime = Field(default_factory=now)
    sent_at: datetime | None = None
    invoiced_at: datetime | None = None
    requests: list[RequestMark] = Field(default_factory=list)
    created_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None

    class Settings:
        name = "quotes"
        indexes = (
            *listed_by("dated_at"),
            IndexModel(
                [("tenant_id", ASCENDING), ("status", ASCENDING), ("dated_at", DESCENDING), ("_id", DESCENDING)],
                name="status_dated_at",
            ),
            OF_VISIT,
            ONE_PER_NUMBER,
            ONE_PER_REQUEST,
        )
