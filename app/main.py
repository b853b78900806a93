"""Wiring: settings, database, schema and routes become one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware

from app.auth.cookies import session_cookie
from app.config import Settings, get_settings
from app.db.client import make_client
from app.db.documents import init_documents
from app.graphql.operations import Operations
from app.http.edge import build_app
from app.http.identity import Identity
from app.http.routes import route_specs
from app.logging import configure_logging
from app.tenancy.directory import Directory
from models import ALL_DOCUMENTS
from resolvers.base import Resolver
from resolvers.schema import build_schema, core_schema


def create_app(settings: Settings | None = None) -> Starlette:
    """The application. Raises `ConfigurationError` when the settings do not allow a start."""
    settings = settings or get_settings()
    configure_logging(settings)
    client = make_client(settings)
    database = client[settings.mongodb_database]
    directory = Directory(database)
    operations = Operations(core_schema(build_schema()), root=Resolver(), introspection=settings.introspection)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await init_documents(database, ALL_DOCUMENTS)
        await directory.start()
        yield
        await directory.stop()
        await client.close()

    app = build_app(
        route_specs(settings, operations, database),
        settings=settings,
        directory=directory,
        session_cookies=[session_cookie(settings)],
        inner=[Middleware(Identity, settings=settings)],
        lifespan=lifespan,
    )
    app.state.client = client
    return app
