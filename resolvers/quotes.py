"""Quotes: what something would cost, until a day."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import Maybe

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services.billing import lists, quotes
from app.services.counters import as_given
from models import Quote
from models.quote import QuoteStatus
from resolvers.base import Resolver, shown
from resolvers.billing import (
    BillingFilter,
    BillingStepType,
    BillLineInput,
    BillLineType,
    DiscountInput,
    DiscountType,
    money,
    with_currency,
    with_line_ids,
)
from resolvers.invoices import InvoiceType
from resolvers.values import MoneyType, day, described

if TYPE_CHECKING:
    from resolvers.patients import PatientType
    from resolvers.visits import VisitType

described(
    QuoteStatus,
    "Where a quote stands.",
    DRAFT="It is being written: it has no number, and may be changed.",
    SENT="The patient has it.",
    ACCEPTED="The patient agreed; it can be invoiced, once.",
    DECLINED="The patient did not agree.",
    EXPIRED="Its last day passed before the patient decided.",
)


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


def _visit_type() -> type:
    from resolvers.visits import VisitType

    return VisitType


def _status(row: Row) -> str:
    """A quote that was sent expires with its last day, whether or not anybody has asked since."""
    sent = row["status"] == QuoteStatus.SENT.value
    return QuoteStatus.EXPIRED.value if sent and quotes.is_over(row) else str(row["status"])


@row_type("Quote", model=Quote, read=Permission.INVOICE_READ, description="An offer to a patient.")
class QuoteType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    number: str | None = stored(description="Its number, once it was sent.")
    status: QuoteStatus = computed("status", "valid_until", by=_status, description="Where it stands.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )
    visit: Annotated[VisitType, strawberry.lazy("resolvers.visits")] | None = related(
        _visit_type, key="visit_id", description="The visit that it is for, if it is for one."
    )
    lines: list[BillLineType] = computed(
        "lines", "currency", by=with_currency("lines"), description="What it is for, line by line."
    )
    discount: DiscountType | None = stored(description="The discount off all lines together, as it was asked for.")
    net: MoneyType = money("net", "All lines before tax.")
    tax: MoneyType = money("tax", "The tax of all lines.")
    total: MoneyType = money("total", "All lines with tax.")
    valid_until: date | None = day("valid_until", "The last day on which it can be accepted.")
    notes: str | None = stored(description="The clinic's notes on it.")
    dated_at: datetime = stored(description="When it was sent; made, while it is a draft.")
    sent_at: datetime | None = stored(description="When it was sent.")
    invoiced_at: datetime | None = stored(description="When it was invoiced.")
    history: list[BillingStepType] = stored(description="The steps that it took, the first one first.")


@strawberry.input(description="Which quotes to list. All conditions must hold; days are those of `datedAt`.")
class QuoteFilter(BillingFilter):
    status: QuoteStatus | None = strawberry.field(default=None, description="Of this state.")


@strawberry.input(description="A new quote, as a draft.")
class CreateQuoteInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    lines: list[BillLineInput] = strawberry.field(description="What it is for, 1 to 100 lines.")
    visit_id: strawberry.ID | None = strawberry.field(
        default=None, description="The patient's visit that it is for, if it is for one."
    )
    discount: DiscountInput | None = strawberry.field(default=None, description="A discount off all lines together.")
    valid_until: date | None = strawberry.field(
        default=None, description="The last day on which it can be accepted; as the settings say when left out."
    )
    notes: str | None = strawberry.field(default=None, description="The clinic's notes on it.")
    idempotency_key: str | None = strawberry.field(
        default=None, description="Makes repeats safe: the same key and input give the first answer again."
    )


@strawberry.input(description="Changes to a draft. What is left out stays as it is; null clears it.")
class UpdateQuoteInput:
    id: strawberry.ID = strawberry.field(description="The quote.")
    version: int = strawberry.field(description="The version that the change is based on.")
    lines: Maybe[list[BillLineInput]] = strawberry.field(description="What it is for; replaces all lines.")
    discount: Maybe[DiscountInput | None] = strawberry.field(description="A discount off all lines together.")
    valid_until: Maybe[date] = strawberry.field(description="The last day on which it can be accepted.")
    notes: Maybe[str | None] = strawberry.field(description="The clinic's notes on it.")


@strawberry.input(description="A draft that is to be sent.")
class SendQuoteInput:
    id: strawberry.ID = strawberry.field(description="The quote.")
    version: int = strawberry.field(description="The version that the step is based on.")


@strawberry.input(description="A quote that the patient agrees to.")
class AcceptQuoteInput:
    id: strawberry.ID = strawberry.field(description="The quote.")
    version: int = strawberry.field(description="The version that the step is based on.")


@strawberry.input(description="A quote that the patient does not agree to.")
class DeclineQuoteInput:
    id: strawberry.ID = strawberry.field(description="The quote.")
    version: int = strawberry.field(description="The version that the step is based on.")
    reason: str | None = strawberry.field(default=None, description="Why; kept in the history.")


@strawberry.input(description="An accepted quote that is to be invoiced.")
class InvoiceQuoteInput:
    quote_id: strawberry.ID = strawberry.field(description="The quote.")
    idempotency_key: str | None = strawberry.field(
        default=None, description="Makes repeats safe: the same key and input give the first answer again."
    )


@strawberry.type
class QuoteQuery(Resolver):
    @field(Permission.INVOICE_READ, description="One quote.")
    async def quote(self, info: Info, id: strawberry.ID) -> QuoteType:
        return await self.one(info, QuoteType, id)

    @field(Permission.INVOICE_READ, description="The clinic's quotes, the latest first.")
    async def quotes(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: QuoteFilter | None = None
    ) -> Connection[QuoteType]:
        chosen = filter or QuoteFilter()
        of = ids(given(chosen), "patient_id", at="filter").get("patient_id")
        same = lists.equal(patient_id=of, number=as_given(chosen.number))
        where = {**same, **lists.within("dated_at", chosen.from_, chosen.to)}
        if chosen.status is not None:
            where |= quotes.of_status(chosen.status)
        sort = [("dated_at", -1), ("_id", -1)]
        return await self.page(info, QuoteType, where=where, sort=sort, first=first, after=after)


@strawberry.type
class QuoteMutation(Resolver):
    @field(Permission.INVOICE_WRITE, description="Writes a quote.")
    async def create_quote(self, input: CreateQuoteInput) -> QuoteType:
        values = ids(given(input), "patient_id", "visit_id")
        key = values.pop("idempotency_key", None)
        return shown(await quotes.create({**values, "lines": with_line_ids(values["lines"])}, key=key))

    @field(Permission.INVOICE_WRITE, description="Changes a quote that was not sent yet.")
    async def update_quote(self, input: UpdateQuoteInput) -> QuoteType:
        changes = given(input)
        if "lines" in changes:
            changes["lines"] = with_line_ids(changes["lines"])
        return shown(await quotes.update(object_id(changes.pop("id"), "input.id"), changes.pop("version"), changes))

    @field(Permission.INVOICE_WRITE, description="Gives a quote its number; the patient may accept it from now on.")
    async def send_quote(self, input: SendQuoteInput) -> QuoteType:
        return shown(await quotes.send(object_id(input.id, "input.id"), input.version))

    @field(Permission.INVOICE_WRITE, description="Notes that the patient agreed, until the quote's last day.")
    async def accept_quote(self, input: AcceptQuoteInput) -> QuoteType:
        key = object_id(input.id, "input.id")
        return shown(await quotes.decide(key, input.version, QuoteStatus.ACCEPTED, None))

    @field(Permission.INVOICE_WRITE, description="Notes that the patient did not agree.")
    async def decline_quote(self, input: DeclineQuoteInput) -> QuoteType:
        key = object_id(input.id, "input.id")
        return shown(await quotes.decide(key, input.version, QuoteStatus.DECLINED, input.reason))

    @field(Permission.INVOICE_WRITE, description="Makes a draft invoice of an accepted quote, once.")
    async def invoice_quote(self, input: InvoiceQuoteInput) -> InvoiceType:
        return shown(await quotes.invoice(object_id(input.quote_id, "input.quoteId"), key=input.idempotency_key))
