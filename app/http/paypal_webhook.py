"""`POST /api/subscription/webhook`: PayPal tells that something happened, on the system's own host, signed."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from app.config import Settings
from app.http.answers import json_response
from app.http.bearer import require_root_host
from app.http.body import parse_json_object
from app.http.csrf import require_json
from app.http.peers import single_value
from app.http.registry import RouteKind, RouteSpec
from app.integrations.paypal_signatures import SignedEvent
from app.services.inbox import Sweeper
from app.services.subscription.events import receive

PATH = "/api/subscription/webhook"
MAX_BODY_BYTES = 262_144

_HEADERS = (
    b"paypal-transmission-id",
    b"paypal-transmission-time",
    b"paypal-transmission-sig",
    b"paypal-cert-url",
    b"paypal-auth-algo",
)


def paypal_webhook_specs(settings: Settings, inbox: Sweeper) -> list[RouteSpec]:
    """The route. `inbox` is told of each event that was stored."""
    endpoint = partial(take_event, settings, inbox)
    return [RouteSpec(PATH, {"POST"}, RouteKind.WEBHOOK, endpoint, "paypal-webhook", max_body_bytes=MAX_BODY_BYTES)]


async def take_event(settings: Settings, inbox: Sweeper, request: Request) -> Response:
    """Answers 200 once the event is stored; it is handled after that, and what becomes of it PayPal is not told."""
    require_root_host()
    headers = request.scope["headers"]
    require_json(headers)
    transmission, moment, signature, url, algorithm = (single_value(headers, name) or "" for name in _HEADERS)
    body = await request.body()
    event = SignedEvent(transmission, moment, signature, url, algorithm, body)
    fresh = await receive(event, partial(parse_json_object, body), settings)
    inbox.wake()
    return json_response({"success": True, "duplicate": not fresh})
