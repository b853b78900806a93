"""The queue of several machines: a stream of Redis, from which a message goes once it was worked on.

A worker that is killed leaves its messages unacknowledged; another one takes them over after `VISIBLE_SECONDS`.
Loaded by processes with a JOBS_URL alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from taskiq import AckableMessage
from taskiq_redis import RedisStreamBroker

from app.config import Settings
from app.errors import Unavailable

log = structlog.get_logger(__name__)

GROUP = "polyclinic"
VISIBLE_SECONDS = 90.0
"""Longer than one part may take: whoever has not answered for it by then is dead."""
BLOCK_MS = 1_000
LONGEST = 100_000
"""Messages of the stream; more than there ever are, unless nobody works and somebody goes on asking."""
FORGOTTEN_MS = 86_400_000
"""Workers that were not heard of for so long, and left nothing, are forgotten."""


def stream_of(settings: Settings) -> str:
    """The stream's name. Installations may share a Redis, each database has its own."""
    return f"polyclinic:{settings.mongodb_database}:parts"


class StreamBroker(RedisStreamBroker):
    """taskiq's broker, which looks for what dead workers left also while nothing new comes, takes one message at a
    time, deletes what is done, and outlasts a Redis that is away or has lost its memory."""

    def __init__(self, settings: Settings) -> None:
        assert settings.jobs_url is not None  # noqa: S101 - asked by the caller
        super().__init__(
            settings.jobs_url.get_secret_value(),
            queue_name=stream_of(settings),
            consumer_group_name=GROUP,
            consumer_id="0",
            maxlen=LONGEST,
            socket_connect_timeout=5,
            socket_timeout=10,
            retry=Retry(NoBackoff(), 1),  # a connection that was kept may have ended with the Redis before
        )

    async def startup(self) -> None:
        """Raises UNAVAILABLE when Redis does not answer."""
        try:
            await super().startup()
            await self._clean()
        except (RedisError, OSError) as error:
            raise Unavailable("The queue of jobs (JOBS_URL) does not answer.") from error

    async def shutdown(self) -> None:
        """Takes this worker off the list, unless something is left that another must take over from it."""
        with contextlib.suppress(RedisError, OSError):
            await self._forget(lambda one: one["name"].decode() == self.consumer_name)
        await super().shutdown()

    async def listen(self) -> AsyncGenerator[AckableMessage, None]:
        away = False
        while True:
            try:
                message = await self._next()
            except (RedisError, OSError) as error:
                if not away:
                    log.warning("the queue of jobs does not answer; trying again", error=type(error).__name__)
                away = True
                await asyncio.sleep(1)
                continue
            away = False
            if message is not None:
                yield message

    async def _clean(self) -> None:
        """Forgets workers that died long ago."""
        await self._forget(lambda one: one["idle"] > FORGOTTEN_MS)

    async def _forget(self, which: Callable[[Mapping[str, Any]], bool]) -> None:
        async with Redis(connection_pool=self.connection_pool) as redis:
            for one in await redis.xinfo_consumers(self.queue_name, GROUP):
                if not one["pending"] and which(one):
                    await redis.xgroup_delconsumer(self.queue_name, GROUP, one["name"])

    async def _next(self) -> AckableMessage | None:
        """What a dead worker left, else what is new; None when nothing comes for a while."""
        async with Redis(connection_pool=self.connection_pool) as redis:
            try:
                return await self._left(redis) or await self._fresh(redis)
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
                await self._declare_consumer_group()  # it lost what it knew
                return None

    async def _left(self, redis: Redis) -> AckableMessage | None:
        idle = int(VISIBLE_SECONDS * 1_000)
        claimed: Any = await redis.xautoclaim(self.queue_name, GROUP, self.consumer_name, min_idle_time=idle, count=1)
        return self._message(claimed[1])

    async def _fresh(self, redis: Redis) -> AckableMessage | None:
        new: Any = await redis.xreadgroup(GROUP, self.consumer_name, {self.queue_name: ">"}, count=1, block=BLOCK_MS)
        return self._message(new[0][1]) if new else None

    def _message(self, found: list[tuple[bytes, dict[bytes, bytes]]]) -> AckableMessage | None:
        for key, fields in found:
            return AckableMessage(data=fields[b"data"], ack=self._ack_generator(key.decode(), self.queue_name))
        return None

    def _ack_generator(self, id: str, queue_name: str) -> Callable[[], Awaitable[None]]:
        async def done() -> None:
            redis = Redis(connection_pool=self.connection_pool)
            async with redis, redis.pipeline(transaction=True) as both:
                both.xack(queue_name, GROUP, id)
                both.xdel(queue_name, id)
                await both.execute()

        return done
