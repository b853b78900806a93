"""`POST /api/lab-results/third-party/webhook`: laboratories deliver to a clinic, on its own host, signed."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.errors import NotFound
from app.http.answers import json_response
from app.http.body import parse_json_object
from app.http.csrf import require_json
from app.http.peers import single_value
from app.http.registry import RouteKind, RouteSpec
from app.services.lab_connections import Signed
from app.services.lab_intake import receive
from app.services.lab_reports import DeliveryForm, read_delivery
from app.tenancy.scope import current_scope

MAX_BODY_BYTES = 524_288

_HEADERS = (b"x-lab-key", b"x-lab-timestamp", b"x-lab-nonce", b"x-lab-signature")


def lab_webhook_specs() -> list[RouteSpec]:
    """The route; each clinic's host has it, the root host answers 404."""
    return [
        RouteSpec(
            "/api/lab-results/third-party/webhook",
            {"POST"},
            RouteKind.WEBHOOK,
            take_delivery,
            "lab-webhook",
            max_body_bytes=MAX_BODY_BYTES,
        )
    ]


async def take_delivery(request: Request) -> Response:
    """Answers 200 once the event is stored, whatever will become of it: a laboratory learns nothing of patients."""
    if current_scope().tenant is None:
        raise NotFound
    headers = request.scope["headers"]
    require_json(headers)
    key_id, timestamp, nonce, signature = (single_value(headers, name) or "" for name in _HEADERS)
    receipt = await receive(Signed(key_id, timestamp, nonce, signature, await request.body()), _event)
    return json_response({"success": True, "eventId": receipt.event_id, "duplicate": receipt.duplicate})


def _event(body: bytes) -> DeliveryForm:
    return read_delivery(parse_json_object(body))
