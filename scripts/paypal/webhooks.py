"""The simulator's events: made, signed as PayPal signs, and delivered, if told so twice or in another order."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import secrets
import zlib
from dataclasses import dataclass, field
from datetime import datetime

import httpx

from scripts.paypal.certificates import Chain
from scripts.paypal.state import Json, instant, new_id, shown

TRIES = 8
CERTIFICATE = "CERT-360caa42-simulator"


@dataclass(frozen=True, slots=True)
class Event:
    """One event, as its body goes out."""

    id: str
    type: str
    body: bytes


def event_of(kind: str, resource: Json) -> Event:
    """A fresh event about a resource as it stands now."""
    id = f"WH-{new_id()}-{new_id()}"
    told = {"id": id, "event_version": "1.0", "event_type": kind, "create_time": instant(), "resource": shown(resource)}
    return Event(id, kind, json.dumps(told).encode())


@dataclass(slots=True)
class Outlet:
    """Where events go. Each is sent `copies` times; with `shuffled` those of a burst go out in any order."""

    url: str
    chain: Chain
    webhook_id: str
    target: str | None = None
    host: str | None = None
    """The Host that is asked for there, where its name leads nowhere."""
    copies: int = 1
    shuffled: bool = False
    sent: list[Event] = field(default_factory=list)
    _burst: list[Event] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def send(self, event: Event) -> None:
        """Notes an event, and delivers it soon where there is a target."""
        self.sent.append(event)
        if self.target is None:
            return
        self._burst.append(event)
        if len(self._burst) == 1:
            task = asyncio.get_running_loop().create_task(self._deliver_burst())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def headers(self, event: Event, *, at: datetime | None = None, body: bytes | None = None) -> dict[str, str]:
        """The headers that PayPal sends with an event."""
        transmission, moment = secrets.token_hex(16), instant(at)
        checksum = zlib.crc32(event.body if body is None else body)
        message = f"{transmission}|{moment}|{self.webhook_id}|{checksum}".encode()
        return {
            "Content-Type": "application/json",
            "PayPal-Transmission-Id": transmission,
            "PayPal-Transmission-Time": moment,
            "PayPal-Transmission-Sig": base64.b64encode(self.chain.sign(message)).decode(),
            "PayPal-Cert-Url": f"{self.url}/v1/notifications/certs/{CERTIFICATE}",
            "PayPal-Auth-Algo": "SHA256withRSA",
        }

    def _to(self, event: Event) -> dict[str, str]:
        return {**self.headers(event), **({"Host": self.host} if self.host else {})}

    async def _deliver_burst(self) -> None:
        await asyncio.sleep(0.05)
        burst, self._burst = self._burst * self.copies, []
        if self.shuffled:
            random.shuffle(burst)
        async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
            for event in burst:
                await self._deliver(client, event)

    async def _deliver(self, client: httpx.AsyncClient, event: Event) -> None:
        """As PayPal does: again and again until it is taken."""
        for attempt in range(TRIES):
            try:
                answer = await client.post(str(self.target), content=event.body, headers=self._to(event))
                if answer.is_success:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.2 * 2**attempt)
