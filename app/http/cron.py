"""`/api/cron/{job}`: a scheduler starts a job, with the cron secret, on the root host."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from app.config import Settings
from app.errors import Unavailable
from app.http.answers import json_response
from app.http.bearer import require_root_host, require_secret
from app.http.failures import MethodNotAllowed
from app.http.registry import RouteKind, RouteSpec
from app.jobs.runs import run_job
from app.services.rate_limits import Limit

TRIES = Limit("cron-secret", 30, timedelta(minutes=15), platform=True)


def cron_specs(settings: Settings) -> list[RouteSpec]:
    """The one route. Schedulers that can only GET may do so."""
    return [RouteSpec("/api/cron/{job}", {"GET", "POST"}, RouteKind.CRON, partial(start, settings), "cron")]


async def start(settings: Settings, request: Request) -> Response:
    """Runs the job and tells what it did; 202 when a run of it is under way, and nothing was done.

    Without CRON_SECRET it is 503 in every environment: unset never means open.
    """
    require_root_host()
    if settings.cron_secret is None:
        raise Unavailable("CRON_SECRET is not set, so no job can be started over HTTP.")
    await require_secret(request, settings.cron_secret, TRIES)
    if request.method == "HEAD":
        raise MethodNotAllowed(["GET", "POST"])
    report = await run_job(request.path_params["job"], settings)
    return json_response(report.told(), 202 if report.running else 200)
