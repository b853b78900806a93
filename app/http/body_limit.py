"""Bounds on what a request may bring: header fields, header bytes, body bytes."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.http.failures import BadRequest, HeadersTooLarge, PayloadTooLarge
from app.http.peers import Fields
from app.http.state import RequestState, request_state

MAX_HEADERS = 100
MAX_HEADER_BYTES = 32_768


class BodyLimit:
    """Refuses a declared length over the limit at once, and cuts an undeclared one while it is read."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int) -> None:
        self.app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        state = request_state(scope)
        _check_headers(state.fields)
        limit = self._limit(state)
        if _declared_length(state.fields) > limit:
            raise PayloadTooLarge
        await self.app(scope, _counted(receive, limit) if scope["type"] == "http" else receive, send)

    def _limit(self, state: RequestState) -> int:
        spec = state.spec
        if spec is None or spec.max_body_bytes is None:
            return self._max_body_bytes
        return spec.max_body_bytes


def _check_headers(fields: Fields) -> None:
    if len(fields.headers) > MAX_HEADERS or fields.size > MAX_HEADER_BYTES:
        raise HeadersTooLarge


def _declared_length(fields: Fields) -> int:
    values = fields.all(b"content-length")
    if not values:
        return 0
    if len(values) > 1 or not (values[0].isascii() and values[0].isdigit()) or len(values[0]) > 18:
        raise BadRequest("Content-Length is malformed.")
    return int(values[0])


def _counted(receive: Receive, limit: int) -> Receive:
    read = 0

    async def counting() -> Message:
        nonlocal read
        message = await receive()
        if message["type"] == "http.request":
            read += len(message.get("body", b""))
            if read > limit:
                raise PayloadTooLarge
        return message

    return counting
