"""The server as a process of its own: started, awaited and ended by `make run`."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.config import Settings
from app.db.mongod import die_with_parent

READY_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0
"""Longer than requests under way and messages being sent are given together."""


class ServerError(Exception):
    """The server did not start or did not stay. The text is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """The server's process, or the process that watches over its workers."""

    process: subprocess.Popen[bytes]
    settings: Settings

    def wait_until_ready(self) -> None:
        """Returns when `/healthz` answers 200. Raises `ServerError` when the server ends or stays silent."""
        deadline = time.monotonic() + READY_TIMEOUT
        while not self._is_healthy():
            if self.process.poll() is not None:
                raise ServerError(f"The server ended at its start (code {self.process.returncode}): see above.")
            if time.monotonic() > deadline:
                raise ServerError(f"The server did not answer on port {self.settings.port}: see above.")
            time.sleep(0.05)

    def wait(self) -> None:
        """Returns never by itself: raises `ServerError` when the server ends unasked."""
        code = self.process.wait()
        raise ServerError(f"The server ended by itself (code {code}): see above, then start again.")

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _is_healthy(self) -> bool:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.settings.host, self.settings.host)  # noqa: S104
        connection = http.client.HTTPConnection(host, self.settings.port, timeout=2)
        try:
            connection.request("GET", "/healthz", headers={"Host": self.settings.root_domain})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@contextmanager
def server(application: str, settings: Settings) -> Iterator[RunningServer]:
    """Starts `python -m scripts.serve`, which reads the same settings; ends it with the block."""
    process = subprocess.Popen(  # noqa: S603 - the command is built here alone
        [sys.executable, "-m", "scripts.serve", application],
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches the runner alone, which ends the server before the database
        preexec_fn=die_with_parent(),  # noqa: PLW1509 - it calls the kernel and nothing else
    )
    running = RunningServer(process, settings)
    try:
        yield running
    finally:
        running.stop()
