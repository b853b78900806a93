"""Ending tasks that wait for the database."""

from __future__ import annotations

import asyncio
from typing import Any


async def end(task: asyncio.Task[Any]) -> None:
    """Cancels the task until it is over: the driver may swallow a cancellation that comes as its answer does."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=1)
