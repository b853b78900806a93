"""Opening a clinic, and the public list of clinics."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from pydantic.alias_generators import to_camel
from starlette.requests import Request
from starlette.responses import Response

from app.config import Settings
from app.errors import NotFound, ValidationFailed
from app.http.answers import json_response
from app.http.body import read_json
from app.http.registry import RouteKind, RouteSpec
from app.services.onboarding import onboard, read_form
from app.services.rate_limits import ONBOARDING, network_of, take
from app.tenancy.scope import current_scope
from models import Tenant
from models.tenant import TenantStatus
from models.values import Address

PAGE = 20
LONGEST_PAGE = 100
LONGEST_KEY = 200
_SHOWN = ("name", "display_name", "subdomain", "email", "phone")


def onboarding_specs(settings: Settings) -> list[RouteSpec]:
    """The routes under /api/tenants; nobody opens a clinic over HTTP unless `allow_onboarding` says so."""
    specs = [RouteSpec("/api/tenants/public", {"GET"}, RouteKind.PUBLIC, public_clinics, "public-clinics")]
    if settings.allow_onboarding:
        specs.append(RouteSpec("/api/tenants/onboard", {"POST"}, RouteKind.PUBLIC, open_clinic, "onboard"))
    return specs


async def open_clinic(request: Request) -> Response:
    """`POST /api/tenants/onboard`, on the system's own host. Every try counts against the address, good or bad.

    A repeat with the same `Idempotency-Key` and body, after an answer that was lost, gets the answer of the first.
    """
    scope = current_scope()
    if scope.tenant is not None:
        raise NotFound
    await take(ONBOARDING, network_of(scope.address))
    opened = await onboard(read_form(await read_json(request)), key=_key(request))
    return json_response(opened.answer())


def _key(request: Request) -> str | None:
    """The idempotency key, if there is one. Raises VALIDATION_FAILED for one that is too long or stands there twice."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1 or not 1 <= len(keys[0]) <= LONGEST_KEY:
        raise ValidationFailed.at("Idempotency-Key", f"must be one key of 1 to {LONGEST_KEY} characters")
    return keys[0]


async def public_clinics(request: Request) -> Response:
    """`GET /api/tenants/public`: the one of `?subdomain=`, or a page of `?first=` after the cursor `?after=`."""
    asked = request.query_params
    if "subdomain" in asked:
        return json_response({"success": True, "tenant": await _one(asked["subdomain"])})
    return json_response({"success": True, **await _page(_first(asked), asked.get("after"))})


async def _one(subdomain: str) -> dict[str, Any]:
    rows = await _rows({"subdomain": subdomain.strip().lower()}, 1)
    if not rows:
        raise NotFound("Clinic not found.")
    return _shown(rows[0])


async def _page(first: int, after: str | None) -> dict[str, Any]:
    rows = await _rows({"subdomain": {"$gt": _place(after)}} if after else {}, first + 1)
    shown = rows[:first]
    end = _cursor(shown[-1]["subdomain"]) if shown else None
    info = {"hasNextPage": len(rows) > first, "endCursor": end}
    return {"tenants": [_shown(row) for row in shown], "pageInfo": info}


async def _rows(where: Mapping[str, Any], limit: int) -> list[dict[str, Any]]:
    """Active clinics by subdomain, which unlike a name is unique and unlike an id may be shown."""
    return await Tenant.rows(
        {**where, "status": TenantStatus.ACTIVE.value},
        projection=[*_SHOWN, "address"],
        sort=[("subdomain", 1)],
        limit=limit,
    )


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    address = row.get("address") or {}
    shown = {to_camel(name): row.get(name) for name in _SHOWN}
    return {**shown, "address": {to_camel(name): address.get(name) for name in Address.model_fields}}


def _first(asked: Mapping[str, str]) -> int:
    text = asked.get("first", str(PAGE))
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= LONGEST_PAGE):
        raise ValidationFailed.at("first", f"must be a number from 1 to {LONGEST_PAGE}")
    return int(text)


def _cursor(subdomain: str) -> str:
    return base64.urlsafe_b64encode(subdomain.encode()).decode()


def _place(cursor: str) -> str:
    """The subdomain after which the page begins. Raises VALIDATION_FAILED at `after`."""
    try:
        return base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (UnicodeError, binascii.Error):
        raise ValidationFailed.at("after", "is not a cursor of this list") from None
