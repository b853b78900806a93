"""The end of a day at the till, and what came in."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import given
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.graphql.selection import asks_for
from app.permissions import Permission
from app.services.billing import closing, revenue
from models import DayClosing
from models.money import in_full
from models.payment import PaymentMethod
from resolvers.base import Resolver, shown
from resolvers.billing import money
from resolvers.services import ServiceType
from resolvers.staff import StaffType
from resolvers.values import MoneyInput, MoneyType, day


def _optional(column: str, description: str) -> Any:
    """An amount that may not be there yet."""

    def read(row: Row) -> Row | None:
        amount = row.get(column)
        return None if amount is None else {"amount": in_full(amount, row["currency"]), "currency": row["currency"]}

    return computed(column, "currency", by=read, description=description)


@row_type("CountedMethod", description="One way of paying on a day.")
class CountedMethodType:
    method: PaymentMethod = stored(description="Which way.")
    payments: MoneyType = money("payments", "What came in.")
    refunds: MoneyType = money("refunds", "What went back.")
    expected: MoneyType = money("expected", "What should be there.")
    counted: MoneyType | None = _optional("counted", "What was there; null before the day is closed.")
    difference: MoneyType | None = _optional("difference", "What was there less what should be.")


@row_type("DayClosing", model=DayClosing, read=Permission.PAYMENT_READ, description="The end of a day at the till.")
class DayClosingType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    day: date | None = day("day", "Which of the clinic's days.")
    methods: list[CountedMethodType] = stored(description="Each way of paying that was used.")
    notes: str | None = stored(description="What the cashier says about it.")
    closed_at: datetime = stored(description="When it was closed.")
    closed_by: StaffType | None = related(
        lambda: StaffType, key="closed_by", foreign="user_id", description="Who closed it, if they have a profile here."
    )


@row_type("TillDay", description="A day at the till: what was counted or, before it is closed, what should be there.")
class TillDayType:
    day: date | None = day("day", "Which of the clinic's days.")
    methods: list[CountedMethodType] = stored(description="Each way of paying that was used.")
    closing: DayClosingType | None = stored(description="Its closing, once there is one.")


@row_type("DayRevenue", description="What came in on a day.")
class DayRevenueType:
    day: date | None = day("day", "Which of the clinic's days.")
    received: MoneyType = money("received", "What was paid.")
    refunded: MoneyType = money("refunded", "What was given back.")
    kept: MoneyType = money("kept", "What was paid, less what was given back.")
    count: int = stored(description="How many payments and refunds.")


@row_type("MethodRevenue", description="What came in by one way of paying.")
class MethodRevenueType:
    method: PaymentMethod = stored(description="Which way.")
    received: MoneyType = money("received", "What was paid.")
    refunded: MoneyType = money("refunded", "What was given back.")
    kept: MoneyType = money("kept", "What was paid, less what was given back.")
    count: int = stored(description="How many payments and refunds.")


@row_type("ServiceRevenue", description="What was billed for one service, less what was credited of it since.")
class ServiceRevenueType:
    service: ServiceType | None = related(
        lambda: ServiceType, key="service_id", description="The service; none for free text."
    )
    net: MoneyType = money("net", "Before tax.")
    tax: MoneyType = money("tax", "Tax.")
    total: MoneyType = money("total", "With tax.")
    count: int = stored(description="How many lines.")


@row_type("Revenue", description="What came in, and what was billed, in some of the clinic's days.")
class RevenueType:
    by_day: list[DayRevenueType] = stored(description="Payments by day, the first day first.")
    by_method: list[MethodRevenueType] = stored(description="Payments by the way of paying.")
    by_service: list[ServiceRevenueType] = stored(description="Issued invoices by service, the most first.")


@strawberry.input(description="What was counted of one way of paying.")
class CountedInput:
    method: PaymentMethod = strawberry.field(description="Which way.")
    amount: MoneyInput = strawberry.field(description="What was there.")


@strawberry.input(description="A day that is to be closed.")
class CloseDayInput:
    day: date = strawberry.field(description="Which of the clinic's days: none to come, and none before a closed one.")
    counted: list[CountedInput] = strawberry.field(description="What was counted, for each way that was used.")
    notes: str | None = strawberry.field(default=None, description="What the cashier says about it.")


@strawberry.type
class RevenueQuery(Resolver):
    @field(
        Permission.PAYMENT_READ,
        description="A day at the till: its closing or, before that, what should be there.",
    )
    async def day_closing(
        self, day: Annotated[date, strawberry.argument(description="Which of the clinic's days.")]
    ) -> TillDayType:
        return shown(await closing.of_day(day))

    @field(Permission.PAYMENT_READ, description="The days that were closed, the latest first.")
    async def day_closings(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[DayClosingType]:
        return await self.page(info, DayClosingType, where={}, sort=[("day", -1)], first=first, after=after)

    @field(Permission.REVENUE_READ, description="What came in and was billed, on at most 366 of the clinic's days.")
    async def revenue(
        self,
        info: Info,
        from_: Annotated[date, strawberry.argument(name="from", description="The first of the clinic's days.")],
        to: Annotated[date, strawberry.argument(description="The last of the clinic's days, included.")],
    ) -> RevenueType:
        within = revenue.span(from_, to)
        row: dict[str, Any] = {}
        if asks_for(info, "byDay"):
            row["by_day"] = await revenue.by_day(within)
        if asks_for(info, "byMethod"):
            row["by_method"] = await revenue.by_method(within)
        if asks_for(info, "byService"):
            row["by_service"] = await revenue.by_service(within)
        return shown(row)


@strawberry.type
class RevenueMutation(Resolver):
    @field(Permission.PAYMENT_WRITE, description="Closes a day at the till, once.")
    async def close_day(self, input: CloseDayInput) -> DayClosingType:
        values = given(input)
        return shown(await closing.close(input.day, values["counted"], input.notes))
