"""Every route of the application, declared once, with who may call it."""

from __future__ import annotations

from app.config import Settings
from app.graphql.operations import Operations
from app.http.graphql import GraphQLEndpoint
from app.http.health import database_answers, health_specs
from app.http.registry import RouteKind, RouteSpec
from app.tenancy.scope import Database


def route_specs(settings: Settings, operations: Operations, database: Database) -> list[RouteSpec]:
    """The declarations, in the order in which they are tried."""
    return [
        *health_specs({"database": database_answers(database)}),
        RouteSpec(
            "/graphql", {"POST"}, RouteKind.STAFF, GraphQLEndpoint(operations, settings).answer, "graphql"
        ),
    ]
