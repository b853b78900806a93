"""A clinic as the platform sees it: its name, host, settings and subscription."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field, StringConstraints
from pymongo import ASCENDING, DESCENDING, IndexModel

from models.base import PlatformDocument, Versioned
from models.references import PlatformReference, WhenGone
from models.values import (
    Address,
    Colour,
    Currency,
    DateFormat,
    Email,
    Line,
    Name,
    NumberFormat,
    Phone,
    Subdomain,
    Symbol,
    Timezone,
    Value,
    now,
)

TRIAL = timedelta(days=7)


class TenantStatus(StrEnum):
    """Only an active clinic answers on its host."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    SUSPENDED = "suspended"


class TimeFormat(StrEnum):
    """How the clinic writes times of day."""

    H12 = "12h"
    H24 = "24h"


class Language(StrEnum):
    """The clinic's language, ISO 639-1."""

    EN = "en"
    ES = "es"


class CurrencyPosition(StrEnum):
    """Where the currency symbol stands."""

    BEFORE = "before"
    AFTER = "after"


class ClinicSettings(Value):
    """How the clinic writes times and money, and how it looks."""

    timezone: Timezone = "UTC"
    currency: Currency = "USD"
    currency_symbol: Symbol | None = None
    currency_position: CurrencyPosition = CurrencyPosition.BEFORE
    date_format: DateFormat = "MM/DD/YYYY"
    time_format: TimeFormat = TimeFormat.H12
    language: Language = Language.EN
    number_format: NumberFormat = Field(default_factory=NumberFormat)
    logo: Annotated[str, StringConstraints(pattern=r"^https://\S{1,500}$")] | None = None
    primary_color: Colour | None = None
    secondary_color: Colour | None = None


class SubscriptionStatus(StrEnum):
    """Where the clinic stands with its plan."""

    TRIAL = "trial"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class BillingCycle(StrEnum):
    """How often a plan is paid."""

    MONTHLY = "monthly"
    YEARLY = "yearly"


class Subscription(Value):
    """The clinic's plan. `expires_at` ends the trial or the paid period."""

    plan: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{2,40}$")] = "trial"
    status: SubscriptionStatus = SubscriptionStatus.TRIAL
    billing_cycle: BillingCycle = BillingCycle.MONTHLY
    expires_at: datetime | None = None
    renewal_at: datetime | None = None

    @classmethod
    def trial(cls) -> Subscription:
        """Seven days from now."""
        return cls(expires_at=now() + TRIAL)


class Tenant(Versioned, PlatformDocument):
    """One clinic. The rules of its fields hold here, so API, command line and scripts cannot differ."""

    name: Name
    subdomain: Subdomain
    display_name: Line | None = None
    email: Email | None = None
    phone: Phone | None = None
    address: Address = Field(default_factory=Address)
    settings: ClinicSettings = Field(default_factory=ClinicSettings)
    status: TenantStatus = TenantStatus.ACTIVE
    subscription: Subscription = Field(default_factory=Subscription.trial)
    deletion_started_at: datetime | None = None
    """Set once the clinic's data is being purged; it never becomes active again."""
    deletion_counts: dict[str, int] = Field(default_factory=dict)
    """What was found when the purge began: documents per collection."""

    class Settings:
        name = "tenants"
        indexes = (
            IndexModel([("subdomain", ASCENDING)], name="subdomain", unique=True),
            IndexModel([("status", ASCENDING), ("name", ASCENDING), ("_id", ASCENDING)], name="status_name"),
            IndexModel([("subscription.status", ASCENDING)], name="subscription_status"),
            IndexModel([("created_at", DESCENDING)], name="created_at"),
        )


class Tombstone(PlatformDocument):
    """A deleted clinic: keeps its subdomain and id from ever being given out again."""

    subdomain: str
    tenant_id_was: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.KEEP)]
    name: str
    deleted_at: datetime = Field(default_factory=now)
    counts: dict[str, int] = Field(default_factory=dict)
    """Documents purged per collection."""

    class Settings:
        name = "tombstones"
        indexes = (IndexModel([("subdomain", ASCENDING)], name="subdomain", unique=True),)
