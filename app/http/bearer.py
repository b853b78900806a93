"""Routes for machines of ours: each has one secret, sent as a bearer token and compared in constant time."""

from __future__ import annotations

import hmac

from pydantic import SecretStr
from starlette.requests import Request

from app.errors import NotFound, Unauthenticated
from app.http.peers import header_values
from app.services.rate_limits import Limit, network_of, refund, take
from app.tenancy.scope import current_scope


def require_root_host() -> None:
    """These routes are the system's: on a clinic's host they do not exist. Raises NOT_FOUND."""
    if current_scope().tenant is not None:
        raise NotFound


async def require_secret(request: Request, secret: SecretStr, limit: Limit) -> None:
    """Raises UNAUTHENTICATED unless the request brings this secret, RATE_LIMITED after too many that did not."""
    network = network_of(current_scope().address)
    taken = await take(limit, network)
    if not brings(request, secret):
        raise Unauthenticated("The secret is missing or wrong.")
    await refund(limit, network, taken)


def brings(request: Request, secret: SecretStr) -> bool:
    """Whether the request brings this secret."""
    return hmac.compare_digest(_bearer(request), secret.get_secret_value().encode())


def _bearer(request: Request) -> bytes:
    values = header_values(request.scope["headers"], b"authorization")
    kind, _, token = (values[0] if len(values) == 1 else "").partition(" ")
    return token.strip().encode("latin-1") if kind.lower() == "bearer" else b""
