"""Types and inputs that quotes, invoices and credit notes share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import strawberry
from bson import Decimal128

from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import object_id
from models.money import in_full
from resolvers.services import ServiceType
from resolvers.staff import StaffType
from resolvers.values import MoneyInput, MoneyType


def money(column: str, description: str) -> Any:
    """A field that shows an amount in the currency of its row."""

    def read(row: Row) -> Row:
        return {"amount": in_full(row.get(column) or 0, row["currency"]), "currency": row["currency"]}

    return computed(column, "currency", by=read, description=description)


def with_currency(column: str) -> Callable[[Row], list[Row]]:
    """Reads the parts of a row, each with the row's currency."""

    def read(row: Row) -> list[Row]:
        return [{**part, "currency": row["currency"]} for part in row.get(column) or ()]

    return read


def plain_decimal(column: str, description: str) -> Any:
    """A field that shows a decimal without the zeros that it was stored with."""

    def read(row: Row) -> Decimal:
        value = row.get(column)
        plain = value.to_decimal() if isinstance(value, Decimal128) else Decimal(value or 0)
        return Decimal(f"{plain.normalize():f}")

    return computed(column, by=read, description=description)


@row_type("Discount", description="Either a share of the price or an amount off it.")
class DiscountType:
    percent: Decimal | None = stored(description="Percent of the price.")
    amount: Decimal | None = stored(description="An amount, in the currency of the document.")


@row_type("PlanShare", description="What a patient's membership takes off a line.")
class PlanShareType:
    plan_name: str = stored(description="Which plan.")
    included: Decimal = plain_decimal("included", "Units that cost nothing.")
    percent: Decimal = plain_decimal("percent", "Percent off the rest.")


@row_type("BillLine", description="A line of a quote.")
class BillLineType:
    number: int = stored(description="Which line it is, from 1.")
    service: ServiceType | None = related(
        lambda: ServiceType, key="service_id", description="The service; none for free text."
    )
    description: str = stored(description="What it is for.")
    quantity: Decimal = plain_decimal("quantity", "How much of it.")
    unit_price: MoneyType = money("unit_price", "What one costs.")
    discount: DiscountType | None = stored(description="The line's own discount, as it was asked for.")
    tax_rate: Decimal = plain_decimal("tax_rate", "Tax in percent.")
    gross: MoneyType = money("gross", "Quantity times price.")
    discount_amount: MoneyType = money("discount_amount", "What its own discount takes off.")
    shared_discount: MoneyType = money("shared_discount", "Its share of the discount off all lines.")
    net: MoneyType = money("net", "What is left, before tax.")
    tax: MoneyType = money("tax", "Tax.")
    total: MoneyType = money("total", "With tax.")


@row_type("InvoiceLine", description="A line of an invoice.")
class InvoiceLineType:
    number: int = stored(description="Which line it is, from 1.")
    service: ServiceType | None = related(
        lambda: ServiceType, key="service_id", description="The service; none for free text."
    )
    description: str = stored(description="What it is for.")
    quantity: Decimal = plain_decimal("quantity", "How much of it.")
    unit_price: MoneyType = money("unit_price", "What one costs.")
    discount: DiscountType | None = stored(description="The line's own discount, as it was asked for.")
    plan: PlanShareType | None = stored("coverage", description="What the patient's membership covers of it.")
    tax_rate: Decimal = plain_decimal("tax_rate", "Tax in percent.")
    gross: MoneyType = money("gross", "Quantity times price.")
    discount_amount: MoneyType = money("discount_amount", "What its own discount takes off.")
    plan_discount: MoneyType = money("plan_discount", "What the patient's membership takes off then.")
    shared_discount: MoneyType = money("shared_discount", "Its share of the discount off all lines.")
    net: MoneyType = money("net", "What is left, before tax.")
    tax: MoneyType = money("tax", "Tax.")
    total: MoneyType = money("total", "With tax.")
    credited_quantity: Decimal = plain_decimal("credited", "How much was credited since.")


@row_type("BillingStep", description="One step in the life of a quote, an invoice or a membership.")
class BillingStepType:
    at: datetime = stored(description="When it was taken.")
    status: str = stored(description="Where it stood from then on.")
    reason: str | None = stored(description="Why.")
    by: StaffType | None = related(
        lambda: StaffType, key="by", foreign="user_id", description="Who took it, if they have a profile here."
    )


@strawberry.input(description="A discount: either `percent` or `amount`.")
class DiscountInput:
    percent: Decimal | None = strawberry.field(default=None, description="Percent of the price, 0 to 100.")
    amount: Decimal | None = strawberry.field(default=None, description="An amount, in the clinic's currency.")


@strawberry.input(description="A line: a service of the catalogue, or free text with a price.")
class BillLineInput:
    service_id: strawberry.ID | None = strawberry.field(default=None, description="The service.")
    description: str | None = strawberry.field(
        default=None, description="What it is for; the service's name when left out."
    )
    quantity: Decimal = strawberry.field(default=Decimal(1), description="How much of it, up to 3 decimal places.")
    unit_price: MoneyInput | None = strawberry.field(
        default=None, description="What one costs, before tax; the service's price when left out."
    )
    discount: DiscountInput | None = strawberry.field(default=None, description="A discount on this line.")
    tax_rate: Decimal | None = strawberry.field(
        default=None, description="Tax in percent; the usual one of the settings when left out."
    )


@strawberry.input(description="Which ones to list. All conditions must hold.")
class BillingFilter:
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="Of this patient.")
    from_: date | None = strawberry.field(name="from", default=None, description="The first of the clinic's days.")
    to: date | None = strawberry.field(default=None, description="The last of the clinic's days, included.")
    number: str | None = strawberry.field(default=None, description="Of this whole number.")


def with_line_ids(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Lines of an input with the services' ids as ids. Raises NOT_FOUND at `input.lines.….serviceId`."""
    return [
        {**line, "service_id": object_id(line["service_id"], f"input.lines.{place}.serviceId")}
        if line.get("service_id") is not None
        else dict(line)
        for place, line in enumerate(lines)
    ]
