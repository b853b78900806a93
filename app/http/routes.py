"""Every route of the application, declared once, with who may call it."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from app.config import Settings
from app.db.migrations.running import shared_is_migrated
from app.db.schema import is_current
from app.graphql.operations import Operations
from app.http.billing_documents import billing_document_specs
from app.http.console.pages import PAGE_PATH, DemoAccount, console_routes
from app.http.cron import cron_specs
from app.http.documents import document_specs
from app.http.exports import export_specs
from app.http.graphql import GraphQLEndpoint
from app.http.health import Check, database_answers, health_specs
from app.http.install import install_specs
from app.http.lab_webhook import lab_webhook_specs
from app.http.metrics import metrics_specs
from app.http.onboarding import onboarding_specs
from app.http.patient_sign_in import patient_sign_in_specs
from app.http.paypal_webhook import paypal_webhook_specs
from app.http.registry import RouteKind, RouteSpec
from app.http.representative_sign_in import representative_sign_in_specs
from app.http.single_sign_on import single_sign_on_specs
from app.services.inbox import Sweeper
from app.tenancy.scope import Database


def route_specs(
    settings: Settings, operations: Operations, database: Database, paypal_inbox: Sweeper
) -> list[RouteSpec]:
    """The declarations, in the order in which they are tried."""
    checks: dict[str, Check] = {
        "database": database_answers(database),
        "schema": partial(is_current, database),
        "migrations": partial(shared_is_migrated, database),
    }
    graphql = GraphQLEndpoint(operations, settings)
    return [
        *health_specs(checks),
        *metrics_specs(settings),
        RouteSpec("/graphql", _methods(settings), RouteKind.STAFF, graphql.answer, "graphql"),
        *onboarding_specs(settings),
        *export_specs(),
        *billing_document_specs(),
        *document_specs(settings),
        *patient_sign_in_specs(settings),
        *single_sign_on_specs(settings),
        *representative_sign_in_specs(settings),
        *cron_specs(settings),
        *install_specs(settings, database),
        *lab_webhook_specs(),
        *paypal_webhook_specs(settings, paypal_inbox),
        *(_console(graphql) if settings.graphql_ide else ()),
    ]


def _methods(settings: Settings) -> set[str]:
    """Queries by GET share their path with the query page, which lets them through, where there is one."""
    return {"POST"} if settings.graphql_ide else {"GET", "POST"}


def _console(graphql: GraphQLEndpoint) -> list[RouteSpec]:
    """The query page, its files, and the way to it from the host alone."""
    pages = [
        RouteSpec(
            path,
            {"GET"},
            RouteKind.BROWSER,
            graphql.or_page(endpoint) if path == PAGE_PATH else endpoint,
            f"console-{number}",
        )
        for number, (path, endpoint) in enumerate(console_routes(_demo_accounts()))
    ]
    return [RouteSpec("/", {"GET"}, RouteKind.BROWSER, _to_the_page, "home"), *pages]


def _demo_accounts() -> list[DemoAccount]:
    """One sign-in per role of the demo's clinics, for the page to offer. Development alone has the page."""
    from app.services.demo.plans import PASSWORD  # loaded where the page is alone: production makes no demo
    from app.services.demo.seeding import PLANS, accounts_of

    offered = {(account.clinic, account.role): account for plan in PLANS for account in reversed(accounts_of(plan))}
    return [DemoAccount(one.role, one.email, PASSWORD, one.clinic) for one in reversed(offered.values())]


async def _to_the_page(_: Request) -> Response:
    return RedirectResponse(PAGE_PATH, status_code=303)
