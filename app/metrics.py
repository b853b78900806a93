"""What the processes count of themselves, in the text format of Prometheus. Labels name routes, codes and clinics; no
person, no path as it was asked for, and nothing that a client made up."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the folder in which the processes of one server count together."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "WEBSOCKET"})
BOUNDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_requests = Counter("polyclinic_http_requests", "Answered requests.", ["route", "method", "status"])
_seconds = Histogram(
    "polyclinic_http_request_seconds", "From the head of a request to its end.", ["route"], buckets=BOUNDS
)
_tenants = Counter("polyclinic_tenant_requests", "Answered requests of each clinic.", ["tenant", "outcome"])
_fields = Counter(
    "polyclinic_graphql_fields",
    "Root fields (`reference`: whole operations) by who completed them: the plan, or graphql-core and why.",
    ["completed"],
)

_JOB_SERIES = {
    "ran": ("last_run_timestamp_seconds", "When the latest run of the job began."),
    "succeeded": ("last_success_timestamp_seconds", "When the latest run began that failed nowhere."),
    "seconds": ("last_run_seconds", "How long the latest run that ended took."),
    "failing": ("failing_clinics", "Clinics at which the job failed when it was last tried."),
    "given_up": ("dead_letters", "Clinics at which it failed so often that it was given up."),
}


@lru_cache(maxsize=4096)
def _request(route: str, method: str, status: str) -> Counter:
    return _requests.labels(route, method, status)


@lru_cache(maxsize=256)
def _time(route: str) -> Histogram:
    return _seconds.labels(route)


@lru_cache(maxsize=4096)
def _tenant(tenant: str, outcome: str) -> Counter:
    return _tenants.labels(tenant, outcome)


@lru_cache(maxsize=64)
def _field(completed: str) -> Counter:
    return _fields.labels(completed)


def count_request(route: str, method: str, status: int, seconds: float, tenant: str | None) -> None:
    """Counts an answered request. `route` is the declared path, `tenant` the subdomain of a clinic that there is."""
    _request(route, method if method in METHODS else "other", str(status)).inc()
    _time(route).observe(seconds)
    if tenant is not None:
        _tenant(tenant, "failed" if status >= 500 else "refused" if status >= 400 else "ok").inc()


def count_field(completed: str) -> None:
    """Counts a root field, or an operation, by who completed it."""
    _field(completed).inc()


def exposition_of_jobs(standing: Iterable[Mapping[str, Any]]) -> bytes:
    """What is known of each job (see `app.jobs.history.standing`) as text: gauges from the database, the same whichever
    process is asked and wherever the job ran."""
    registry = CollectorRegistry()
    gauges = {
        name: Gauge(f"polyclinic_job_{series}", text, ["job"], registry=registry)
        for name, (series, text) in _JOB_SERIES.items()
    }
    for one in standing:
        for name, gauge in gauges.items():
            if (value := one[name]) is not None:
                gauge.labels(one["job"]).set(value.timestamp() if isinstance(value, datetime) else value)
    return generate_latest(registry)


def exposition() -> bytes:
    """All counts as text: those of every process of this server."""
    if FOLDER not in os.environ:
        return generate_latest(REGISTRY)
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return generate_latest(together)
