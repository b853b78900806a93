"""The outermost working layer: one scope, one request id, one log line and the one error boundary."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from app.crowd import crowd
from app.db.failures import as_app_error
from app.errors import AppError, TenantWallBroken
from app.http.answers import failure_response
from app.http.peers import Fields, TrustedProxies
from app.http.registry import WEBSOCKET, RouteKind, RouteTable
from app.http.state import RequestState, attach_state, request_state
from app.metrics import count_request
from app.services.audit import new_trail
from app.tenancy.scope import Scope as TenancyScope
from app.tenancy.scope import open_scope
from app.tenancy.trail import Trail

CLIENT_CLOSED = 499
"""Logged when the client went away, or the server stopped, before there was an answer."""

_log = structlog.get_logger()


class RequestContext:
    """Opens a scope at the top of every request and websocket, whatever it is, so that none is left over
    from the request before on the same connection; answers and logs whatever happens inside."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: RouteTable,
        proxies: TrustedProxies,
        production: bool,
        new_trail: Callable[[str], Trail] = new_trail,
    ) -> None:
        self.app = app
        self._new_trail = new_trail
        self._routes = routes
        self._proxies = proxies
        self._production = production

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        state = self._state_of(scope)
        trail = self._new_trail(state.template or "(none)")
        with open_scope(TenancyScope(request_id=state.request_id, address=state.address, trail=trail)):
            await self._run(self._inner_scope(scope, state), receive, _Exchange(scope["type"], send, state, trail))

    def _state_of(self, scope: Scope) -> RequestState:
        fields = Fields(scope["headers"])
        caller = self._proxies.caller(scope, fields)
        template, spec = self._routes.match(scope["path"], scope.get("method", WEBSOCKET))
        return RequestState(
            request_id=caller.request_id or os.urandom(16).hex(),
            fields=fields,
            address=caller.address,
            # in production browsers reach us over TLS alone, wherever it ends
            scheme="https" if self._production else caller.scheme,
            authority=caller.authority,
            template=template,
            spec=spec,
        )

    @staticmethod
    def _inner_scope(scope: Scope, state: RequestState) -> Scope:
        inner = {**scope, "headers": state.fields.headers, "state": attach_state(scope, state)}
        inner["client"] = (state.address, 0) if state.address else None
        return inner

    async def _run(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        started = time.perf_counter()
        failure: BaseException | None = None
        crowd.here += 1
        try:
            await self.app(scope, receive, exchange)
        except (ClientDisconnect, WebSocketDisconnect):
            pass
        except (Exception, TenantWallBroken, BaseExceptionGroup) as error:  # noqa: BLE001 - the one boundary
            failure = error
            _raise_if_stopping(error)
            await exchange.fail(scope, receive, as_app_error(error))
        finally:
            crowd.here -= 1
            _write_line(scope, exchange.status, time.perf_counter() - started, failure)


class _Exchange:
    """The answer of one request: names the request in it, and remembers how far it went.

    No part of it leaves before the audit tells what was done with patients' data for it.
    """

    def __init__(self, kind: str, send: Send, state: RequestState, trail: Trail) -> None:
        self._kind = kind
        self._trail: Trail | None = trail
        self._send = send
        self._state = state
        self._closed = False
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if self._trail is not None and self._trail.untold:
            await self._trail.write()
        match message["type"]:
            case "http.response.start" | "websocket.http.response.start":
                self.status = message["status"]
                message = self._named(message)
            case "websocket.accept":
                self.status = 101
                message = self._named(message)
            case "websocket.close":
                self.status = self.status or 403
                self._closed = True
        await self._send(message)

    async def fail(self, scope: Scope, receive: Receive, error: AppError) -> None:
        """Answers with `error`; an answer that has begun is cut off instead."""
        self._state.code = error.code.value
        self._trail = None  # the answer is the failure alone: it shows nothing that would have to be accounted for
        if self.status is None and _can_answer(scope):
            await failure_response(scope, error)(scope, receive, self)
        elif self._kind == "websocket" and not self._closed:
            await self({"type": "websocket.close", "code": 1011 if self.status else 1008})

    def _named(self, message: Message) -> Message:
        headers = [*message.get("headers", ()), (b"x-request-id", self._state.request_id.encode())]
        return {**message, "headers": headers}


def _can_answer(scope: Scope) -> bool:
    return scope["type"] == "http" or "websocket.http.response" in scope.get("extensions", {})


def _raise_if_stopping(error: BaseException) -> None:
    """A task group that was cancelled or interrupted is no failure of the request: let it end."""
    stops = (asyncio.CancelledError, KeyboardInterrupt, SystemExit)
    if isinstance(error, BaseExceptionGroup) and error.subgroup(stops):
        raise error


def _write_line(scope: Scope, status: int | None, seconds: float, failure: BaseException | None) -> None:
    state = request_state(scope)
    method = scope.get("method", WEBSOCKET)
    count_request(state.template or "(none)", method, status or CLIENT_CLOSED, seconds, state.tenant)
    line: dict[str, Any] = {
        "method": method,
        "path": state.template or "(none)",  # the real path may hold a secret link
        "status": status or CLIENT_CLOSED,
        "ms": round(seconds * 1000, 1),
        "address": state.address,
        "request_id": state.request_id,
    }
    told = {"tenant": state.tenant, "user": state.user, "code": state.code}
    line |= {key: value for key, value in told.items() if value}
    if failure is None or (isinstance(failure, AppError) and failure.http_status < 500):
        probe = state.spec is not None and state.spec.kind is RouteKind.OPERATOR and status == 200
        (_log.debug if probe else _log.info)("request", **line)  # probes come every few seconds
    else:
        _log.error("request", **line, exc_info=failure)
