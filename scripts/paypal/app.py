"""The simulator's HTTP: PayPal's REST API, the page on which a payer agrees, and a page that shows all there is."""

from __future__ import annotations

import asyncio
import random
import secrets
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from decimal import Decimal
from html import escape
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from app.integrations.paypal_signatures import signed_text
from scripts.paypal.certificates import Chain, make_chain
from scripts.paypal.state import Json, Ledger, Refusal, shown
from scripts.paypal.webhooks import CERTIFICATE, Outlet, event_of

CLIENT_ID = "simulated-client"
CLIENT_SECRET = "simulated-client-secret"
WEBHOOK_ID = "SIMULATEDWEBHOOK"
TOKEN_SECONDS = 32_400

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(slots=True)
class Faults:
    """What goes wrong: every call takes `latency` seconds, and of the API's calls the share `failures` is answered
    500, half of them after the work was done."""

    latency: float = 0.0
    failures: float = 0.0


@dataclass(slots=True)
class Simulator:
    """One PayPal. `url` is where it listens, `webhook` where its events go (None: nowhere, they are only kept)."""

    url: str
    webhook: str | None = None
    chain: Chain = field(default_factory=make_chain)
    faults: Faults = field(default_factory=Faults)
    ledger: Ledger = field(default_factory=Ledger)
    outlet: Outlet = field(init=False)
    tokens: set[str] = field(default_factory=set)
    answers: dict[tuple[str, str], tuple[int, Json]] = field(default_factory=dict)
    """What was answered to a path under a `PayPal-Request-Id`."""
    calls: list[str] = field(default_factory=list)
    """`METHOD path` of each call of the API."""

    def __post_init__(self) -> None:
        self.outlet = Outlet(self.url, self.chain, WEBHOOK_ID, self.webhook)
        self.ledger.url = self.url
        self.ledger.tell = lambda kind, resource: self.outlet.send(event_of(kind, resource))

    def app(self) -> Starlette:
        """As an ASGI application."""
        api = [
            ("POST", "/v2/checkout/orders", self._create_order),
            ("GET", "/v2/checkout/orders/{id}", self._get_order),
            ("POST", "/v2/checkout/orders/{id}/capture", self._capture),
            ("POST", "/v1/billing/subscriptions", self._create_subscription),
            ("GET", "/v1/billing/subscriptions/{id}", self._get_subscription),
            ("GET", "/v1/billing/subscriptions/{id}/transactions", self._get_transactions),
            ("POST", "/v1/billing/subscriptions/{id}/cancel", self._cancel_subscription),
            ("POST", "/v1/notifications/verify-webhook-signature", self._verify),
        ]
        return Starlette(
            routes=[
                Route("/", self.overview, methods=["GET"]),
                Route("/act/{what}/{id}", self.act, methods=["POST"]),
                Route("/approve/{id}", self.approve, methods=["GET", "POST"]),
                Route("/v1/oauth2/token", self.token, methods=["POST"]),
                Route(f"/v1/notifications/certs/{CERTIFICATE}", self.certificate, methods=["GET"]),
                *(Route(path, self._called(endpoint), methods=[method]) for method, path, endpoint in api),
            ]
        )

    # --- the API ----------------------------------------------------------------------------------------------------

    async def token(self, request: Request) -> Response:
        """Client credentials, for an access token."""
        kind, _, coded = request.headers.get("authorization", "").partition(" ")
        name, _, secret = b64decode(coded).decode().partition(":") if kind == "Basic" else ("", "", "")
        if (unquote(name), unquote(secret)) != (CLIENT_ID, CLIENT_SECRET):
            return JSONResponse({"error": "invalid_client", "error_description": "Client Authentication failed"}, 401)
        token = secrets.token_urlsafe(32)
        self.tokens.add(token)
        return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS})

    async def certificate(self, _: Request) -> Response:
        return Response(self.chain.chain, media_type="application/x-pem-file")

    def _called(self, endpoint: Callable[[Request], Awaitable[tuple[int, Json]]]) -> Endpoint:
        """An endpoint of the API: with its token, its faults, and each write once."""

        async def call(request: Request) -> Response:
            self.calls.append(f"{request.method} {request.url.path}")
            await asyncio.sleep(self.faults.latency)
            if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.tokens:
                return JSONResponse({"error": "invalid_token"}, 401)
            fails = random.random() < self.faults.failures  # noqa: S311 - it plays dice
            if fails and random.random() < 0.5:  # noqa: S311
                return JSONResponse({"name": "INTERNAL_SERVER_ERROR"}, 500)
            status, told = await self._once(request, endpoint)
            if fails:
                return JSONResponse({"name": "INTERNAL_SERVER_ERROR"}, 500)
            return JSONResponse(told, status) if status != 204 else Response(status_code=204)

        return call

    async def _once(
        self, request: Request, endpoint: Callable[[Request], Awaitable[tuple[int, Json]]]
    ) -> tuple[int, Json]:
        key = (request.url.path, request.headers.get("paypal-request-id", ""))
        if key[1] and key in self.answers:
            return self.answers[key]
        try:
            answer = await endpoint(request)
        except Refusal as refusal:
            return refusal.status, refusal.body
        if key[1]:
            self.answers[key] = answer
        return answer

    async def _create_order(self, request: Request) -> tuple[int, Json]:
        return 201, shown(self.ledger.create_order(await request.json()))

    async def _get_order(self, request: Request) -> tuple[int, Json]:
        return 200, shown(self.ledger.order(request.path_params["id"]))

    async def _capture(self, request: Request) -> tuple[int, Json]:
        return 201, shown(self.ledger.capture(request.path_params["id"]))

    async def _create_subscription(self, request: Request) -> tuple[int, Json]:
        return 201, shown(self.ledger.create_subscription(await request.json()))

    async def _get_subscription(self, request: Request) -> tuple[int, Json]:
        return 200, shown(self.ledger.subscription(request.path_params["id"]))

    async def _get_transactions(self, request: Request) -> tuple[int, Json]:
        self.ledger.subscription(request.path_params["id"])
        start, end = request.query_params["start_time"], request.query_params["end_time"]
        taken = self.ledger.transactions[request.path_params["id"]]
        return 200, {"transactions": [one for one in taken if start <= one["time"] <= end]}

    async def _cancel_subscription(self, request: Request) -> tuple[int, Json]:
        self.ledger.cancel_subscription(request.path_params["id"])
        return 204, {}

    async def _verify(self, request: Request) -> tuple[int, Json]:
        asked: dict[str, Any] = await request.json()
        raw = await request.body()
        body = raw[raw.index(b'"webhook_event":') + len(b'"webhook_event":') : -1].strip()
        expected = self.chain.sign(
            signed_text(asked["transmission_id"], asked["transmission_time"], asked["webhook_id"], body)
        )
        same = asked["webhook_id"] == WEBHOOK_ID and b64decode(asked["transmission_sig"]) == expected
        return 200, {"verification_status": "SUCCESS" if same else "FAILURE"}

    # --- the pages --------------------------------------------------------------------------------------------------

    async def approve(self, request: Request) -> Response:
        """The page on which the payer agrees to pay, or not."""
        id = request.path_params["id"]
        try:
            one = self.ledger.subscription(id) if id.startswith("I-") else self.ledger.order(id)
        except Refusal:
            return HTMLResponse(_page("<p>There is no such payment.</p>"), 404)
        if request.method == "GET":
            return HTMLResponse(_page(_asked(id, one)))
        form = await request.form()
        if form.get("answer") != "agree":
            return RedirectResponse(one["_back"][1], 303)
        agree = self.ledger.approve_subscription if id.startswith("I-") else self.ledger.approve_order
        return RedirectResponse(agree(id), 303)

    async def overview(self, _: Request) -> Response:
        """Everything that was ordered, with what else may happen to it."""
        orders = [_row(id, one, ["refund"] if "payments" in one["purchase_units"][0] else []) for id, one in
                  self.ledger.orders.items()]  # fmt: skip
        running = {"ACTIVE": ["bill", "suspend", "cancel"], "SUSPENDED": ["cancel"]}
        agreements = [_row(id, one, running.get(one["status"], [])) for id, one in self.ledger.subscriptions.items()]
        events = "".join(f"<li>{escape(one.type)} {escape(one.id)}</li>" for one in self.outlet.sent[-50:])
        rows = "".join([*orders, *agreements]) or "<tr><td>Nothing was ordered yet.</td></tr>"
        return HTMLResponse(_page(f"<table>{rows}</table><h2>Events</h2><ul>{events}</ul>"))

    async def act(self, request: Request) -> Response:
        """What happens to an order or an agreement by itself at PayPal."""
        what, id = request.path_params["what"], request.path_params["id"]
        acts: dict[str, Callable[[str], object]] = {
            "refund": self.ledger.refund,
            "bill": self.ledger.bill,
            "suspend": self.ledger.suspend,
            "cancel": self.ledger.cancel_subscription,
        }
        try:
            acts[what](id)
        except (Refusal, KeyError):
            return HTMLResponse(_page("<p>This cannot be done.</p>"), 409)
        return RedirectResponse("/", 303)


