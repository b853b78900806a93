"""A clinic as the platform sees it: its name, host, settings and subscription."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.plans import TRIAL_LASTS, BillingCycle, PlanName
from models.base import PlatformDocument, Versioned
from models.cluster import ClusterName
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
    email_address,
    now,
)


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


def _domain(name: str) -> str:
    return email_address(f"somebody@{name}").partition("@")[2]


EmailDomain = Annotated[
    str,
    StringConstraints(strip_whitespace=True, to_lower=True, min_length=3, max_length=253),
    AfterValidator(_domain),
]


class SecurityPolicy(Value):
    """What the clinic asks of the people who enter it, beside what holds everywhere.

    It can only shorten how long a session lasts or rests, never lengthen it. With `email_domains`, only addresses of
    these domains are invited.
    """

    second_factor_required: bool = False
    session_hours: Annotated[int, Field(ge=1, le=720)] | None = None
    idle_minutes: Annotated[int, Field(ge=5, le=10_080)] | None = None
    email_domains: list[EmailDomain] = Field(default_factory=list, max_length=20)


class SubscriptionStatus(StrEnum):
    """Where the clinic stands with its plan."""

    TRIAL = "trial"
    ACTIVE = "active"
    PAST_DUE = "past_due"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class SubscriptionStep(Value):
    """One step of a subscription: how it stood from then on, and what led there."""

    at: datetime = Field(default_factory=now)
    status: SubscriptionStatus
    plan: PlanName
    cause: Line


class PlanGrant(Value):
    """A plan that those who run the system gave to the clinic, until then."""

    plan: PlanName
    until: datetime
    granted_at: datetime = Field(default_factory=now)


class Subscription(Value):
    """The clinic's plan. `expires_at` ends the trial or the paid time.

    Status, plan and times are worked out from what is known (`app.services.subscription.course`): the trial, what was
    paid, a grant, and whether the clinic cancelled. Nothing else sets them.
    """

    plan: PlanName = PlanName.TRIAL
    status: SubscriptionStatus = SubscriptionStatus.TRIAL
    billing_cycle: BillingCycle = BillingCycle.MONTHLY
    expires_at: datetime | None = None
    renewal_at: datetime | None = None
    """When PayPal takes the next payment by itself."""
    trial_ends_at: datetime | None = None
    cancelled_at: datetime | None = None
    """When the clinic said that it does not renew; what is paid later takes it back."""
    grant: PlanGrant | None = None
    paypal_order_id: str | None = None
    """PayPal's id of the latest order that was paid."""
    paypal_subscription_id: str | None = None
    """PayPal's id of the agreement by which it renews itself."""
    revision: int = 0
    """Counts the changes of all these: what was read before another one is not written after it."""
    reminded: list[Line] = Field(default_factory=list, max_length=20)
    """The latest reminders that were mailed."""
    history: list[SubscriptionStep] = Field(default_factory=list, max_length=100)

    @classmethod
    def trial(cls) -> Subscription:
        """Seven days from now."""
        ends = now() + TRIAL_LASTS
        return cls(expires_at=ends, trial_ends_at=ends)


class Importing(Value):
    """An import that is under way: of which export, and what is needed to go on with it where it was interrupted."""

    export: str
    """The SHA-256 of the export's manifest, in hex."""
    shift: bytes = Field(repr=False)
    """See `app.services.moving.translating`."""
    naming: bytes = Field(repr=False)
    """Random bytes from which the names of its files come, the same at each run."""
    started_at: datetime = Field(default_factory=now)


class Offboarding(Value):
    """A clinic that is to be deleted: it does not answer any more, and until `due_at` it can be kept after all."""

    reason: Line
    requested_by: str
    scheduled_at: datetime = Field(default_factory=now)
    due_at: datetime
    status_before: TenantStatus
    exported_at: datetime | None = None
    """When its data was written out; None while that is still to be done."""


class PlacementKind(StrEnum):
    """In what kind of place a clinic's documents are."""

    SHARED = "shared"
    OWN_DATABASE = "own_database"
    CLUSTER = "cluster"
    """In a database of its own on another cluster, which others may share."""


DatabaseName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,63}$")]


class Placement(Value):
    """Where a clinic's documents are: in the shared database, or in the one that is named, on the home cluster or the
    one that is named."""

    kind: PlacementKind = PlacementKind.SHARED
    database: DatabaseName | None = None
    cluster: ClusterName | None = None

    @model_validator(mode="after")
    def _names_its_own(self) -> Placement:
        if (self.kind is PlacementKind.SHARED) is not (self.database is None):
            raise ValueError("a database of one's own is named, the shared one is not")
        if (self.kind is PlacementKind.CLUSTER) is not (self.cluster is not None):
            raise ValueError("another cluster is named, the home one is not")
        return self

    @property
    def words(self) -> str:
        """For people, behind "is"."""
        if self.cluster is not None:
            return f"on the cluster {self.cluster}"
        return "in a database of its own" if self.database is not None else "in the shared database"


class MoveStage(StrEnum):
    """How far the move of a clinic to another place has come."""

    COPYING = "copying"
    """The clinic works where it was, and its documents are copied meanwhile."""
    READ_ONLY = "read_only"
    """What was changed meanwhile is copied and all is compared; the clinic can be read."""
    MOVED = "moved"
    """The clinic works in its new place; what came late into the former one is fetched."""
    KEPT = "kept"
    """All is done, but for what the former place still holds."""


class Move(Value):
    """A clinic on its way to another place. `holder` is the run of the command that works on it, until `lease_until`:
    a run that was killed keeps nobody waiting for longer, and another one goes on where it ended."""

    stage: MoveStage = MoveStage.COPYING
    source: Placement
    target: Placement
    holder: str
    lease_until: datetime
    started_at: datetime = Field(default_factory=now)
    moved_at: datetime | None = None


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
    security: SecurityPolicy = Field(default_factory=SecurityPolicy)
    subscription: Subscription = Field(default_factory=Subscription.trial)
    placement: Placement = Field(default_factory=Placement)
    move: Move | None = None
    """Set while the clinic is on its way to another place, and as long as its former place holds anything."""
    catalog_version: int = 0
    """Counts the changes of what processes may remember of the clinic: see `app.tenancy.remembered`."""
    importing: Importing | None = None
    """Set while it is read from an export: until then it answers nowhere, and no job touches it."""
    offboarding: Offboarding | None = None
    """Set while its deletion is to come."""
    opening: str | None = Field(default=None, repr=False)
    """A digest of the request that opened it, if that had an idempotency key: a repeat is known by it."""
    deletion_started_at: datetime | None = None
    """Set once the clinic's data is being purged; it never becomes active again."""
    deletion_exported_at: datetime | None = None
    """When its data was written out before the purge. Whoever goes on with its deletion then writes nothing: what is
    left may be a part of it."""
    deletion_unexported: bool = False
    """Whether it is deleted without that, as whoever began it said."""
    deletion_counts: dict[str, int] = Field(default_factory=dict)
    """What was found when the purge began: documents per collection."""

    class Settings:
        name = "tenants"
        indexes = (
            IndexModel([("subdomain", ASCENDING)], name="subdomain", unique=True),
            IndexModel([("status", ASCENDING), ("name", ASCENDING), ("_id", ASCENDING)], name="status_name"),
            IndexModel([("subscription.status", ASCENDING)], name="subscription_status"),
            IndexModel([("subscription.paypal_order_id", ASCENDING)], name="subscription_paypal_order"),
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
