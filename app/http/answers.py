"""How failures look: `{"errors": […]}` for GraphQL, `{"error": {…}}` under /api, a page for people."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from typing import Any

import orjson
from starlette.responses import Response

from app.errors import AppError, RateLimited, Unauthenticated, Unavailable
from app.http.failures import MethodNotAllowed, PayloadTooLarge
from app.http.peers import header_values
from app.http.state import request_state

RETRY_SECONDS = 5
"""What `Retry-After` says when the database is out of reach."""

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;place-items:center;"
    "background:#f4f6f8;color:#1c2733}main{max-width:30rem;padding:2rem}h1{font-size:1.5rem;margin:0 0 .5rem}"
    "p{margin:0 0 .5rem;color:#52606d}small{color:#7b8794}"
    "@media(prefers-color-scheme:dark){body{background:#12181f;color:#e4e9ee}p{color:#b0bac4}}"
)
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
_PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TEXTS = {
    "TENANT_NOT_FOUND": "There is no clinic at this address. Check how it is spelled, or ask your clinic.",
    "NOT_FOUND": "There is no page at this address.",
}


def json_response(content: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """`content` as JSON bytes."""
    return Response(orjson.dumps(content), status, headers, media_type="application/json")


def graphql_error(error: AppError, request_id: str) -> dict[str, Any]:
    """One entry of GraphQL's `errors`."""
    return {"message": error.message, "extensions": error.described(request_id)}


def rest_error(error: AppError, request_id: str) -> dict[str, Any]:
    """The whole body of a failed call under /api."""
    return {"error": {"message": error.message, **error.described(request_id)}}


def failure_response(asgi_scope: Mapping[str, Any], error: AppError) -> Response:
    """The answer to a failed request, in the shape that its caller reads."""
    request_id = request_state(asgi_scope).request_id
    headers = failure_headers(error)
    if error.http_status != 405 and is_browser(asgi_scope):
        return _page(error, request_id, headers)
    if asgi_scope["path"].startswith("/api/"):
        return json_response(rest_error(error, request_id), error.http_status, headers)
    return json_response({"errors": [graphql_error(error, request_id)]}, error.http_status, headers)


def failure_headers(error: AppError) -> dict[str, str]:
    """The headers that belong to a failure, beside those of every answer."""
    match error:
        case RateLimited():
            return {"retry-after": str(error.retry_after)}
        case Unavailable():
            return {"retry-after": str(RETRY_SECONDS)}
        case MethodNotAllowed():
            return {"allow": ", ".join(error.allowed)}
        case Unauthenticated():
            return {"www-authenticate": "Bearer"}
        case PayloadTooLarge():
            return {"connection": "close"}  # the rest of the body is not worth reading
        case _:
            return {}


def is_browser(asgi_scope: Mapping[str, Any]) -> bool:
    """Whether a person waits for a page: GET (or HEAD) with `Accept: text/html`."""
    if asgi_scope["type"] != "http" or asgi_scope["method"] not in {"GET", "HEAD"}:
        return False
    accepted = ",".join(header_values(asgi_scope["headers"], b"accept")).lower().split(",")
    return any(part.partition(";")[0].strip() == "text/html" for part in accepted)


def _page(error: AppError, request_id: str, headers: Mapping[str, str]) -> Response:
    title = escape(error.message.rstrip("."))
    text = escape(_TEXTS.get(error.code.value, ""))
    html = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main><h1>{title}</h1>"
        f"<p>{text}</p><small>{escape(request_id)}</small></main></body></html>"
    )
    all_headers = {**headers, "content-security-policy": _PAGE_POLICY}
    return Response(html, error.http_status, all_headers, media_type="text/html")
