"""`/metrics`: what Prometheus collects, for whoever brings the metrics secret."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial

import pymongo
from pymongo.errors import PyMongoError
from starlette.requests import Request
from starlette.responses import Response

from app.config import Settings
from app.errors import NotFound, Unauthenticated
from app.http.bearer import brings
from app.http.registry import RouteKind, RouteSpec
from app.jobs.history import standing
from app.metrics import CONTENT_TYPE, exposition, exposition_of_jobs
from app.services.rate_limits import Limit, network_of, take
from app.tenancy.scope import current_scope

TRIES = Limit("metrics-secret", 30, timedelta(minutes=15), platform=True)
JOBS_SECONDS = 1.0
"""So long the database may take to tell of jobs: the rest is told without it."""


def metrics_specs(settings: Settings) -> list[RouteSpec]:
    """The one route."""
    return [RouteSpec("/metrics", {"GET"}, RouteKind.OPERATOR, partial(show, settings), "metrics")]


async def show(settings: Settings, request: Request) -> Response:
    """All counts. Without METRICS_SECRET there is nothing here (404): unset never means open."""
    if settings.metrics_secret is None:
        raise NotFound
    if not brings(request, settings.metrics_secret):  # who brings it asks no database, which may be what is down
        await take(TRIES, network_of(current_scope().address))
        raise Unauthenticated("The secret is missing or wrong.")
    counts, jobs = await asyncio.gather(asyncio.to_thread(exposition), _jobs())
    return Response(counts + jobs, media_type=CONTENT_TYPE)


async def _jobs() -> bytes:
    """What is known of the jobs; nothing while the database does not answer."""
    try:
        with pymongo.timeout(JOBS_SECONDS):
            return exposition_of_jobs(await standing())
    except PyMongoError:
        return b""
