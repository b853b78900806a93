"""What the simulator knows: orders, agreements and what was paid by them, kept in memory as PayPal tells them."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

Json = dict[str, Any]
PAYER = "payer@example.com"
_ALPHABET = string.ascii_uppercase + string.digits


class Refusal(Exception):
    """PayPal's error answer: its HTTP status, name and issue."""

    def __init__(self, status: int, name: str, issue: str | None = None) -> None:
        super().__init__(issue or name)
        self.status = status
        self.body: Json = {"name": name, "message": name, "debug_id": secrets.token_hex(7)}
        if issue:
            self.body["details"] = [{"issue": issue, "description": issue}]


def new_id(length: int = 17) -> str:
    """An id as PayPal's look."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def instant(moment: datetime | None = None) -> str:
    """A moment as PayPal writes it; now, unless given."""
    return (moment or datetime.now(UTC)).isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Ledger:
    """All orders and agreements. `tell` is called with each event's type and resource; `url` is where this is."""

    url: str = ""
    tell: Callable[[str, Json], None] = lambda *_: None
    orders: dict[str, Json] = field(default_factory=dict)
    subscriptions: dict[str, Json] = field(default_factory=dict)
    transactions: dict[str, list[Json]] = field(default_factory=dict)
    declines: bool = False
    """Whether payers' cards are declined at present."""

    # --- orders -----------------------------------------------------------------------------------------------------

    def create_order(self, body: Mapping[str, Any]) -> Json:
        """An order that waits for its payer."""
        units = body.get("purchase_units")
        if body.get("intent") != "CAPTURE" or not isinstance(units, list) or len(units) != 1:
            raise Refusal(400, "INVALID_REQUEST", "INVALID_PARAMETER_VALUE")
        _check_amount(units[0].get("amount"))
        id = new_id()
        context = body["payment_source"]["paypal"]["experience_context"]
        self.orders[id] = {
            "id": id,
            "intent": "CAPTURE",
            "status": "PAYER_ACTION_REQUIRED",
            "create_time": instant(),
            "purchase_units": [{"reference_id": "default", **units[0]}],
            "links": self._links("checkout/orders", id, "payer-action"),
            "_back": (context["return_url"], context["cancel_url"]),
        }
        return self.orders[id]

    def order(self, id: str) -> Json:
        return _known(self.orders, id)

    def approve_order(self, id: str) -> str:
        """The payer agrees; where they go back to."""
        order = self.order(id)
        if order["status"] == "PAYER_ACTION_REQUIRED":
            order["status"] = "APPROVED"
            order["payer"] = {"email_address": PAYER, "payer_id": "SIMULATEDPAYER"}
            self.tell("CHECKOUT.ORDER.APPROVED", order)
        back: str = order["_back"][0]
        return f"{back}{'&' if '?' in back else '?'}token={id}&PayerID=SIMULATEDPAYER"

    def capture(self, id: str) -> Json:
        """Takes the money of an order that was agreed to."""
        order = self.order(id)
        if order["status"] == "COMPLETED":
            raise Refusal(422, "UNPROCESSABLE_ENTITY", "ORDER_ALREADY_CAPTURED")
        if order["status"] != "APPROVED":
            raise Refusal(422, "UNPROCESSABLE_ENTITY", "ORDER_NOT_APPROVED")
        if self.declines:
            raise Refusal(422, "UNPROCESSABLE_ENTITY", "INSTRUMENT_DECLINED")
        unit = order["purchase_units"][0]
        capture = {
            "id": new_id(),
            "status": "COMPLETED",
            "amount": unit["amount"],
            "custom_id": unit.get("custom_id"),
            "create_time": instant(),
            "final_capture": True,
            "supplementary_data": {"related_ids": {"order_id": id}},
        }
        unit["payments"] = {"captures": [capture], "refunds": []}
        order["status"] = "COMPLETED"
        self.tell("PAYMENT.CAPTURE.COMPLETED", capture)
        self.tell("CHECKOUT.ORDER.COMPLETED", order)
        return order

    def refund(self, id: str, amount: Decimal | None = None) -> Json:
        """Gives money of a captured order back: all of it, or that much."""
        order = self.order(id)
        unit = order["purchase_units"][0]
        capture = unit["payments"]["captures"][0]
        whole = Decimal(capture["amount"]["value"])
        given = amount or whole
        refund = {
            "id": new_id(),
            "status": "COMPLETED",
            "amount": {**capture["amount"], "value": f"{given:.2f}"},
            "create_time": instant(),
            "links": [{"rel": "up", "href": f"{self.url}/v2/payments/captures/{capture['id']}", "method": "GET"}],
        }
        unit["payments"]["refunds"].append(refund)
        total = sum(Decimal(one["amount"]["value"]) for one in unit["payments"]["refunds"])
        capture["status"] = "REFUNDED" if total >= whole else "PARTIALLY_REFUNDED"
        self.tell("PAYMENT.CAPTURE.REFUNDED", refund)
        return refund

    # --- agreements -------------------------------------------------------------------------------------------------

    def create_subscription(self, body: Mapping[str, Any]) -> Json:
        """An agreement that waits for its payer. Any plan exists; its price comes with the request."""
        if not str(body.get("plan_id", "")).startswith("P-"):
            raise Refusal(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")
        price = body["plan"]["billing_cycles"][0]["pricing_scheme"]["fixed_price"]
        _check_amount(price)
        id = f"I-{new_id(12)}"
        context = body["application_context"]
        self.subscriptions[id] = {
            "id": id,
            "plan_id": body["plan_id"],
            "custom_id": body.get("custom_id"),
            "status": "APPROVAL_PENDING",
            "status_update_time": instant(),
            "create_time": instant(),
            "links": self._links("billing/subscriptions", id, "approve"),
            "_price": price,
            "_back": (context["return_url"], context["cancel_url"]),
        }
        self.transactions[id] = []
        return self.subscriptions[id]

    def subscription(self, id: str) -> Json:
        return _known(self.subscriptions, id)

    def approve_subscription(self, id: str) -> str:
        """The payer agrees, and the first payment is taken; where they go back to."""
        one = self.subscription(id)
        if one["status"] == "APPROVAL_PENDING":
            one["subscriber"] = {"email_address": PAYER, "payer_id": "SIMULATEDPAYER"}
            self._stand(one, "ACTIVE", "BILLING.SUBSCRIPTION.ACTIVATED")
            self.bill(id)
        back: str = one["_back"][0]
        return f"{back}{'&' if '?' in back else '?'}subscription_id={id}&ba_token=BA-{id[2:]}"

    def bill(self, id: str, at: datetime | None = None) -> Json:
        """Takes the next payment of an agreement."""
        one = self.subscription(id)
        if one["status"] != "ACTIVE":
            raise Refusal(422, "UNPROCESSABLE_ENTITY", "SUBSCRIPTION_STATUS_INVALID")
        moment = at or datetime.now(UTC)
        taken = {
            "id": new_id(),
            "status": "COMPLETED",
            "amount_with_breakdown": {"gross_amount": one["_price"]},
            "payer_email": PAYER,
            "time": instant(moment),
        }
        self.transactions[id].append(taken)
        one["billing_info"] = {"next_billing_time": instant(moment + timedelta(days=30))}
        sale = {"id": taken["id"], "state": "completed", "billing_agreement_id": id, "amount": one["_price"]}
        self.tell("PAYMENT.SALE.COMPLETED", sale)
        return taken

    def suspend(self, id: str) -> None:
        """Payments have failed too often."""
        one = self.subscription(id)
        self.tell("BILLING.SUBSCRIPTION.PAYMENT.FAILED", one)
        self._stand(one, "SUSPENDED", "BILLING.SUBSCRIPTION.SUSPENDED")

    def cancel_subscription(self, id: str) -> None:
        """The payer, or whoever is paid, ends an agreement."""
        one = self.subscription(id)
        if one["status"] not in ("ACTIVE", "SUSPENDED"):
            raise Refusal(422, "UNPROCESSABLE_ENTITY", "SUBSCRIPTION_STATUS_INVALID")
        self._stand(one, "CANCELLED", "BILLING.SUBSCRIPTION.CANCELLED")

    def _stand(self, one: Json, status: str, event: str) -> None:
        one["status"], one["status_update_time"] = status, instant()
        self.tell(event, one)

    def _links(self, resource: str, id: str, approve: str) -> list[Json]:
        return [
            {"rel": "self", "href": f"{self.url}/{resource}/{id}", "method": "GET"},
            {"rel": approve, "href": f"{self.url}/approve/{id}", "method": "GET"},
        ]


def _known(of: Mapping[str, Json], id: str) -> Json:
    if id not in of:
        raise Refusal(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID")
    return of[id]


def _check_amount(amount: Any) -> None:
    value = amount.get("value") if isinstance(amount, dict) else None
    if not isinstance(value, str) or not value.replace(".", "", 1).isdigit() or Decimal(value) <= 0:
        raise Refusal(422, "UNPROCESSABLE_ENTITY", "INVALID_PARAMETER_VALUE")


def shown(told: Json) -> Json:
    """What is answered: all but what the simulator keeps for itself."""
    return {name: value for name, value in told.items() if not name.startswith("_")}
