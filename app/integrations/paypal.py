"""PayPal's REST API: orders that are paid once, subscriptions that renew themselves, and what became of both.

Orders v2, Subscriptions v1 and Webhooks v1, as developer.paypal.com documents them. Every write carries a
`PayPal-Request-Id`, under which PayPal does it once, so a call may be repeated when its answer was lost.
"""

from __future__ import annotations

import asyncio
import random
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.config import Settings
from app.errors import Unavailable
from app.late import late

if TYPE_CHECKING:
    import httpx
    from authlib.common import errors as authlib_errors  # type: ignore[import-untyped]
else:
    httpx = late("httpx")
    authlib_errors = late("authlib.common.errors")

TIMEOUT = (3.0, 10.0, 10.0, 10.0)
"""Seconds to connect, to read, to write and to wait for a connection."""
TOTAL_SECONDS = 25.0
TRIES = 3
FIRST_PAUSE = 0.2
AGAIN = frozenset({429, 500, 502, 503, 504})
"""Statuses after which the same call is made once more."""
NOT_FOUND = 404
BRAND = "Polyclinic"

M = TypeVar("M", bound=BaseModel)


class PaypalDown(Unavailable):
    """PayPal does not answer, or not as it promises to."""

    default_message = "PayPal cannot be reached. Try again shortly."


class PaypalRefused(Exception):
    """PayPal does not do it. `issue` is its own word for why, such as `ORDER_NOT_APPROVED`."""

    def __init__(self, status: int, issue: str) -> None:
        super().__init__(f"{status} {issue}")
        self.status = status
        self.issue = issue


# --- what PayPal tells ----------------------------------------------------------------------------------------------


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True)


class Money(_Told):
    """An amount as PayPal writes it."""

    currency_code: str
    value: Decimal


class Link(_Told):
    href: str
    rel: str


class Capture(_Told):
    """Money that was taken for an order."""

    id: str
    status: str
    amount: Money
    create_time: datetime


class Refund(_Told):
    """Money that was given back of an order's."""

    status: str
    amount: Money


class UnitPayments(_Told):
    captures: list[Capture] = Field(default_factory=list)
    refunds: list[Refund] = Field(default_factory=list)


class PurchaseUnit(_Told):
    custom_id: str | None = None
    amount: Money
    payments: UnitPayments = UnitPayments()


class Payer(_Told):
    email_address: str | None = None


class Order(_Told):
    """An order as it stands."""

    id: str
    status: str
    purchase_units: list[PurchaseUnit]
    payer: Payer = Payer()
    links: list[Link] = Field(default_factory=list)


class BillingInfo(_Told):
    next_billing_time: datetime | None = None


class Subscription(_Told):
    """An agreement as it stands."""

    id: str
    status: str
    status_update_time: datetime | None = None
    plan_id: str | None = None
    custom_id: str | None = None
    billing_info: BillingInfo = BillingInfo()
    subscriber: Payer = Payer()
    links: list[Link] = Field(default_factory=list)


class Breakdown(_Told):
    gross_amount: Money


class Transaction(_Told):
    """Money that was taken by an agreement."""

    id: str
    status: str
    amount_with_breakdown: Breakdown
    time: datetime
    payer_email: str | None = None


class _Transactions(_Told):
    transactions: list[Transaction] = Field(default_factory=list)


