"""A server that takes one delivery of a laboratory and is killed (kill -9) before its N-th write.

`python -m tests.standin_lab N` reads the delivery (host, headers and body, as JSON) from standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from typing import Any

import httpx

from app.main import create_app
from app.services import lab_intake
from tests.dying import die_before
from tests.http.lab_support import ROUTE


async def deliver(delivery: dict[str, Any]) -> None:
    app = create_app()
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, client=("127.0.0.9", 4711))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{delivery['host']}") as client:
            await client.post(ROUTE, content=delivery["body"].encode(), headers=delivery["headers"])


if __name__ == "__main__":
    die_before(int(sys.argv[1]))
    setattr(lab_intake, "LEASE", timedelta(0))  # noqa: B010 - the test does not wait for what this process holds
    asyncio.run(deliver(json.load(sys.stdin)))
