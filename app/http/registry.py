"""The route registry: each route is declared once, with its callers; an undeclared one stops the start."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route, WebSocketRoute, compile_path

WEBSOCKET = "WEBSOCKET"
"""Stands among `methods` for a websocket handshake; such a spec has no other method."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


class RouteKind(StrEnum):
    """Who calls a route, and by that: how the caller proves it."""

    PUBLIC = "public"
    """Anybody; no sign-in is read."""
    STAFF = "staff"
    """The staff session, as cookie or bearer token."""
    PATIENT = "patient"
    """The patient session, as cookie or bearer token."""
    WEBHOOK = "webhook"
    """An outside system; its signature is checked."""
    CRON = "cron"
    """The scheduler, with the cron secret."""
    INSTALL = "install"
    """The installer, with the install secret."""
    OPERATOR = "operator"
    """Probes and metrics; answered on every host, for they concern no clinic."""
    BROWSER = "browser"
    """Pages and their files."""

    @cached_property
    def reads_cookies(self) -> bool:
        """Whether a session cookie counts here, so that forged requests must be refused."""
        return self in {RouteKind.STAFF, RouteKind.PATIENT, RouteKind.BROWSER}

    @cached_property
    def is_the_systems(self) -> bool:
        """Whether it concerns no clinic, so that it is reached on the root host alone; there is one always, also where
        a single clinic shows on each host."""
        return self in {RouteKind.CRON, RouteKind.INSTALL}


class RouteError(RuntimeError):
    """The routes contradict the registry; the text names them. Raised at start, never by a request."""


@dataclass(frozen=True, slots=True)
class RouteSpec:
    """One declaration. `path` is Starlette's (`/api/documents/{id}`).

    `endpoint` takes a request (or a websocket) and answers, or is an ASGI application.
    `uploads` also admits multipart bodies; `max_body_bytes` replaces the general limit.
    """

    path: str
    methods: Collection[str]
    kind: RouteKind
    endpoint: Callable[..., Any]
    name: str
    uploads: bool = False
    max_body_bytes: int | None = None

    def __post_init__(self) -> None:
        methods = frozenset(self.methods)
        if not methods or (methods != {WEBSOCKET} and not methods <= _METHODS):
            raise RouteError(f"{self.path}: unknown or missing methods {sorted(methods)}")
        object.__setattr__(self, "methods", methods | {"HEAD"} if "GET" in methods else methods)

    def to_route(self) -> BaseRoute:
        if WEBSOCKET in self.methods:
            return WebSocketRoute(self.path, self.endpoint, name=self.name)
        return Route(self.path, self.endpoint, methods=list(self.methods), name=self.name)


class RouteTable:
    """Finds the declaration of a request before it is routed: for logs, limits and the forgery check."""

    def __init__(self, specs: Iterable[RouteSpec]) -> None:
        self.specs = tuple(specs)
        self._fixed: dict[str, list[RouteSpec]] = {}
        self._exact: dict[tuple[str, str], RouteSpec] = {}
        self._patterns: list[tuple[re.Pattern[str], RouteSpec]] = []
        for spec in self.specs:
            if "{" in spec.path:
                self._patterns.append((compile_path(spec.path)[0], spec))
            else:
                self._fixed.setdefault(spec.path, []).append(spec)
                self._exact |= {(spec.path, method): spec for method in spec.methods}

    def at(self, path: str) -> list[RouteSpec]:
        """The declarations whose path fits, whatever their methods, in the order of declaration."""
        fitting = [spec for pattern, spec in self._patterns if pattern.match(path)]
        return [*self._fixed.get(path, ()), *fitting]

    def match(self, path: str, method: str) -> tuple[str | None, RouteSpec | None]:
        """The declared path (`/calendar/{token}.ics`), which unlike the real one holds no secret, and the declaration
        for this method (`WEBSOCKET` for a handshake). None for what is not declared."""
        exact = self._exact.get((path, method))
        if exact is not None:
            return exact.path, exact
        found = self.at(path)
        spec = next((spec for spec in found if method in spec.methods), None)
        return (found[0].path if found else None), spec

    def allowed(self, path: str) -> list[str]:
        """The methods that the path has, sorted; none when it does not exist."""
        return sorted({method for spec in self.at(path) for method in spec.methods} - {WEBSOCKET})


def build_routes(specs: Sequence[RouteSpec]) -> list[BaseRoute]:
    """Starlette's routes in the order of declaration. Raises `RouteError` for what is declared twice."""
    _refuse_twice("name", [spec.name for spec in specs])
    _refuse_twice("route", [f"{method} {spec.path}" for spec in specs for method in spec.methods])
    return [spec.to_route() for spec in specs]


def assert_all_declared(app: Starlette, specs: Sequence[RouteSpec]) -> None:
    """Raises `RouteError` unless the application's routes are exactly the declared ones."""
    served = {key for route in app.routes for key in _keys_of(route)}
    declared = {(method, spec.path, spec.endpoint) for spec in specs for method in spec.methods}
    if undeclared := served - declared:
        raise RouteError(f"not in the registry: {_listed(undeclared)}")
    if missing := declared - served:
        raise RouteError(f"declared but not served: {_listed(missing)}")


def _keys_of(route: BaseRoute) -> set[tuple[str, str, Any]]:
    if isinstance(route, WebSocketRoute):
        return {(WEBSOCKET, route.path, route.endpoint)}
    if isinstance(route, Route) and route.methods:
        return {(method, route.path, route.endpoint) for method in route.methods}
    return {("any method of", getattr(route, "path", repr(route)), repr(route))}


def _listed(keys: set[tuple[str, str, Any]]) -> str:
    return ", ".join(sorted(f"{method} {path}" for method, path, _ in keys))


def _refuse_twice(what: str, values: list[str]) -> None:
    if twice := sorted({value for value in values if values.count(value) > 1}):
        raise RouteError(f"{what} declared twice: {', '.join(twice)}")