class _Verified(_Told):
    verification_status: str


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a payer is asked for. `custom_id` is ours and comes back with all that follows; `back` and `cancelled` are
    where PayPal sends the payer afterwards."""

    custom_id: str
    description: str
    amount: Decimal
    currency: str
    back: str
    cancelled: str


# --- the calls ------------------------------------------------------------------------------------------------------


class Paypal:
    """One app at PayPal. The access token is fetched at the first call and renewed before it ends."""

    def __init__(self, url: str, client_id: str, client_secret: str) -> None:
        self._url = url
        self._starting = asyncio.Lock()
        self._client = _oauth_client(url, client_id, client_secret)

    async def close(self) -> None:
        await self._client.aclose()

    async def create_order(self, purchase: Purchase) -> Order:
        """An order that waits for the payer. Raises `PaypalDown` or `PaypalRefused`, as all of these do."""
        body = {
            "intent": "CAPTURE",
            "purchase_units": [
                {
                    "custom_id": purchase.custom_id,
                    "description": purchase.description,
                    "amount": _money(purchase),
                }
            ],
            "payment_source": {"paypal": {"experience_context": {**_context(purchase), "user_action": "PAY_NOW"}}},
        }
        return _read(Order, await self._post("/v2/checkout/orders", body, f"{purchase.custom_id}-create"))

    async def order(self, id: str) -> Order:
        """The order as it stands now."""
        return _read(Order, await self._call("GET", f"/v2/checkout/orders/{id}"))

    async def capture_order(self, id: str, custom_id: str) -> None:
        """Takes the money of an order that the payer agreed to; once, however often it is asked for."""
        await self._post(f"/v2/checkout/orders/{id}/capture", {}, f"{custom_id}-capture")

    async def create_subscription(self, purchase: Purchase, plan_id: str) -> Subscription:
        """An agreement by a plan at PayPal, at our price, that waits for the payer."""
        price = {"fixed_price": _money(purchase)}
        body = {
            "plan_id": plan_id,
            "custom_id": purchase.custom_id,
            "plan": {"billing_cycles": [{"sequence": 1, "total_cycles": 0, "pricing_scheme": price}]},
            "application_context": {**_context(purchase), "user_action": "SUBSCRIBE_NOW"},
        }
        told = await self._post("/v1/billing/subscriptions", body, f"{purchase.custom_id}-create")
        return _read(Subscription, told)

    async def subscription(self, id: str) -> Subscription:
        """The agreement as it stands now."""
        return _read(Subscription, await self._call("GET", f"/v1/billing/subscriptions/{id}"))

    async def transactions(self, id: str, start: datetime, end: datetime) -> list[Transaction]:
        """What was taken by an agreement between two instants."""
        span = {"start_time": _instant(start), "end_time": _instant(end)}
        told = await self._call("GET", f"/v1/billing/subscriptions/{id}/transactions", params=span)
        return _read(_Transactions, told).transactions

    async def cancel_subscription(self, id: str, custom_id: str, reason: str) -> None:
        """Ends an agreement: nothing more is taken by it."""
        await self._post(f"/v1/billing/subscriptions/{id}/cancel", {"reason": reason}, f"{custom_id}-cancel")

    async def verifies(self, signed: bytes) -> bool:
        """Whether PayPal says of a body for `verify-webhook-signature` that the event in it is its own."""
        headers = {"content-type": "application/json"}
        told = await self._call("POST", "/v1/notifications/verify-webhook-signature", content=signed, headers=headers)
        return _read(_Verified, told).verification_status == "SUCCESS"

    async def _post(self, path: str, body: Mapping[str, Any], request_id: str) -> Any:
        headers = {"PayPal-Request-Id": request_id, "Prefer": "return=representation"}
        return await self._call("POST", path, json=body, headers=headers)

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of an answer. Asks a few times when PayPal is busy or the connection breaks."""
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                for attempt in range(TRIES):
                    if attempt:
                        spread = random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing
                        await asyncio.sleep(FIRST_PAUSE * 3 ** (attempt - 1) * spread)
                    response = await self._once(method, path, options)
                    if response is not None and response.status_code not in AGAIN:
                        return _answer(response)
        except TimeoutError:
            raise PaypalDown from None
        raise PaypalDown

    async def _once(self, method: str, path: str, options: Mapping[str, Any]) -> httpx.Response | None:
        """One call; None when there was no answer."""
        try:
            await self._with_token()
            response: httpx.Response = await self._client.request(method, f"{self._url}{path}", **options)
        except httpx.HTTPError:
            return None
        except authlib_errors.AuthlibBaseError as error:
            raise PaypalDown(f"PayPal does not let this system in: {error.error}.") from None
        if response.status_code == 401:  # the token was taken back before its time
            self._client.token = None
            return None
        return response

    async def _with_token(self) -> None:
        async with self._starting:
            if not self._client.token:
                await self._client.fetch_token()


def _oauth_client(url: str, client_id: str, client_secret: str) -> Any:
    """Authlib's client, which is loaded here: few processes pay anything."""
    from authlib.deprecate import AuthlibDeprecationWarning  # type: ignore[import-untyped]

    with warnings.catch_warnings():  # it prefers a successor of httpx, and says so where there is none
        warnings.simplefilter("ignore", AuthlibDeprecationWarning)
        from authlib.integrations.httpx_client import AsyncOAuth2Client  # type: ignore[import-untyped]

    return AsyncOAuth2Client(
        client_id,
        client_secret,
        token_endpoint_auth_method="client_secret_basic",
        token_endpoint=f"{url}/v1/oauth2/token",
        grant_type="client_credentials",
        timeout=TIMEOUT,
        trust_env=False,
        follow_redirects=False,
    )


def _money(purchase: Purchase) -> dict[str, str]:
    return {"currency_code": purchase.currency, "value": str(purchase.amount)}


def _context(purchase: Purchase) -> dict[str, str]:
    return {
        "brand_name": BRAND,
        "shipping_preference": "NO_SHIPPING",
        "return_url": purchase.back,
        "cancel_url": purchase.cancelled,
    }


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _answer(response: httpx.Response) -> Any:
    """What an answer holds. Raises `PaypalRefused` for what PayPal does not do."""
    try:
        told = response.json() if response.content else {}
    except ValueError:
        raise PaypalDown from None
    if response.is_success:
        return told
    details = told.get("details") if isinstance(told, dict) else None
    named = details[0].get("issue") if isinstance(details, list) and details and isinstance(details[0], dict) else None
    issue = named or (told.get("name") if isinstance(told, dict) else None)
    raise PaypalRefused(response.status_code, str(issue or "UNKNOWN")[:100])


def _read(model: type[M], told: Any) -> M:
    try:
        return model.model_validate(told)
    except ValidationError:
        raise PaypalDown("PayPal's answer is not as it promises.") from None


def approval_link(links: list[Link]) -> str:
    """Where the payer agrees. Raises `PaypalDown` when PayPal names no place."""
    for link in links:
        if link.rel in ("payer-action", "approve"):
            return link.href
    raise PaypalDown("PayPal's answer is not as it promises.")


# --- the app of this process ----------------------------------------------------------------------------------------

_apps: dict[tuple[str, str, str], Paypal] = {}


def paypal_of(settings: Settings) -> Paypal:
    """The app that the settings name. Raises UNAVAILABLE when they name none."""
    if settings.paypal_client_id is None or settings.paypal_client_secret is None:
        raise Unavailable("This system takes no payments by PayPal. Ask those who run it for a plan.")
    key = (settings.paypal_url, settings.paypal_client_id, settings.paypal_client_secret.get_secret_value())
    if key not in _apps:
        _apps[key] = Paypal(*key)
    return _apps[key]


async def close_paypal() -> None:
    """Ends all connections to PayPal."""
    while _apps:
        await _apps.popitem()[1].close()
