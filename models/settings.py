"""The clinic's own rules for booking and numbering; one document per clinic."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints
from pymongo import ASCENDING, IndexModel

from models.base import TenantDocument, Versioned
from models.billing import Percent
from models.opening import OpeningWeek

CodePrefix = Annotated[
    str, StringConstraints(strip_whitespace=True, to_upper=True, pattern=r"^[A-Za-z][A-Za-z0-9]{0,5}$")
]


class PortalBooking(StrEnum):
    """What patients may do about appointments in their portal."""

    OFF = "off"
    REQUEST = "request"
    BOOK = "book"


class Settings(Versioned, TenantDocument):
    """How this clinic books and numbers. Time zone, currency and looks are the tenant's (`Tenant.settings`)."""

    slot_minutes: int = Field(default=15, ge=5, le=240, multiple_of=5)
    booking_horizon_days: int = Field(default=180, ge=1, le=730)
    opening_hours: OpeningWeek = Field(default_factory=list)
    """When the clinic is open; with none it is whenever a doctor works."""
    patient_code_prefix: CodePrefix = "P"
    retention_years: int = Field(default=10, ge=1, le=50)
    """How long the law has the clinic keep what it did with a patient, before it may be erased."""
    invoice_prefix: CodePrefix = "INV"
    credit_note_prefix: CodePrefix = "CN"
    quote_prefix: CodePrefix = "Q"
    receipt_prefix: CodePrefix = "R"
    invoice_due_days: int = Field(default=14, ge=0, le=365)
    quote_valid_days: int = Field(default=30, ge=1, le=365)
    usual_tax_rate: Percent = Decimal(0)
    """Of lines that name no other."""
    portal_booking: PortalBooking = PortalBooking.REQUEST
    portal_horizon_days: int = Field(default=60, ge=1, le=730)
    """How many days ahead patients may book; never further than the clinic itself."""
    portal_notice_hours: int = Field(default=24, ge=0, le=720)
    """How long before it starts a patient may still book an appointment."""
    portal_open_bookings: int = Field(default=3, ge=1, le=50)
    """How many appointments to come one patient may have when booking."""
    portal_cancel_hours: int = Field(default=24, ge=0, le=720)
    """How long before it starts a patient may still cancel an appointment."""
    portal_contact_changes: bool = True
    """Whether patients may change their own phone number, e-mail address and postal address."""

    class Settings:
        name = "settings"
        indexes = (IndexModel([("tenant_id", ASCENDING)], name="one_per_tenant", unique=True),)


class Counter(TenantDocument):
    """A running number of one clinic, for instance of patient codes. Numbers are never given out twice."""

    name: str
    value: int = 0

    class Settings:
        name = "counters"
        indexes = (IndexModel([("tenant_id", ASCENDING), ("name", ASCENDING)], name="name", unique=True),)
