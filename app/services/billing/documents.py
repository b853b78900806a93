"""Invoices and receipts as papers for the patient, in the clinic's language and its way of writing."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from bson import ObjectId

from app.errors import InvalidState, NotFound
from app.services.billing.formats import Formats
from app.services.billing.lines import number_in
from app.services.billing.paper import Column, Paper, drawn
from app.services.billing.words import WORDS
from app.services.changes import Row
from app.services.settings import clinic
from models import Invoice, Patient, Payment, Tenant
from models.invoice import InvoiceStatus
from models.payment import PaymentKind, PaymentMethod


async def invoice_pdf(id: ObjectId) -> tuple[str, bytes]:
    """An issued invoice: its number, and the PDF. Raises NOT_FOUND at `id`, or INVALID_STATE for a draft."""
    rows = await Invoice.rows({"_id": id}, limit=1)
    if not rows:
        raise NotFound.at("id")
    if rows[0]["status"] == InvoiceStatus.DRAFT.value:
        raise InvalidState("The invoice is a draft: issue it first.")
    paper = _Writer(await clinic()).invoice(rows[0], await _patient(rows[0]))
    return paper.number, await drawn(paper)


async def receipt_pdf(id: ObjectId) -> tuple[str, bytes]:
    """The receipt of a payment or refund: its number, and the PDF. Raises NOT_FOUND at `id`."""
    rows = await Payment.rows({"_id": id}, limit=1)
    invoices = await Invoice.rows({"_id": rows[0]["invoice_id"]}, limit=1) if rows else []
    if not invoices:
        raise NotFound.at("id")
    paper = _Writer(await clinic()).receipt(rows[0], invoices[0], await _patient(rows[0]))
    return paper.number, await drawn(paper)


async def _patient(row: Row) -> Row:
    rows = await Patient.rows({"_id": row["patient_id"]}, projection=["given_name", "family_name", "address"], limit=1)
    return rows[0] if rows else {}


class _Writer:
    """Writes rows as one clinic does."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant, settings = tenant, tenant.settings
        self._formats, self._words = Formats(settings), WORDS[settings.language]
        self._language = settings.language.value

    def invoice(self, row: Row, patient: Row) -> Paper:
        words, formats = self._words, self._formats
        void = row["status"] == InvoiceStatus.VOID.value
        facts = [(words["date"], formats.on(row["issued_at"] or row["dated_at"]))]
        if row.get("due_on"):
            facts.append((words["due"], formats.day(date.fromisoformat(row["due_on"]))))
        return Paper(
            language=self._language,
            title=words["invoice"],
            number=row.get("number") or "",
            sender=self._sender(),
            recipient=_recipient(patient),
            facts=facts,
            sums=self._sums(row),
            dated=row["issued_at"] or row["dated_at"],
            columns=self._columns(),
            rows=[self._line(line, row["currency"]) for line in row["lines"]],
            stamp=words["void"] if void else None,
        )

    def _columns(self) -> list[Column]:
        words = self._words
        return [
            Column(words["description"], 33, numbers=False),
            Column(words["quantity"], 11),
            Column(words["price"], 15),
            Column(words["discount"], 15),
            Column(words["tax"], 12),
            Column(words["amount"], 15),
        ]

    def _line(self, line: Row, currency: str) -> list[str]:
        off = sum((number_in(line, f"{name}_discount") for name in ("plan", "shared")), Decimal(0))
        off += number_in(line, "discount_amount")
        share = line.get("coverage")
        named = f"{line['description']}\n{self._words['plan']}: {share['plan_name']}" if share else line["description"]
        return [
            named,
            self._formats.number(number_in(line, "quantity")),
            self._formats.money(number_in(line, "unit_price"), currency),
            self._formats.money(-off, currency) if off else "",
            f"{self._formats.number(number_in(line, 'tax_rate'))}%",
            self._formats.money(number_in(line, "net"), currency),
        ]

    def _sums(self, row: Row) -> list[tuple[str, str]]:
        names = ["net", "tax", "total", *(name for name in ("credited", "paid") if number_in(row, name)), "open"]
        labels = {"net": "sum", "tax": "sum_tax"}
        return [
            (self._words[labels.get(name, name)], self._formats.money(number_in(row, name), row["currency"]))
            for name in names
        ]

    def receipt(self, row: Row, invoice: Row, patient: Row) -> Paper:
        words, formats = self._words, self._formats
        refund = row["kind"] == PaymentKind.REFUND.value
        facts = [
            (words["date"], formats.at(row["received_at"])),
            (words["for"], invoice.get("number") or ""),
            (words["method"], words[PaymentMethod(row["method"]).value]),
        ]
        facts += [(words[name], row[name]) for name in ("reference", "reason") if row.get(name)]
        return Paper(
            language=self._language,
            title=words["refund"] if refund else words["receipt"],
            number=row["number"],
            sender=self._sender(),
            recipient=_recipient(patient),
            facts=facts,
            sums=[
                (words["returned"] if refund else words["received"], self._money(row, "amount")),
                (words["open_now"], self._money(invoice, "open")),
            ],
            dated=row["received_at"],
        )

    def _money(self, row: Row, name: str) -> str:
        return self._formats.money(number_in(row, name), row["currency"])

    def _sender(self) -> list[str]:
        tenant = self._tenant
        address = tenant.address.model_dump()
        contact = [one for one in (tenant.phone, tenant.email) if one]
        return [tenant.display_name or tenant.name, *_address(address), *contact]


def _recipient(patient: Row) -> list[str]:
    """A patient who has left the clinic since has no name here any more."""
    name = f"{patient.get('given_name', '')} {patient.get('family_name', '')}".strip()
    return [name, *_address(patient.get("address") or {})] if name else []


def _address(address: Mapping[str, str | None]) -> list[str]:
    town = " ".join(one for name in ("zip_code", "city", "state") if (one := address.get(name)))
    return [one for one in (address.get("street"), town, address.get("country")) if one]
