"""What clinics pay for their own plans by PayPal: orders and agreements, payments, and the inbox of its events.

Orders and payments are the clinic's own documents. Routes and events stand above the clinics: an event names no clinic
that could be believed, so which one it concerns is found by the ids that PayPal gave to what we asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar

from beanie import PydanticObjectId
from pydantic import Field, StringConstraints
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.plans import BillingCycle, PlanName
from app.tenancy.sealing import Sealed
from models.appointment import RequestMark
from models.base import PlatformDocument, TenantDocument, Versioned
from models.billing import Amount
from models.references import PlatformReference, Reference, WhenGone
from models.states import Staged, Transitions
from models.uniques import ONE_PER_REQUEST
from models.values import Currency, Line, now

PaypalId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""An id that PayPal gave."""


class PaypalKind(StrEnum):
    """How a plan is paid: once for one cycle, or by an agreement that renews itself."""

    ORDER = "order"
    AGREEMENT = "agreement"


class PaypalState(StrEnum):
    """Where an order or an agreement stands, as PayPal last told when asked."""

    NEW = "new"
    PENDING = "pending"
    COMPLETED = "completed"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    ENDED = "ended"
    VOID = "void"


PAYPAL_STEPS: Mapping[PaypalState, frozenset[PaypalState]] = {
    PaypalState.NEW: frozenset({PaypalState.PENDING, PaypalState.VOID}),
    PaypalState.PENDING: frozenset(
        {PaypalState.COMPLETED, PaypalState.ACTIVE, PaypalState.SUSPENDED, PaypalState.ENDED, PaypalState.VOID}
    ),
    PaypalState.ACTIVE: frozenset({PaypalState.SUSPENDED, PaypalState.ENDED}),
    PaypalState.SUSPENDED: frozenset({PaypalState.ACTIVE, PaypalState.ENDED}),
    PaypalState.COMPLETED: frozenset(),
    PaypalState.ENDED: frozenset(),
    PaypalState.VOID: frozenset(),
}


class PaypalOrder(Staged, TenantDocument):
    """One purchase of a plan. It is written before PayPal is asked; its id is the `custom_id` there."""

    transitions: ClassVar[Transitions] = PAYPAL_STEPS

    status: PaypalState = PaypalState.NEW
    kind: PaypalKind = PaypalKind.ORDER
    plan: PlanName
    billing_cycle: BillingCycle
    amount: Amount
    currency: Currency
    paypal_id: PaypalId | None = None
    paypal_plan_id: PaypalId | None = None
    """The plan at PayPal by which an agreement renews."""
    approve_url: str | None = None
    """Where the payer agrees, at PayPal."""
    next_billing_at: datetime | None = None
    ended_at: datetime | None = None
    created_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    requests: list[RequestMark] = Field(default_factory=list)

    class Settings:
        name = "paypal_orders"
        indexes = (
            IndexModel([("tenant_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)], name="created_at"),
            IndexModel([("tenant_id", ASCENDING), ("kind", ASCENDING), ("status", ASCENDING)], name="kind_status"),
            IndexModel(
                [("tenant_id", ASCENDING), ("paypal_id", ASCENDING)],
                name="paypal_id",
                unique=True,
                partialFilterExpression={"paypal_id": {"$type": "string"}},
            ),
            ONE_PER_REQUEST,
        )


class PaymentState(StrEnum):
    """How a payment stands. One that was given back as a whole counts for nothing."""

    PENDING = "pending"
    COMPLETED = "completed"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"
    REVERSED = "reversed"
    DENIED = "denied"


PAID = frozenset({PaymentState.COMPLETED, PaymentState.PARTIALLY_REFUNDED})
"""The states in which a payment counts."""


class SubscriptionPayment(Versioned, TenantDocument):
    """One payment of the clinic for its plan, as PayPal last told when asked. `transaction_id` is PayPal's, and counts
    once."""

    order_id: Annotated[PydanticObjectId, Reference("paypal_orders")]
    transaction_id: PaypalId
    state: PaymentState
    plan: PlanName
    billing_cycle: BillingCycle
    amount: Amount
    refunded: Amount = Decimal(0)
    currency: Currency
    payer_email: Annotated[Line | None, Sealed()] = None
    """As PayPal writes it."""
    paid_at: datetime
    ordered_at: datetime
    """When the clinic asked for what it pays."""

    class Settings:
        name = "subscription_payments"
        indexes = (
            IndexModel([("tenant_id", ASCENDING), ("paid_at", DESCENDING), ("_id", DESCENDING)], name="paid_at"),
            IndexModel([("tenant_id", ASCENDING), ("order_id", ASCENDING)], name="order"),
            IndexModel(
                [("tenant_id", ASCENDING), ("transaction_id", ASCENDING)], name="one_per_transaction", unique=True
            ),
        )


class PaypalRoute(PlatformDocument):
    """Whose something at PayPal is: an order, an agreement or a payment, by PayPal's own id."""

    id: str  # type: ignore[assignment]  # PayPal's
    clinic_id: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.DELETE)]
    order_id: Annotated[PydanticObjectId, Reference("paypal_orders")]

    class Settings:
        name = "paypal_routes"
        indexes = (IndexModel([("clinic_id", ASCENDING)], name="clinic"),)


class EventState(StrEnum):
    """What became of an event. Dead ones were tried too often, or contradict our own documents; ignored ones are about
    nothing that we asked for."""

    WAITING = "waiting"
    HANDLED = "handled"
    IGNORED = "ignored"
    DEAD = "dead"


class PaypalEvent(PlatformDocument):
    """One event in the inbox: that something happened to what PayPal calls by these ids, and nothing else of it.

    Whoever claims it moves `next_at` to the end of their lease: when they die, it falls due again by itself.
    """

    id: str  # type: ignore[assignment]  # PayPal's: each event counts once
    event_type: Line
    subjects: list[PaypalId] = Field(default_factory=list, max_length=10)
    """Orders, agreements and payments that it names."""
    clinic_id: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.DELETE)] | None = None
    """Whose they are, once that was found."""
    status: EventState = EventState.WAITING
    tries: int = 0
    next_at: datetime = Field(default_factory=now)
    error: str | None = None
    """Why the last try failed: a type or a code, never a text of PayPal's."""
    received_at: datetime = Field(default_factory=now)
    settled_at: datetime | None = None
    purge_at: datetime | None = None

    class Settings:
        name = "paypal_events"
        indexes = (
            IndexModel([("status", ASCENDING), ("next_at", ASCENDING)], name="due"),
            IndexModel([("status", ASCENDING), ("received_at", DESCENDING), ("_id", DESCENDING)], name="latest"),
            IndexModel([("clinic_id", ASCENDING)], name="clinic"),
            IndexModel([("purge_at", ASCENDING)], name="purge", expireAfterSeconds=0),
        )
