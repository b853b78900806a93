"""The simulator of PayPal as a process of its own: started and ended by `make run`."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from app.config import StartSettings
from app.db.mongod import die_with_parent, free_port
from app.plans import PLANS
from scripts.dev_server import ServerError
from scripts.paypal.app import CLIENT_ID, CLIENT_SECRET, WEBHOOK_ID
from scripts.paypal_simulator import HOST

READY_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
RENEWING = ",".join(
    f"{name}-{cycle}=P-{name.upper()}{cycle.upper()}" for name, plan in PLANS.items() for cycle in plan.prices
)
"""Each plan that can be bought has one of that name at the simulator."""


@contextmanager
def paypal_simulator(start: StartSettings) -> Iterator[Mapping[str, str]]:
    """Runs the simulator and gives the settings that point at it; nothing where PayPal is set up already.

    Raises `ServerError` when it does not start.
    """
    if start.paypal_client_id:
        yield {}
        return
    port, roots = free_port(), start.data_dir / "paypal-roots.pem"
    webhook = f"http://{start.root_domain}:{start.port}/api/subscription/webhook"
    command = [sys.executable, "-m", "scripts.paypal_simulator", "--port", str(port), "--roots", str(roots)]
    process = subprocess.Popen(  # noqa: S603 - the command is built here alone
        [*command, "--webhook", webhook],
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches the runner alone, which ends all it started
        preexec_fn=die_with_parent(),  # noqa: PLW1509 - it calls the kernel and nothing else
    )
    try:
        _wait_until_ready(process, port)
        yield {
            "PAYPAL_URL": f"http://{HOST}:{port}",
            "PAYPAL_CLIENT_ID": CLIENT_ID,
            "PAYPAL_CLIENT_SECRET": CLIENT_SECRET,
            "PAYPAL_WEBHOOK_ID": WEBHOOK_ID,
            "PAYPAL_ROOTS": str(roots.resolve()),
            "PAYPAL_PLANS": RENEWING,
        }
    finally:
        _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise ServerError("The simulator of PayPal did not start: see above.")
        time.sleep(0.05)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
