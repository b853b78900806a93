"""Every route of the application, declared once, with who may call it."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.config import Settings
from app.db.schema import is_current
from app.graphql.operations import Operations
from app.http.console.pages import PAGE_PATH, console_routes
from app.http.graphql import GraphQLEndpoint
from app.http.health import Check, database_answers, health_specs
from app.http.onboarding import onboarding_specs
from app.http.registry import RouteKind, RouteSpec
from app.tenancy.scope import Database


def route_specs(settings: Settings, operations: Operations, database: Database) -> list[RouteSpec]:
    """The declarations, in the order in which they are tried."""
    checks: dict[str, Check] = {"database": database_answers(database), "schema": partial(is_current, database)}
    graphql = GraphQLEndpoint(operations, settings)
    return [
        *health_specs(checks),
        RouteSpec("/graphql", {"POST"}, RouteKind.STAFF, graphql.answer, "graphql"),
        *onboarding_specs(settings),
        *(_console() if settings.graphql_ide else ()),
    ]


def _console() -> list[RouteSpec]:
    """The query page, its files, and the way to it from the host alone."""
    pages = [
        RouteSpec(path, {"GET"}, RouteKind.BROWSER, endpoint, f"console-{number}")
        for number, (path, endpoint) in enumerate(console_routes())
    ]
    return [RouteSpec("/", {"GET"}, RouteKind.BROWSER, _to_the_page, "home"), *pages]


async def _to_the_page(_: Request) -> Response:
    return RedirectResponse(PAGE_PATH, status_code=303)
