"""A second server process beside the application under test, on the same database."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx

from app.config import PROJECT_ROOT, Settings
from app.db.mongod import free_port
from scripts.serve import APPLICATION
from tests.conftest import TEST_ENCRYPTION_KEY

PATIENCE = 60.0


@contextmanager
def server_process(settings: Settings, **more: str) -> Iterator[str]:
    """Serves with the same settings, and `more` of the environment, until the block ends; yields its address, such as
    `http://127.0.0.1:4711`."""
    port = free_port()
    with started(settings, port, more) as process:
        address = f"http://127.0.0.1:{port}"
        wait_for(address, process)
        yield address


@contextmanager
def started(
    settings: Settings,
    port: int,
    more: Mapping[str, str],
    *,
    application: str = APPLICATION,
    stdout: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """The process itself, as soon as it is begun. One worker, unless `more` says otherwise."""
    chosen = {
        "ENVIRONMENT": settings.environment,
        "MONGODB_URI": settings.mongodb_uri,
        "MONGODB_DATABASE": settings.mongodb_database,
        "SESSION_SECRET": settings.session_secret.get_secret_value(),
        "ENCRYPTION_KEY": TEST_ENCRYPTION_KEY,
        "AUDIT_SECRET": settings.audit_secret.get_secret_value(),
        "ROOT_DOMAIN": settings.root_domain,
        "PORT": str(port),
        "LOG_LEVEL": "error",
        "COST_PER_CLINIC": str(settings.cost_per_clinic),
        "COST_PER_PERSON": str(settings.cost_per_person),
        "COST_PER_ADDRESS": str(settings.cost_per_address),
        "OUTBOX_SECONDS": str(settings.outbox_seconds),
        "MAIL_URL": settings.mail_target,
        "LAB_INBOX_SECONDS": str(settings.lab_inbox_seconds),
        "JOBS_SECONDS": str(settings.jobs_seconds),
        "PAYPAL_INBOX_SECONDS": str(settings.paypal_inbox_seconds),
        "WORKERS": "1",
        **more,
    }
    command = [sys.executable, "-m", "scripts.serve", application]
    environment = {**os.environ, **chosen}
    with subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stdout=stdout) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    """Returns when the server answers."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{address}/healthz")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server did not start")
