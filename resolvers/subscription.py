"""The clinic's own subscription: what it has, what it uses, what it pays and how."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, row_type, stored
from app.graphql.inputs import object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.plans import BillingCycle, Feature, PlanName
from app.services.subscription import orders, settling, usage
from models import PaypalOrder, SubscriptionPayment
from models.subscription import PaymentState, PaypalState
from models.tenant import SubscriptionStatus
from resolvers.base import Resolver, shown
from resolvers.billing import money
from resolvers.values import MoneyType, described

described(
    PlanName,
    "Which plan.",
    TRIAL="What each clinic begins with; it cannot be bought.",
    BASIC="For a small practice.",
    PRO="For a larger one.",
    ENTERPRISE="For several houses: everything.",
)
described(
    Feature,
    "What not every plan has.",
    SINGLE_SIGN_ON="Staff sign in by the clinic's own identity provider.",
    LABORATORIES="Laboratories deliver results by themselves.",
)
described(
    PaypalState,
    "Where an order stands, by PayPal's word.",
    NEW="PayPal was not reached yet: order again with the same key.",
    PENDING="It waits for the payer.",
    COMPLETED="It was paid.",
    ACTIVE="It renews itself.",
    SUSPENDED="PayPal could not take a payment, and waits.",
    ENDED="It does not renew itself any more.",
    VOID="Nobody agreed to it in time.",
)
described(
    PaymentState,
    "How a payment stands, by PayPal's word.",
    PENDING="The money is on its way.",
    COMPLETED="It is here.",
    PARTIALLY_REFUNDED="Some of it was given back.",
    REFUNDED="It was given back, and counts for nothing.",
    REVERSED="It was taken back by the payer's bank, and counts for nothing.",
    DENIED="It was never taken.",
)


@row_type("SubscriptionStep", description="One step of a subscription.")
class SubscriptionStepType:
    at: datetime = stored(description="When.")
    status: SubscriptionStatus = stored(description="Where the clinic stood from then on.")
    plan: PlanName = stored(description="With which plan.")
    cause: str = stored(description="What led there.")


def _history(row: Row) -> list[Row]:
    return list(reversed(row.get("history") or ()))


@row_type("ClinicSubscription", description="The clinic's plan, and how it stands.")
class ClinicSubscriptionType:
    plan: PlanName = stored(description="Which plan.")
    status: SubscriptionStatus = stored(description="Where the clinic stands with it.")
    billing_cycle: BillingCycle = stored(description="How often it is paid.")
    expires_at: datetime | None = stored(description="When the trial, or what is paid or given, ends.")
    renewal_at: datetime | None = stored(description="When PayPal takes the next payment; null where it does not.")
    trial_ends_at: datetime | None = stored(description="When the trial ends, or ended.")
    cancelled_at: datetime | None = stored(description="When the clinic said that it does not renew.")
    granted_until: datetime | None = stored(
        description="Until when a plan was given by those who run the system; null where none was."
    )
    works: bool = stored(description="Whether the clinic can work; otherwise it can sign in, read, export and pay.")
    works_until: datetime | None = stored(
        description="Until when it can, if nothing more is paid; null when it cannot, or without an end."
    )
    history: list[SubscriptionStepType] = computed("history", by=_history, description="Its steps, the latest first.")


@row_type("SubscriptionUsage", description="What the plan in force gives, and how much of it is used.")
class SubscriptionUsageType:
    seats: int = stored(description="How many people may work at the clinic.")
    seats_taken: int = stored(description="How many do.")
    storage_bytes: Decimal = stored("storage", description="Bytes of files that it may keep.")
    storage_used_bytes: Decimal = stored("storage_used", description="Bytes of files that it keeps.")
    patients: int = stored(description="Patients who come to it; there is no limit.")
    features: list[Feature] = stored(description="What it includes.")


@row_type("SubscriptionPlan", description="A plan that can be bought.")
class SubscriptionPlanType:
    name: PlanName = stored(description="Which one.")
    seats: int = stored(description="How many people may work at the clinic.")
    storage_bytes: Decimal = stored("storage", description="Bytes of files that it may keep.")
    features: list[Feature] = stored(description="What it includes.")
    monthly: MoneyType = stored(description="What a month costs.")
    yearly: MoneyType = stored(description="What a year costs.")
    renewable: list[BillingCycle] = stored(description="By which cycles it can renew itself.")


@row_type("SubscriptionPayment", model=SubscriptionPayment, description="A payment of the clinic for its plan.")
class SubscriptionPaymentType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    transaction_id: str = stored(description="PayPal's own id of it.")
    state: PaymentState = stored(description="How it stands.")
    plan: PlanName = stored(description="For which plan.")
    billing_cycle: BillingCycle = stored(description="For how long.")
    amount: MoneyType = money("amount", "What was paid.")
    refunded: MoneyType = money("refunded", "What of it was given back.")
    payer_email: str | None = stored(description="The payer's address at PayPal.")
    paid_at: datetime = stored(description="When.")


@row_type("SubscriptionOrder", model=PaypalOrder, description="A plan that was ordered by PayPal.")
class SubscriptionOrderType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change.")
    status: PaypalState = stored(description="Where it stands.")
    plan: PlanName = stored(description="Which plan.")
    billing_cycle: BillingCycle = stored(description="For how long, or how often.")
    amount: MoneyType = money("amount", "What is to be paid, each time where it renews itself.")
    renews: bool = computed("kind", by=lambda row: row["kind"] == "agreement", description="Whether it renews itself.")
    paypal_id: str | None = stored(description="PayPal's own id of it.")
    approve_url: str | None = stored(description="Where the payer agrees, at PayPal: send the browser there.")
    created_at: datetime = stored(description="When it was ordered.")


@row_type("SubscriptionDashboard", description="All about the clinic's subscription at once.")
class SubscriptionDashboardType:
    subscription: ClinicSubscriptionType = stored(description="Its plan, and how it stands.")
    usage: SubscriptionUsageType = stored(description="What of it is used.")
    payments: list[SubscriptionPaymentType] = stored(description="The latest payments, at most ten.")
    plans: list[SubscriptionPlanType] = stored(description="The plans that can be bought.")


@strawberry.input(description="A plan to buy.")
class CreateSubscriptionOrderInput:
    plan: PlanName = strawberry.field(description="Which plan.")
    billing_cycle: BillingCycle = strawberry.field(description="For how long, or how often.")
    renews: bool = strawberry.field(default=False, description="Whether PayPal renews it by itself until it is ended.")
    idempotency_key: str | None = strawberry.field(
        default=None, description="The same key and input lead to the same order."
    )


@strawberry.input(description="An order to which the payer has agreed.")
class CaptureSubscriptionOrderInput:
    order_id: strawberry.ID = strawberry.field(description="The order.")


@strawberry.input(description="A subscription that is to end.")
class CancelSubscriptionInput:
    reason: str | None = strawberry.field(default=None, description="Why; kept in the history, and told to PayPal.")


@strawberry.type
class SubscriptionQuery(Resolver):
    @field(Permission.SUBSCRIPTION_READ, description="The clinic's plan, and how it stands.")
    async def subscription_status(self) -> ClinicSubscriptionType:
        return shown(await usage.status())

    @field(Permission.SUBSCRIPTION_READ, description="What the clinic uses of what its plan gives.")
    async def subscription_usage(self, info: Info) -> SubscriptionUsageType:
        return shown(await usage.usage(info.context.settings))

    @field(Permission.SUBSCRIPTION_READ, description="The plans that can be bought, the smallest first.")
    async def subscription_plans(self, info: Info) -> list[SubscriptionPlanType]:
        return shown(usage.offered(info.context.settings))

    @field(Permission.SUBSCRIPTION_READ, description="All about the clinic's subscription at once.")
    async def subscription_dashboard(self, info: Info) -> SubscriptionDashboardType:
        return shown(
            {
                "subscription": await usage.status(),
                "usage": await usage.usage(info.context.settings),
                "payments": await settling.latest_payments(10),
                "plans": usage.offered(info.context.settings),
            }
        )

    @field(Permission.SUBSCRIPTION_READ, description="What the clinic paid for its plan, the latest first.")
    async def subscription_payments(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[SubscriptionPaymentType]:
        sort = [("paid_at", -1), ("_id", -1)]
        return await self.page(info, SubscriptionPaymentType, where={}, sort=sort, first=first, after=after)

    @field(Permission.SUBSCRIPTION_READ, description="What was ordered by PayPal, the latest first.")
    async def subscription_orders(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[SubscriptionOrderType]:
        sort = [("created_at", -1), ("_id", -1)]
        return await self.page(info, SubscriptionOrderType, where={}, sort=sort, first=first, after=after)


@strawberry.type
class SubscriptionMutation(Resolver):
    @field(
        Permission.SUBSCRIPTION_MANAGE,
        description="Orders a plan by PayPal. Send the browser to `approveUrl`; it comes back to this host.",
        without_plan=True,
    )
    async def create_subscription_order(self, info: Info, input: CreateSubscriptionOrderInput) -> SubscriptionOrderType:
        made = await orders.order(
            input.plan,
            input.billing_cycle,
            renews=input.renews,
            key=input.idempotency_key,
            settings=info.context.settings,
        )
        return shown(made)

    @field(
        Permission.SUBSCRIPTION_MANAGE,
        description="Takes the money of an order to which the payer has agreed, once, and begins what was paid.",
        without_plan=True,
    )
    async def capture_subscription_order(
        self, info: Info, input: CaptureSubscriptionOrderInput
    ) -> SubscriptionOrderType:
        return shown(await settling.capture(object_id(input.order_id, "input.orderId"), info.context.settings))

    @field(
        Permission.SUBSCRIPTION_MANAGE,
        description="Ends the subscription: PayPal takes nothing more, and what is paid holds until its end.",
        without_plan=True,
    )
    async def cancel_subscription(self, info: Info, input: CancelSubscriptionInput) -> ClinicSubscriptionType:
        await settling.cancel(input.reason, info.context.settings)
        return shown(await usage.status())
