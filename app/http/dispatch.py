"""The way from the layers to the endpoint."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import AppError
from app.http.registry import RouteSpec, RouteTable
from app.http.state import request_state

Endpoint = Callable[[Request], Awaitable[Response]]
Explain = Callable[[HTTPException, str], AppError]


class Dispatch:
    """Innermost of the layers: hands a request straight to the endpoint that is declared for exactly its path. What has
    parameters in its path, is a websocket or is not declared goes to the router.

    The router would try each route before it in turn, under three handlers of errors that have nothing to handle:
    failures are for `RequestContext` to answer, and what Starlette raises itself (`explain`) becomes one of them.
    """

    def __init__(self, app: ASGIApp, *, routes: RouteTable, explain: Explain) -> None:
        self.app = app
        self._explain = explain
        self._endpoints = {spec.name: spec.endpoint for spec in routes.specs if _is_plain(spec)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        spec = request_state(scope).spec if scope["type"] == "http" else None
        endpoint: Endpoint | None = self._endpoints.get(spec.name) if spec is not None else None
        if endpoint is None:
            await self.app(scope, receive, send)
            return
        try:
            response = await endpoint(Request(scope, receive, send))
        except HTTPException as error:
            raise self._explain(error, scope["path"]) from error
        await response(scope, receive, send)


def _is_plain(spec: RouteSpec) -> bool:
    return "{" not in spec.path and inspect.iscoroutinefunction(_unwrapped(spec.endpoint))


def _unwrapped(endpoint: Any) -> Any:
    while isinstance(endpoint, partial):
        endpoint = endpoint.func
    return endpoint
