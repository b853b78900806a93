"""Refuses requests that another site made a signed-in browser send."""

from __future__ import annotations

import re
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import Forbidden
from app.http.failures import BadRequest, UnsupportedMediaType
from app.http.peers import Fields, Headers
from app.http.registry import RouteSpec
from app.http.state import RequestState, request_state
from app.tenancy.hosts import BadHost, parse_host

CLIENT_HEADER = b"x-polyclinic-client"
"""A page of another origin cannot send it without a preflight, and we answer none."""

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_JSON = re.compile(r'application/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?', re.IGNORECASE)
_MULTIPART = re.compile(r'multipart/form-data\s*;\s*boundary=("[^"]{1,70}"|[^\s;,"]{1,70})\s*', re.IGNORECASE)
_DEFAULT_PORTS = {"http": 80, "https": 443}

Origin = tuple[str, str, int]


class CrossSiteGuard:
    """The rule for routes on which a session cookie counts (the registry's kind says which do):

    - a session cookie together with a bearer token is refused (400);
    - a state-changing request is exactly `application/json`, signed in or not, so that no foreign form can
      sign somebody in either (415); upload routes also take multipart;
    - with a session cookie its `Origin` is this very host's, or it has none and carries
      `X-Polyclinic-Client` (403). A websocket handshake counts as state-changing.
    """

    def __init__(self, app: ASGIApp, *, session_cookies: Collection[str]) -> None:
        self.app = app
        self._session_cookies = frozenset(session_cookies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            state = request_state(scope)
            if state.spec is not None and state.spec.kind.reads_cookies:
                self._check(scope, state, state.spec)
        await self.app(scope, receive, send)

    def _check(self, scope: Scope, state: RequestState, spec: RouteSpec) -> None:
        fields = state.fields
        signed_in = self._has_session_cookie(fields)
        if signed_in and _has_bearer(fields):
            raise BadRequest("Send the session as a cookie or as a bearer token, not both.")
        if scope["type"] == "http":
            if scope["method"] in _SAFE:
                return
            _check_content_type(fields, uploads=spec.uploads)
        if signed_in:
            _check_origin(fields, state)

    def _has_session_cookie(self, fields: Fields) -> bool:
        cookies = fields.all(b"cookie")
        if not cookies:
            return False
        pairs = ";".join(cookies).split(";")
        return any(pair.partition("=")[0].strip() in self._session_cookies for pair in pairs)


def require_json(headers: Headers) -> None:
    """The rule of content types for a route that reads no cookie and yet signs somebody in. Raises as above (415)."""
    _check_content_type(Fields(headers), uploads=False)


def _has_bearer(fields: Fields) -> bool:
    return any(value.strip().lower().startswith("bearer") for value in fields.all(b"authorization"))


def _check_content_type(fields: Fields, *, uploads: bool) -> None:
    values = fields.all(b"content-type")
    given = values[0].strip() if len(values) == 1 else ""
    if not (_JSON.fullmatch(given) or (uploads and _MULTIPART.fullmatch(given))):
        raise UnsupportedMediaType


def _check_origin(fields: Fields, state: RequestState) -> None:
    origins = fields.all(b"origin")
    if not origins:
        if not any(value.strip() for value in fields.all(CLIENT_HEADER)):
            raise Forbidden("A request without Origin must carry X-Polyclinic-Client.")
        return
    own = own_origin(state)
    if own is None or len(origins) != 1 or _origin(origins[0]) != own:
        raise Forbidden("The request comes from another origin.")


def own_origin(state: RequestState) -> Origin | None:
    """Scheme, host and port by which the browser reached this host; None before the host is known."""
    if state.host is None:
        return None
    return state.scheme, state.host.host, state.host.port or _DEFAULT_PORTS[state.scheme]


def origin_text(state: RequestState) -> str:
    """The own origin as browsers write it, without a port that goes without saying; empty before the host is known."""
    own = own_origin(state)
    if own is None:
        return ""
    scheme, host, port = own
    return f"{scheme}://{host}" if port == _DEFAULT_PORTS[scheme] else f"{scheme}://{host}:{port}"


def _origin(text: str) -> Origin | None:
    """The parsed origin; None for `null` and everything malformed."""
    scheme, mark, authority = text.strip().partition("://")
    scheme = scheme.lower()
    if not mark or scheme not in _DEFAULT_PORTS:
        return None
    try:
        host = parse_host(authority)
    except BadHost:
        return None
    return scheme, host.host, host.port or _DEFAULT_PORTS[scheme]
