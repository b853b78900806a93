"""The query page and its files: read once at import, served from memory, nothing else is reachable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response

from app.tenancy.scope import scope_or_none

PAGE_PATH = "/graphql"
ASSET_PATH = "/graphql/assets/{name}"
SUBSCRIPTION_PATH = "/subscription"
BACK_PATH = "/subscription/{outcome}"
PAGE_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)

Endpoint = Callable[[Request], Awaitable[Response]]

_FOLDER = Path(__file__).parent
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
_DEMO = '<meta name="polyclinic-demo" content="[]">'
_CACHING = "private, no-cache"
"""A browser keeps the files and asks each time whether they are still these: never stale, rarely sent."""


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """A sign-in that the page offers to fill in. Without a `clinic` (subdomain) it is offered on every host."""

    label: str
    email: str
    password: str
    clinic: str | None = None


@dataclass(frozen=True, slots=True)
class Asset:
    """A file in memory with what its answer needs."""

    body: bytes
    content_type: str
    etag: str

    @classmethod
    def of(cls, body: bytes, content_type: str) -> Asset:
        return cls(body, content_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


PAGE = (_FOLDER / "index.html").read_text("utf-8")
SUBSCRIPTION_PAGE = (_FOLDER / "subscription.html").read_bytes()
ASSETS = MappingProxyType(
    {
        path.name: Asset.of(path.read_bytes(), _TYPES[path.suffix])
        for path in sorted(_FOLDER.iterdir())
        if path.suffix in _TYPES
    }
)


def console_routes(demo_accounts: Sequence[DemoAccount] = ()) -> list[tuple[str, Endpoint]]:
    """The page and its files as (path, endpoint), each for GET and HEAD.

    Mount them in development only: the page shows `demo_accounts`, passwords included, to everybody.
    """

    async def page(request: Request) -> Response:
        scope = scope_or_none()
        here = scope.tenant.subdomain if scope and scope.tenant else None
        shown = [account for account in demo_accounts if account.clinic in (None, here)]
        response = _answer(request, Asset.of(_with_demo(shown), "text/html; charset=utf-8"))
        response.headers["content-security-policy"] = PAGE_POLICY
        return response

    return [(PAGE_PATH, page), (ASSET_PATH, _asset), (SUBSCRIPTION_PATH, _subscription), (BACK_PATH, _subscription)]


async def _subscription(request: Request) -> Response:
    """Where the payer comes back to from PayPal, and can begin."""
    response = _answer(request, Asset.of(SUBSCRIPTION_PAGE, "text/html; charset=utf-8"))
    response.headers["content-security-policy"] = PAGE_POLICY
    return response


async def _asset(request: Request) -> Response:
    asset = ASSETS.get(request.path_params["name"])
    return _answer(request, asset) if asset else Response("Not found.", 404, media_type="text/plain")


def _answer(request: Request, asset: Asset) -> Response:
    headers = {"etag": asset.etag, "cache-control": _CACHING, "x-content-type-options": "nosniff"}
    if asset.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(asset.body, headers={**headers, "content-type": asset.content_type})


def _with_demo(accounts: Sequence[DemoAccount]) -> bytes:
    listed = [{key: value for key, value in asdict(each).items() if key != "clinic"} for each in accounts]
    meta = _DEMO.replace("[]", escape(json.dumps(listed)))
    return PAGE.replace(_DEMO, meta).encode()
