"""Invoices: made, issued, listed, called void; and what a patient owes."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import Maybe

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import computed, related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services.billing import balance, invoices, lists
from app.services.counters import as_given
from models import Invoice
from models.invoice import InvoiceStatus
from resolvers.base import Resolver, shown
from resolvers.billing import (
    BillingFilter,
    BillingStepType,
    BillLineInput,
    DiscountInput,
    DiscountType,
    InvoiceLineType,
    money,
    with_currency,
    with_line_ids,
)
from resolvers.staff import StaffType
from resolvers.values import MoneyType, day, described

if TYPE_CHECKING:
    from resolvers.patients import PatientType
    from resolvers.visits import VisitType

described(
    InvoiceStatus,
    "Where an invoice stands.",
    DRAFT="It is being written: it has no number, and may be changed.",
    ISSUED="It has its number, and nothing was paid yet.",
    PARTIALLY_PAID="Something was paid, and something is open.",
    PAID="Nothing of it is open.",
    VOID="It does not count.",
)


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


def _visit_type() -> type:
    from resolvers.visits import VisitType

    return VisitType


@row_type("Invoice", model=Invoice, read=Permission.INVOICE_READ, description="What a patient is asked to pay.")
class InvoiceType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    number: str | None = stored(description="Its number, once it is issued.")
    status: InvoiceStatus = stored(description="Where it stands.")
    doctor: StaffType | None = related(
        lambda: StaffType, key="doctor_id", description="Who saw the patient at that visit."
    )
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )
    visit: Annotated[VisitType, strawberry.lazy("resolvers.visits")] | None = related(
        _visit_type, key="visit_id", description="The visit that it is for, if it is for one."
    )
    lines: list[InvoiceLineType] = computed(
        "lines", "currency", by=with_currency("lines"), description="What it is for, line by line."
    )
    discount: DiscountType | None = stored(description="The discount off all lines together, as it was asked for.")
    net: MoneyType = money("net", "All lines before tax.")
    tax: MoneyType = money("tax", "The tax of all lines.")
    total: MoneyType = money("total", "All lines with tax.")
    paid: MoneyType = money("paid", "What was paid, less what was given back.")
    credited: MoneyType = money("credited", "What credit notes took off.")
    open: MoneyType = money("open", "What is left to pay; below zero it is the patient's.")
    notes: str | None = stored(description="The clinic's notes on it.")
    dated_at: datetime = stored(description="When it was issued; made, while it is a draft.")
    issued_at: datetime | None = stored(description="When it was issued.")
    due_on: date | None = day("due_on", "Until when it is to be paid.")
    voided_at: datetime | None = stored(description="When it was called void.")
    history: list[BillingStepType] = stored(description="The steps that it took, the first one first.")


@row_type("CurrencyBalance", description="The sums of a patient's invoices in one currency.")
class CurrencyBalanceType:
    invoiced: MoneyType = money("invoiced", "What was invoiced.")
    credited: MoneyType = money("credited", "What was credited.")
    paid: MoneyType = money("paid", "What was paid, less what was given back.")
    open: MoneyType = money("open", "What is left to pay; below zero it is the patient's.")
    overdue: MoneyType = money("overdue", "What of it should have been paid.")


@row_type("PatientBalance", description="What a patient owes the clinic, or has coming from it.")
class PatientBalanceType:
    sums: list[CurrencyBalanceType] = stored(description="One for each currency that was invoiced.")


@strawberry.input(description="Which invoices to list. All conditions must hold; days are those of `datedAt`.")
class InvoiceFilter(BillingFilter):
    status: InvoiceStatus | None = strawberry.field(default=None, description="Of this state.")
    overdue: bool = strawberry.field(default=False, description="Those alone that should have been paid.")


@strawberry.input(description="A new invoice, as a draft.")
class CreateInvoiceInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    lines: list[BillLineInput] = strawberry.field(description="What it is for, 1 to 100 lines.")
    visit_id: strawberry.ID | None = strawberry.field(
        default=None, description="The patient's visit that it is for, if it is for one."
    )
    discount: DiscountInput | None = strawberry.field(
        default=None, description="A discount off all lines together; an amount is split by what they cost."
    )
    notes: str | None = strawberry.field(default=None, description="The clinic's notes on it.")
    idempotency_key: str | None = strawberry.field(
        default=None, description="Makes repeats safe: the same key and input give the first answer again."
    )


@strawberry.input(description="Changes to a draft. What is left out stays as it is; null clears it.")
class UpdateInvoiceInput:
    id: strawberry.ID = strawberry.field(description="The invoice.")
    version: int = strawberry.field(description="The version that the change is based on.")
    lines: Maybe[list[BillLineInput]] = strawberry.field(description="What it is for; replaces all lines.")
    discount: Maybe[DiscountInput | None] = strawberry.field(description="A discount off all lines together.")
    notes: Maybe[str | None] = strawberry.field(description="The clinic's notes on it.")


@strawberry.input(description="Which draft to issue.")
class IssueInvoiceInput:
    id: strawberry.ID = strawberry.field(description="The invoice.")
    version: int = strawberry.field(description="The version that the step is based on.")
    due_on: date | None = strawberry.field(
        default=None, description="Until when it is to be paid; as the settings say when left out."
    )


@strawberry.input(description="Which invoice to call void, and why.")
class VoidInvoiceInput:
    id: strawberry.ID = strawberry.field(description="The invoice.")
    version: int = strawberry.field(description="The version that the step is based on.")
    reason: str = strawberry.field(description="Why; kept in the history.")


@strawberry.type
class InvoiceQuery(Resolver):
    @field(Permission.INVOICE_READ, description="One invoice.")
    async def invoice(self, info: Info, id: strawberry.ID) -> InvoiceType:
        return await self.one(info, InvoiceType, id)

    @field(Permission.INVOICE_READ, description="The clinic's invoices, the latest first.")
    async def invoices(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: InvoiceFilter | None = None
    ) -> Connection[InvoiceType]:
        chosen = filter or InvoiceFilter()
        sort = [("dated_at", -1), ("_id", -1)]
        return await self.page(info, InvoiceType, where=_where(chosen), sort=sort, first=first, after=after)

    @field(Permission.INVOICE_READ, description="What a patient owes, or has coming.")
    async def patient_balance(self, patient_id: strawberry.ID) -> PatientBalanceType:
        return shown(await balance.balance(object_id(patient_id, "patientId")))


def _where(filter: InvoiceFilter) -> dict[str, Any]:
    chosen = ids(given(filter), "patient_id", at="filter")
    same = lists.equal(patient_id=chosen.get("patient_id"), status=filter.status, number=as_given(filter.number))
    parts = [same, lists.within("dated_at", filter.from_, filter.to), lists.overdue() if filter.overdue else {}]
    kept = [part for part in parts if part]
    return {"$and": kept} if len(kept) > 1 else dict(*kept)


@strawberry.type
class InvoiceMutation(Resolver):
    @field(Permission.INVOICE_WRITE, description="Writes an invoice, with the patient's membership applied.")
    async def create_invoice(self, input: CreateInvoiceInput) -> InvoiceType:
        values = ids(given(input), "patient_id", "visit_id")
        key = values.pop("idempotency_key", None)
        return shown(await invoices.create({**values, "lines": with_line_ids(values["lines"])}, key=key))

    @field(Permission.INVOICE_WRITE, description="Changes a draft; the patient's membership is applied anew.")
    async def update_invoice(self, input: UpdateInvoiceInput) -> InvoiceType:
        changes = given(input)
        if "lines" in changes:
            changes["lines"] = with_line_ids(changes["lines"])
        return shown(await invoices.update(object_id(changes.pop("id"), "input.id"), changes.pop("version"), changes))

    @field(Permission.INVOICE_WRITE, description="Issues a draft: it gets its number, and is changed no more.")
    async def issue_invoice(self, input: IssueInvoiceInput) -> InvoiceType:
        return shown(await invoices.issue(object_id(input.id, "input.id"), input.version, input.due_on))

    @field(
        Permission.INVOICE_WRITE,
        description="Calls an invoice void of which nothing was paid; a paid one takes a credit note.",
    )
    async def void_invoice(self, input: VoidInvoiceInput) -> InvoiceType:
        return shown(await invoices.void(object_id(input.id, "input.id"), input.version, input.reason))
