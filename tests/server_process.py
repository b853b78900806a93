"""A second server process beside the application under test, on the same database."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from app.config import Settings
from app.db.mongod import free_port

PATIENCE = 60.0


@contextmanager
def server_process(settings: Settings) -> Iterator[str]:
    """Serves with the same settings until the block ends; yields its address, such as `http://127.0.0.1:4711`."""
    port = free_port()
    chosen = {
        "ENVIRONMENT": settings.environment,
        "MONGODB_URI": settings.mongodb_uri,
        "MONGODB_DATABASE": settings.mongodb_database,
        "SESSION_SECRET": settings.session_secret.get_secret_value(),
        "ROOT_DOMAIN": settings.root_domain,
        "PORT": str(port),
        "LOG_LEVEL": "error",
    }
    process = subprocess.Popen([sys.executable, "-m", "scripts.serve"], env={**os.environ, **chosen})
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"{address}/healthz")
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server did not start")
