"""Every route says who calls it, and whoever must prove something is refused without the proof."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import pytest
from starlette.routing import Route, WebSocketRoute

from app.config import Settings
from app.db.client import make_client
from app.graphql.operations import Operations
from app.http.registry import WEBSOCKET, RouteKind, RouteSpec
from app.http.routes import route_specs
from app.services.inbox import Sweeper
from app.services.lab_sweeping import retry_inbox
from resolvers.base import Resolver
from resolvers.schema import build_schema, core_schema
from tests.fixtures.clinics import Server
from tests.fixtures.mirror import Mirror

OPEN = frozenset({RouteKind.PUBLIC, RouteKind.BROWSER})
"""Kinds that anybody may call: public answers, and pages that hold no data."""

OPEN_TO_OPERATORS: Mapping[str, str] = {
    "/healthz": "says that the process is alive, and nothing else",
    "/readyz": "says whether the database answers; an orchestrator has no secret to show",
}
"""Operator routes without a secret. Metrics are never among them."""

ASKS = {"/graphql": {"query": "{ patients { totalCount } }"}}
"""Bodies by which a route shows whom it lets in; an empty object elsewhere."""

REFUSALS = frozenset({401, 403, 404})


@pytest.fixture(scope="session")
async def specs(settings: Settings) -> list[RouteSpec]:
    """The registry, as `create_app` reads it."""
    async with make_client(settings) as client:
        operations = Operations(core_schema(build_schema()), root=Resolver(), introspection=True)
        return route_specs(settings, operations, client[settings.mongodb_database], Sweeper("none", 0, retry_inbox))


def test_the_application_serves_exactly_what_the_registry_declares(server: Server, specs: list[RouteSpec]) -> None:
    served = set()
    for route in server.app.routes:
        assert isinstance(route, Route | WebSocketRoute), f"{route} goes around the registry"
        methods = (route.methods or ()) if isinstance(route, Route) else (WEBSOCKET,)
        served |= {(method, route.path, route.name) for method in methods}
    declared = {(method, spec.path, spec.name) for spec in specs for method in spec.methods}
    assert served == declared


def test_each_route_has_a_kind(specs: list[RouteSpec]) -> None:
    assert len(specs) >= 5
    for spec in specs:
        assert isinstance(spec.kind, RouteKind)


async def test_whoever_must_prove_something_is_refused_without(mirror: Mirror, specs: list[RouteSpec]) -> None:
    before = await mirror.digest()
    for spec in specs:
        if spec.kind in OPEN or (spec.kind is RouteKind.OPERATOR and spec.path in OPEN_TO_OPERATORS):
            continue
        for method in set(spec.methods) - {WEBSOCKET}:
            answer = await call(mirror.a.server, mirror.a.clinic.host, spec.path, method)
            assert answer.status_code in REFUSALS, (spec, method, answer.text)
            assert not [trace for trace in mirror.a.marker.traces if trace in answer.text]
    assert await mirror.digest() == before


async def call(server: Server, host: str, path: str, method: str) -> httpx.Response:
    """Calls a route as somebody who shows nothing at all."""
    filled = path.replace("{", "").replace("}", "")
    headers = {"X-Polyclinic-Client": "tests"}
    return await server.client(host).http.request(method, filled, json=ASKS.get(path, {}), headers=headers)


async def test_open_routes_show_nothing_of_a_clinics_documents(mirror: Mirror, specs: list[RouteSpec]) -> None:
    """What every clinic tells the public is its name and address; ids and people are not among it."""
    ids = await mirror.ids_of(mirror.b)
    for spec in specs:
        if "GET" in spec.methods and (spec.kind in OPEN or spec.kind is RouteKind.OPERATOR):
            answer = await call(mirror.a.server, mirror.a.clinic.host, spec.path, "GET")
            assert not [one for one in ids if one in answer.text], spec


def test_a_kind_that_nobody_judged_fails_here(specs: list[RouteSpec]) -> None:
    """Kinds are judged above as open, or refused without proof: a new one must be put in its place."""
    assert set(RouteKind) - OPEN == {
        RouteKind.STAFF,
        RouteKind.PATIENT,
        RouteKind.WEBHOOK,
        RouteKind.CRON,
        RouteKind.INSTALL,
        RouteKind.OPERATOR,
    }
