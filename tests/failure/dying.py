"""Speaks to `tests.standin_dying`, and chooses the moments at which its processes die."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from app.config import PROJECT_ROOT, Settings
from tests.fixtures.jobs import environment

SEED = int(os.environ.get("KILL_SEED", "20"))
"""Other moments are chosen by another one."""


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a request or command: `died`, or how it was answered and how many moments it had."""

    died: bool
    moments: int = 0
    status: int = 0
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mortal:
    """Has things done by processes that can be killed on the way."""

    process: subprocess.Popen[str]

    async def graphql(
        self, host: str, token: str | None, query: str, variables: dict[str, Any], *, die_at: int | None = None
    ) -> Told:
        body = {"query": query, "variables": variables}
        return await self.request(host, "/graphql", body, token=token, die_at=die_at)

    async def request(
        self,
        host: str,
        path: str,
        body: dict[str, Any],
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        die_at: int | None = None,
    ) -> Told:
        address = f"10.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(1, 255)}"
        asked = {"method": "POST", "path": path, "host": host, "address": address, "token": token, "body": body}
        return await self._ask({"die_at": die_at, "request": {**asked, "headers": headers or {}}})

    async def command(self, *arguments: str, die_at: int | None = None) -> Told:
        return await self._ask({"die_at": die_at, "command": list(arguments)})

    async def _ask(self, order: dict[str, Any]) -> Told:
        return await asyncio.to_thread(self._ask_now, order)

    def _ask_now(self, order: dict[str, Any]) -> Told:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{json.dumps(order)}\n")
        self.process.stdin.flush()
        return Told(**json.loads(self.process.stdout.readline()))


@contextmanager
def mortal_process(settings: Settings, **more: str) -> Iterator[Mortal]:
    """One whose forks do what they are told on the test's database."""
    chosen = {name: str(getattr(settings, name.lower())) for name in ("COST_PER_CLINIC", "COST_PER_PERSON")}
    env = environment(settings, LOG_LEVEL="error", COST_PER_ADDRESS=str(settings.cost_per_address), **chosen, **more)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.standin_dying"],
        cwd=PROJECT_ROOT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Mortal(process)
        finally:
            process.kill()


def chosen_moments(moments: int, count: int, what: str) -> list[int]:
    """`count` of the moments of something, chosen at random but alike in each run; the last one is among them."""
    assert moments > count // 2, f"{what} has too few moments to die at"
    rest = random.Random(f"{SEED} {what}").sample(range(1, moments), min(count, moments) - 1)
    return [*sorted(rest), moments]