_STYLE = (
    "body{font:16px system-ui;max-width:42rem;margin:3rem auto;padding:0 1rem}td{padding:.3rem .8rem .3rem 0}"
    "button{font:inherit;padding:.4rem 1rem;margin-right:.5rem}form{display:inline}"
)


def _page(body: str) -> str:
    head = f"<meta charset=utf-8><title>PayPal simulator</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang=en>{head}<body><h1>PayPal simulator</h1><p>No money is moved.</p>{body}</body>"


def _asked(id: str, one: Json) -> str:
    price = one["_price"] if id.startswith("I-") else one["purchase_units"][0]["amount"]
    what = "each time, until it is ended" if id.startswith("I-") else one["purchase_units"][0].get("description", "")
    amount = f"{Decimal(price['value']):.2f} {price['currency_code']}"
    return (
        f"<p>You are asked to pay <strong>{escape(amount)}</strong> {escape(what)}.</p><form method=post>"
        "<button name=answer value=agree>Agree and pay</button><button name=answer value=cancel>Cancel</button></form>"
    )


def _row(id: str, one: Json, acts: list[str]) -> str:
    forms = "".join(f"<form method=post action=/act/{act}/{id}><button>{act}</button></form>" for act in acts)
    return f"<tr><td><a href=/approve/{id}>{id}</a></td><td>{escape(one['status'])}</td><td>{forms}</td></tr>"
