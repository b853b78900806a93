"""Invoices and receipts as PDF."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.graphql.access import require
from app.graphql.inputs import object_id
from app.http.registry import RouteKind, RouteSpec
from app.permissions import Permission
from app.services.billing import documents


def billing_document_specs() -> list[RouteSpec]:
    """For staff who may see invoices, or payments, and patients: their names stand on the paper."""
    return [
        RouteSpec("/api/invoices/{id}/pdf", {"GET"}, RouteKind.STAFF, invoice, "invoice-pdf"),
        RouteSpec("/api/payments/{id}/receipt", {"GET"}, RouteKind.STAFF, receipt, "receipt-pdf"),
    ]


async def invoice(request: Request) -> Response:
    """`GET /api/invoices/{id}/pdf`."""
    require(Permission.INVOICE_READ)
    require(Permission.PATIENT_READ)
    return _attached(*await documents.invoice_pdf(object_id(request.path_params["id"], "id")))


async def receipt(request: Request) -> Response:
    """`GET /api/payments/{id}/receipt`."""
    require(Permission.PAYMENT_READ)
    require(Permission.PATIENT_READ)
    return _attached(*await documents.receipt_pdf(object_id(request.path_params["id"], "id")))


def _attached(number: str, content: bytes) -> Response:
    """Numbers are letters, digits and hyphens: they need no quoting in a file name."""
    headers = {"content-disposition": f'attachment; filename="{number}.pdf"'}
    return Response(content, media_type="application/pdf", headers=headers)
