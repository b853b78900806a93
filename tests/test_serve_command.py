"""`python -m scripts.serve`: what does not allow a start is one sentence and exit code 1, for any number of workers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from app.config import PROJECT_ROOT, Settings
from app.db.mongod import free_port
from tests.conftest import TEST_ENCRYPTION_KEY, TEST_SECRET


def _serve(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    given = {
        "PATH": os.environ["PATH"],
        "ENVIRONMENT": "test",
        "SESSION_SECRET": TEST_SECRET,
        "ENCRYPTION_KEY": TEST_ENCRYPTION_KEY,
        "AUDIT_SECRET": TEST_SECRET[::-1],
        "ROOT_DOMAIN": "localhost",
    }
    return subprocess.run(
        [sys.executable, "-m", "scripts.serve", *arguments],
        cwd=PROJECT_ROOT,
        env=given | settings,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_silent_database_is_told_before_anything_is_started(workers: str) -> None:
    uri = f"mongodb://127.0.0.1:{free_port()}/?replicaSet=rs0"
    ended = _serve(MONGODB_URI=uri, PORT=str(free_port()), WORKERS=workers)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("MONGODB_URI does not answer within 5 s: ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_taken_port_is_told(settings: Settings, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = _serve(MONGODB_URI=settings.mongodb_uri, PORT=str(port), WORKERS=workers)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"Port {port} on 127.0.0.1 is not free (Address already in use)")


def test_it_explains_itself() -> None:
    told = _serve("--help")
    assert (told.returncode, told.stderr) == (0, "")
    assert "HOST, PORT, WORKERS" in told.stdout
