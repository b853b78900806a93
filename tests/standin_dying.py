"""Requests and commands in processes that are killed (kill -9) on the way: `python -m tests.standin_dying`.

Reads one JSON object from each line of its standard input and answers with one:

- `{"die_at": N, "request": {"method", "path", "host", "address", "token", "headers", "body"}}` asks the application;
- `{"die_at": N, "command": ["scripts.delete_tenant", …]}` runs a command's `cli`.

Each runs in a fork of its own, which dies at its N-th moment. A moment is the one before a database command of the
request is sent, or the one after its reply came; so the last one lies between all that was stored and the answer.
Without `die_at` nobody dies. The answer is `{"died", "moments"}` and, of a request, `{"status", "body"}`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from app.config import Settings, load_settings
from app.main import create_app
from app.tenancy.listener import TenantWall
from app.tenancy.scope import scope_or_none

Order = dict[str, Any]


class Moments:
    """Counts the moments, and kills its process at the one that was named."""

    def __init__(self, die_at: int | None) -> None:
        self.count = 0
        self._die_at = die_at
        self._counting = False

    def begin(self) -> None:
        """What came before, such as the start of the application, does not count."""
        self._counting = True

    def pass_by(self) -> None:
        if not self._counting or scope_or_none() is None:  # the watch on clinics has no scope, and no fixed order
            return
        self.count += 1
        if self.count == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def watched(die_at: int | None) -> Moments:
    """The moments of this process from now on."""
    moments = Moments(die_at)
    for name in ("started", "succeeded", "failed"):
        setattr(TenantWall, name, _passing(getattr(TenantWall, name), moments))
    return moments


def _passing(method: Callable[[TenantWall, Any], None], moments: Moments) -> Callable[[TenantWall, Any], None]:
    def passing(wall: TenantWall, event: Any) -> None:
        method(wall, event)
        moments.pass_by()

    return passing


async def ask(app: Starlette, wanted: Order, moments: Moments) -> Order:
    """One request, from the start of the application to its end."""
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(wanted["address"], 4711))
        headers = {"X-Polyclinic-Client": "tests", **wanted.get("headers", {})}
        if wanted.get("token"):
            headers["Authorization"] = f"Bearer {wanted['token']}"
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{wanted['host']}") as http:
            moments.begin()
            answer = await http.request(wanted["method"], wanted["path"], json=wanted["body"], headers=headers)
    return {"status": answer.status_code, "body": answer.json()}


def command(arguments: list[str], moments: Moments) -> Order:
    """One command, as a shell runs it."""
    moments.begin()
    sys.argv = arguments
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):
        importlib.import_module(arguments[0]).cli()
    return {}


def in_a_fork(app: Starlette, order: Order, answer: Path) -> Order:
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            moments = watched(order.get("die_at"))
            if "request" in order:
                told = asyncio.run(ask(app, order["request"], moments))
            else:
                told = command(order["command"], moments)
            answer.write_text(json.dumps({**told, "died": False, "moments": moments.count}))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return json.loads(answer.read_text()) if answer.exists() else {"died": True}


def main(settings: Settings) -> None:
    app = create_app(settings)
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            told = in_a_fork(app, json.loads(line), Path(folder, "answer"))
            sys.stdout.write(f"{json.dumps(told)}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    importlib.import_module("scripts.delete_tenant")
    main(load_settings())
