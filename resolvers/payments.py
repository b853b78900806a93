"""Payments, refunds and credit notes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import computed, related, row_type, stored
from app.graphql.inputs import given, ids
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services.billing import credit_notes, lists, payments
from app.services.counters import as_given
from models import CreditNote, Payment
from models.payment import PaymentKind, PaymentMethod
from resolvers.base import Resolver, shown
from resolvers.billing import BillingFilter, money, plain_decimal, with_currency
from resolvers.invoices import InvoiceType
from resolvers.staff import StaffType
from resolvers.values import MoneyInput, MoneyType, described

if TYPE_CHECKING:
    from resolvers.patients import PatientType

described(
    PaymentMethod,
    "How money changes hands.",
    CASH="In notes and coins.",
    CARD="By card.",
    TRANSFER="From account to account.",
    OTHER="In another way.",
)
described(PaymentKind, "Which way money went.", PAYMENT="To the clinic.", REFUND="Back to the patient.")


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


@row_type("Payment", model=Payment, read=Permission.PAYMENT_READ, description="Money for an invoice, or back from it.")
class PaymentType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change.")
    kind: PaymentKind = stored(description="Which way it went.")
    number: str = stored(description="The number of its receipt.")
    amount: MoneyType = money("amount", "How much; above zero for refunds too.")
    refunded: MoneyType = money("refunded", "What of a payment was given back.")
    method: PaymentMethod = stored(description="How it was paid.")
    reference: str | None = stored(description="What finds it elsewhere, such as the card machine's number.")
    reason: str | None = stored(description="Why money was given back.")
    received_at: datetime = stored(description="When it was paid.")
    received_by: StaffType | None = related(
        lambda: StaffType, key="received_by", foreign="user_id", description="Who took it, if they have a profile here."
    )
    invoice: InvoiceType | None = related(lambda: InvoiceType, key="invoice_id", description="The invoice.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )


@row_type("CreditLine", description="What is taken off one line of an invoice.")
class CreditLineType:
    number: int = stored(description="The number of the invoice's line.")
    description: str = stored(description="What it was for.")
    quantity: Decimal = plain_decimal("quantity", "How much of it.")
    net: MoneyType = money("net", "Before tax.")
    tax: MoneyType = money("tax", "Tax.")
    total: MoneyType = money("total", "With tax.")


@row_type(
    "CreditNote",
    model=CreditNote,
    read=Permission.INVOICE_READ,
    description="Takes an issued invoice back, as a whole or in part.",
)
class CreditNoteType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    number: str = stored(description="Its own number.")
    reason: str = stored(description="Why.")
    lines: list[CreditLineType] = computed(
        "lines", "currency", by=with_currency("lines"), description="What is taken back, line by line."
    )
    net: MoneyType = money("net", "All lines before tax.")
    tax: MoneyType = money("tax", "The tax of all lines.")
    total: MoneyType = money("total", "All lines with tax.")
    issued_at: datetime = stored(description="When it was issued.")
    invoice: InvoiceType | None = related(lambda: InvoiceType, key="invoice_id", description="The invoice.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )


@strawberry.input(description="Which payments and refunds to list. All conditions must hold.")
class PaymentFilter(BillingFilter):
    invoice_id: strawberry.ID | None = strawberry.field(default=None, description="Of this invoice.")
    method: PaymentMethod | None = strawberry.field(default=None, description="Paid in this way.")


@strawberry.input(description="Which credit notes to list. All conditions must hold.")
class CreditNoteFilter(BillingFilter):
    invoice_id: strawberry.ID | None = strawberry.field(default=None, description="Of this invoice.")


@strawberry.input(description="Money that came for an invoice.")
class RecordPaymentInput:
    invoice_id: strawberry.ID = strawberry.field(description="The invoice.")
    amount: MoneyInput = strawberry.field(description="How much: no more than is open.")
    method: PaymentMethod = strawberry.field(description="How it was paid.")
    reference: str | None = strawberry.field(default=None, description="What finds it elsewhere.")
    idempotency_key: str | None = strawberry.field(
        default=None, description="Makes repeats safe: the same key and input give the first answer again."
    )


@strawberry.input(description="Money that goes back to the patient.")
class RefundPaymentInput:
    payment_id: strawberry.ID = strawberry.field(description="The payment.")
    amount: MoneyInput | None = strawberry.field(default=None, description="How much; all that is left when left out.")
    method: PaymentMethod | None = strawberry.field(
        default=None, description="How it is given back; as it was paid when left out."
    )
    reason: str = strawberry.field(description="Why.")
    idempotency_key: str | None = strawberry.field(
        default=None, description="Makes repeats safe: the same key and input give the first answer again."
    )


@strawberry.input(description="How much of a line of the invoice is taken back.")
class CreditLineInput:
    number: int = strawberry.field(description="The number of the invoice's line.")
    quantity: Decimal | None = strawberry.field(default=None, description="How much; all that is left when left out.")


@strawberry.input(description="What is taken back of an invoice.")
class CreateCreditNoteInput:
    invoice_id: strawberry.ID = strawberry.field(description="The invoice.")
    reason: str = strawberry.field(description="Why.")
    lines: list[CreditLineInput] | None = strawberry.field(
        default=None, description="Which lines; all that is left when left out."
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="Makes repeats safe: the same key and input give the first answer again."
    )


@strawberry.type
class PaymentQuery(Resolver):
    @field(Permission.PAYMENT_READ, description="One payment or refund.")
    async def payment(self, info: Info, id: strawberry.ID) -> PaymentType:
        return await self.one(info, PaymentType, id)

    @field(Permission.PAYMENT_READ, description="The clinic's payments and refunds, the latest first.")
    async def payments(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: PaymentFilter | None = None
    ) -> Connection[PaymentType]:
        chosen = filter or PaymentFilter()
        named = ids(given(chosen), "patient_id", "invoice_id", at="filter")
        same = lists.equal(**_same(named), method=chosen.method)
        where = {**same, **lists.within("received_at", chosen.from_, chosen.to)}
        sort = [("received_at", -1), ("_id", -1)]
        return await self.page(info, PaymentType, where=where, sort=sort, first=first, after=after)

    @field(Permission.INVOICE_READ, description="One credit note.")
    async def credit_note(self, info: Info, id: strawberry.ID) -> CreditNoteType:
        return await self.one(info, CreditNoteType, id)

    @field(Permission.INVOICE_READ, description="The clinic's credit notes, the latest first.")
    async def credit_notes(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: CreditNoteFilter | None = None
    ) -> Connection[CreditNoteType]:
        chosen = filter or CreditNoteFilter()
        named = ids(given(chosen), "patient_id", "invoice_id", at="filter")
        where = {**lists.equal(**_same(named)), **lists.within("issued_at", chosen.from_, chosen.to)}
        sort = [("issued_at", -1), ("_id", -1)]
        return await self.page(info, CreditNoteType, where=where, sort=sort, first=first, after=after)


def _same(named: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that equal what the filter of a list of payments or credit notes names."""
    return {**{name: named.get(name) for name in ("patient_id", "invoice_id")}, "number": as_given(named.get("number"))}


@strawberry.type
class PaymentMutation(Resolver):
    @field(Permission.PAYMENT_WRITE, description="Records money for an issued invoice: never more than is open.")
    async def record_payment(self, input: RecordPaymentInput) -> PaymentType:
        values = ids(given(input), "invoice_id")
        key = values.pop("idempotency_key", None)
        return shown(await payments.pay(values, key=key))

    @field(Permission.PAYMENT_WRITE, description="Gives money of a payment back; what is open grows by it.")
    async def refund_payment(self, input: RefundPaymentInput) -> PaymentType:
        values = ids(given(input), "payment_id")
        key = values.pop("idempotency_key", None)
        return shown(await payments.refund(values, key=key))

    @field(Permission.INVOICE_WRITE, description="Takes an issued invoice back, as a whole or line by line.")
    async def create_credit_note(self, input: CreateCreditNoteInput) -> CreditNoteType:
        values = ids(given(input), "invoice_id")
        key = values.pop("idempotency_key", None)
        return shown(await credit_notes.create(values, key=key))
