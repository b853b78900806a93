"""The headers that every answer carries, errors and refusals included."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.peers import Headers

DATA_POLICY = b"default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    b"default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    b"connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_ALWAYS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_HSTS = (b"strict-transport-security", b"max-age=63072000; includeSubDomains; preload")
_STARTS = frozenset({"http.response.start", "websocket.http.response.start"})


class SecurityHeaders:
    """Stands around everything. A handler may set its own content policy and cache rule, nothing else."""

    def __init__(self, app: ASGIApp, *, production: bool) -> None:
        self.app = app
        self._always = (*_ALWAYS, _HSTS) if production else _ALWAYS
        self._names = frozenset(name for name, _ in self._always)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] in _STARTS:
                message = {**message, "headers": self._protected(message.get("headers", ()))}
            await send(message)

        await self.app(scope, receive, with_headers)

    def _protected(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        given = {name.lower(): value for name, value in headers}
        kept = [*headers] if self._names.isdisjoint(given) else self._allowed(headers)
        if b"content-security-policy" not in given:
            page = given.get(b"content-type", b"").startswith(b"text/html")
            kept.append((b"content-security-policy", PAGE_POLICY if page else DATA_POLICY))
        if b"cache-control" not in given:
            kept.append((b"cache-control", b"no-store"))
        kept += self._always
        return kept

    def _allowed(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        return [(name, value) for name, value in headers if name.lower() not in self._names]
