"""What patients see of invoices and payments: their own, once issued, and nothing that the clinic notes for itself."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import strawberry

from app.graphql.fields import computed, related, row_type, stored
from models import Invoice, Payment
from models.invoice import InvoiceStatus
from models.payment import PaymentKind, PaymentMethod
from resolvers.billing import money, plain_decimal, with_currency
from resolvers.values import MoneyType, day


@row_type("PortalInvoiceLine", description="A line of an invoice, as patients see it.")
class PortalInvoiceLineType:
    number: int = stored(description="Which line it is, from 1.")
    description: str = stored(description="What it is for.")
    quantity: Decimal = plain_decimal("quantity", "How much of it.")
    unit_price: MoneyType = money("unit_price", "What one costs.")
    discount_amount: MoneyType = money("discount_amount", "What its own discount takes off.")
    plan_discount: MoneyType = money("plan_discount", "What the membership takes off.")
    shared_discount: MoneyType = money("shared_discount", "Its share of the discount off all lines.")
    tax_rate: Decimal = plain_decimal("tax_rate", "Tax in percent.")
    net: MoneyType = money("net", "What is left, before tax.")
    tax: MoneyType = money("tax", "Tax.")
    total: MoneyType = money("total", "With tax.")


@row_type("PortalInvoice", model=Invoice, description="An issued invoice of the patient.")
class PortalInvoiceType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    number: str | None = stored(description="Its number.")
    status: InvoiceStatus = stored(description="Where it stands.")
    lines: list[PortalInvoiceLineType] = computed(
        "lines", "currency", by=with_currency("lines"), description="What it is for, line by line."
    )
    net: MoneyType = money("net", "All lines before tax.")
    tax: MoneyType = money("tax", "The tax of all lines.")
    total: MoneyType = money("total", "All lines with tax.")
    paid: MoneyType = money("paid", "What was paid, less what was given back.")
    credited: MoneyType = money("credited", "What credit notes took off.")
    open: MoneyType = money("open", "What is left to pay; below zero it is the patient's.")
    issued_at: datetime | None = stored(description="When it was issued.")
    due_on: date | None = day("due_on", "Until when it is to be paid.")


@row_type("PortalPayment", model=Payment, description="What the patient paid, or was given back.")
class PortalPaymentType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    kind: PaymentKind = stored(description="Which way money went.")
    number: str = stored(description="The number of the receipt.")
    amount: MoneyType = money("amount", "How much.")
    method: PaymentMethod = stored(description="How it was paid.")
    received_at: datetime = stored(description="When it was paid.")
    invoice: PortalInvoiceType | None = related(lambda: PortalInvoiceType, key="invoice_id", description="The invoice.")
