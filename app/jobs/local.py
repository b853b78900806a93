"""The queue of a process that does its parts itself, beside the requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from taskiq import AsyncBroker, BrokerMessage


class LocalBroker(AsyncBroker):
    """Messages wait in memory, first in first out. What is lost with the process is planned anew by the next run."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting = asyncio.Queue[bytes]()

    async def kick(self, message: BrokerMessage) -> None:
        self._waiting.put_nowait(message.message)

    async def listen(self) -> AsyncGenerator[bytes, None]:
        while True:
            yield await self._waiting.get()
