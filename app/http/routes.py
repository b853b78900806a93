"""Every route of the application, declared once, with who may call it."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.config import Settings
from app.db.schema import is_current
from app.graphql.operations import Operations
from app.http.console.pages import PAGE_PATH, DemoAccount, console_routes
from app.http.graphql import GraphQLEndpoint
from app.http.health import Check, database_answers, health_specs
from app.http.onboarding import onboarding_specs
from app.http.registry import RouteKind, RouteSpec
from app.services.demo.plans import PASSWORD
from app.services.demo.seeding import PLANS, accounts_of
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
        for number, (path, endpoint) in enumerate(console_routes(_demo_accounts()))
    ]
    return [RouteSpec("/", {"GET"}, RouteKind.BROWSER, _to_the_page, "home"), *pages]


def _demo_accounts() -> list[DemoAccount]:
    """One sign-in per role of the demo's clinics, for the page to offer. Development alone has the page."""
    offered = {(account.clinic, account.role): account for plan in PLANS for account in reversed(accounts_of(plan))}
    return [DemoAccount(one.role, one.email, PASSWORD, one.clinic) for one in reversed(offered.values())]


async def _to_the_page(_: Request) -> Response:
    return RedirectResponse(PAGE_PATH, status_code=303)
