"""Wiring: settings, database, schema and routes become one ASGI application."""

from __future__ import annotations

import asyncio
import gc
import linecache
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware

from app.auth.cookies import patient_cookie, session_cookie
from app.config import Settings, get_settings
from app.db.client import make_client
from app.db.documents import init_documents
from app.graphql.fair_share import QUANTUM, FairShare
from app.graphql.operations import Operations
from app.graphql.persisted import Documents, Mode
from app.http.edge import build_app
from app.http.fair_share import Arrive, Arrived
from app.http.identity import Identity
from app.http.routes import route_specs
from app.integrations.blobs import use_blobs
from app.integrations.paypal import close_paypal
from app.jobs.schedule import Schedule
from app.logging import configure_logging
from app.plans import use_plans
from app.services import lab_sweeping
from app.services.audit_chain import drain as drain_audit
from app.services.audit_chain import use_audit_keys
from app.services.dispatching import Dispatcher
from app.services.inbox import Sweeper
from app.services.placement.clusters import use_clusters
from app.services.subscription import events
from app.services.talk.channels import use_channels
from app.services.tenant_keys import use_tenant_keys
from app.tenancy.clusters import clusters
from app.tenancy.directory import Directory
from models import ALL_DOCUMENTS
from resolvers.base import Resolver
from resolvers.schema import build_schema, core_schema


def create_app(settings: Settings | None = None) -> Starlette:
    """The application. Raises `ConfigurationError` when the settings do not allow a start."""
    settings = settings or get_settings()
    configure_logging(settings)
    use_audit_keys(settings)
    use_plans(required=settings.subscriptions)
    client = make_client(settings, serving=True)
    database = client[settings.mongodb_database]
    directory = Directory(database)
    dispatcher = Dispatcher(settings)
    paypal_inbox = Sweeper("paypal-inbox", settings.paypal_inbox_seconds, partial(events.sweep, settings))
    lab_sweeper = Sweeper("lab-inbox", settings.lab_inbox_seconds, lab_sweeping.sweep)
    operations = Operations(
        core_schema(build_schema()),
        root=Resolver(),
        introspection=settings.introspection,
        gate=_gate(settings),
        documents=Documents(Mode(settings.persisted_queries)),
        compiled=settings.compiled_execution,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await init_documents(database, ALL_DOCUMENTS)
        keys = use_tenant_keys(settings)
        use_clusters(settings)
        use_blobs(settings)
        use_channels(settings)
        await directory.start()
        await dispatcher.start()
        await lab_sweeper.start()
        await paypal_inbox.start()
        schedule = await _schedule(settings)
        linecache.clearcache()  # sources that were read for annotations
        gc.collect()
        gc.freeze()  # what is there now stays: the collector need not walk it again at each of its full rounds
        yield
        beside = [] if schedule is None else [schedule.stop()]
        await asyncio.gather(paypal_inbox.stop(), lab_sweeper.stop(), dispatcher.stop(), *beside)
        await close_paypal()
        await drain_audit()  # after all that may still write into it
        await directory.stop()
        await keys.close()
        await clusters.close()
        await client.close()

    arrivals = _gate(settings, quantum=1)
    app = build_app(
        route_specs(settings, operations, database, paypal_inbox),
        settings=settings,
        directory=directory,
        session_cookies=[session_cookie(settings), patient_cookie(settings)],
        inner=[Middleware(Arrive, gate=arrivals), Middleware(Identity, settings=settings), Middleware(Arrived)],
        lifespan=lifespan,
    )
    app.state.client = client
    app.state.directory = directory
    app.state.operations = operations
    return app


async def _schedule(settings: Settings) -> Schedule | None:
    """What runs jobs in this process, unless workers do or a scheduler calls."""
    if settings.jobs_url is not None or not settings.jobs_seconds:
        return None
    schedule = Schedule(settings)
    await schedule.start()
    return schedule


def _gate(settings: Settings, *, quantum: int = QUANTUM) -> FairShare:
    return FairShare(
        settings.graphql_concurrency,
        settings.graphql_queue,
        seconds=settings.time_limit_ms / 1000,
        quantum=quantum,
    )
