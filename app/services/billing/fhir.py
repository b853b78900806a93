"""Invoices as FHIR has them. Source: HL7 FHIR R4B (4.3.0), resource Invoice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from app.services.billing.lines import number_in
from models.invoice import InvoiceStatus

Resource = dict[str, Any]
Row = Mapping[str, Any]

STATUS = {
    InvoiceStatus.DRAFT.value: "draft",
    InvoiceStatus.ISSUED.value: "issued",
    InvoiceStatus.PARTIALLY_PAID.value: "issued",
    InvoiceStatus.PAID.value: "balanced",
    InvoiceStatus.VOID.value: "cancelled",
}


def invoice_resource(row: Row, subject: Resource, issuer: Resource, digits: Callable[[str], Any]) -> Resource:
    """One invoice. `digits` makes a number of JSON of a decimal's text, so that none of its digits is lost."""

    def money(value: Decimal) -> Resource:
        return {"value": digits(f"{value:f}"), "currency": row["currency"]}

    def component(kind: str, value: Decimal) -> Resource:
        return {"type": kind, "amount": money(value)}

    def item(line: Row) -> Resource:
        off = sum((number_in(line, name) for name in _DISCOUNTS), Decimal(0))
        parts = [component("base", number_in(line, "gross"))]
        parts += [component("discount", -off)] if off else []
        parts += [component("tax", number_in(line, "tax"))]
        return {
            "sequence": line["number"],
            "chargeItemCodeableConcept": {"text": line["description"]},
            "priceComponent": parts,
        }

    resource: Resource = {
        "resourceType": "Invoice",
        "id": str(row["_id"]),
        "status": STATUS[row["status"]],
        "subject": subject,
        "issuer": issuer,
        "date": (row.get("issued_at") or row["dated_at"]).isoformat(),
        "lineItem": [item(line) for line in row["lines"]],
        "totalNet": money(number_in(row, "net")),
        "totalGross": money(number_in(row, "total")),
    }
    return resource | ({"identifier": [{"value": row["number"]}]} if row.get("number") else {})


_DISCOUNTS = ("discount_amount", "plan_discount", "shared_discount")
