"""Puts the edge together: the layers in their order, the declared routes, and what undeclared paths get."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ExceptionHandler, Lifespan

from app.errors import AppError, NotFound
from app.http.answers import failure_response
from app.http.body_limit import BodyLimit
from app.http.csrf import CrossSiteGuard
from app.http.dispatch import Dispatch
from app.http.failures import BadRequest, MethodNotAllowed
from app.http.peers import TrustedProxies
from app.http.registry import RouteSpec, RouteTable, assert_all_declared, build_routes
from app.http.request_context import RequestContext
from app.http.security_headers import SecurityHeaders
from app.http.state import request_state
from app.http.tenant import Directory, HostSettings, TenantResolver


class EdgeSettings(HostSettings, Protocol):
    """The settings that the edge reads."""

    @property
    def trusted_proxies(self) -> tuple[IPv4Network | IPv6Network, ...]: ...
    @property
    def max_body_bytes(self) -> int: ...


def build_app(
    specs: Sequence[RouteSpec],
    *,
    settings: EdgeSettings,
    directory: Directory,
    session_cookies: Collection[str],
    inner: Sequence[Middleware] = (),
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """The application. `inner` layers (sign-in) run after the edge's own, with the clinic in scope.

    Raises `RouteError` when routes are declared twice.
    """
    table = RouteTable(specs)
    edge = _layers(table, settings, directory, session_cookies)
    app = Starlette(
        routes=build_routes(specs),
        middleware=[*edge, *inner, Middleware(Dispatch, routes=table, explain=_failure_of(table))],
        exception_handlers={HTTPException: _answer_to(table)},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a redirect would repeat the host and hide the 404
    assert_all_declared(app, specs)
    return app


def _layers(
    table: RouteTable, settings: EdgeSettings, directory: Directory, session_cookies: Collection[str]
) -> list[Middleware]:
    proxies = TrustedProxies(settings.trusted_proxies)
    production = settings.is_production
    return [
        Middleware(SecurityHeaders, production=production),
        Middleware(RequestContext, routes=table, proxies=proxies, production=production),
        Middleware(BodyLimit, max_body_bytes=settings.max_body_bytes),
        Middleware(TenantResolver, directory=directory, settings=settings),
        Middleware(CrossSiteGuard, session_cookies=session_cookies),
    ]


def _answer_to(table: RouteTable) -> ExceptionHandler:
    """Turns what the router raises into our own failures."""

    explain = _failure_of(table)

    async def answer(request: Request, error: Exception) -> Response:
        failure = explain(error, request.scope["path"])
        request_state(request.scope).code = failure.code.value
        return failure_response(request.scope, failure)

    return answer


def _failure_of(table: RouteTable) -> Callable[[Exception, str], AppError]:
    """What an error of Starlette's own means for a request to that path."""

    def explain(error: Exception, path: str) -> AppError:
        status = error.status_code if isinstance(error, HTTPException) else 400
        if status == 404:
            return NotFound()
        return MethodNotAllowed(table.allowed(path)) if status == 405 else BadRequest()

    return explain
