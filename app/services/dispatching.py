"""Sending what waits in the outbox: at least once, clinic by clinic in turn, by however many processes there are."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter, deque
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import structlog
from bson import ObjectId
from pymongo import ReturnDocument

from app.config import Settings
from app.integrations.delivery import DeliveryFailed
from app.integrations.mail import Mail, MailTransport, mail_transport
from app.integrations.push import Push, PushGone, push
from app.integrations.sms import Sms, SmsTransport, sms_transport
from app.services.outbox import Unsealable, unseal_by_ring
from app.services.talk.channels import push_key
from app.services.talk.subscriptions import forget_gone
from app.tenancy.scope import Scope, open_scope
from models import OutboxMessage
from models.outbox import Channel, OutboxStatus
from models.values import now

log = structlog.get_logger(__name__)

MAX_TRIES = 8
AT_ONCE = 8
SEND_SECONDS = 60.0
STOP_SECONDS = 10.0
LEASE = timedelta(minutes=2)
"""Longer than a send may take: whoever still holds it is either sending or dead."""
FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(hours=1)
KEPT = timedelta(days=30)
"""So long the trace of a message stays once it is over. Only a dead one keeps its content, while it may be revived."""

_WAITING = OutboxStatus.WAITING.value


class Dispatcher:
    """Sends what is due. Any number of them, in any number of processes, may share one outbox."""

    def __init__(
        self, settings: Settings, *, mail: MailTransport | None = None, sms: SmsTransport | None = None
    ) -> None:
        """`mail` and `sms` stand in for the transports that the settings name."""
        self._settings = settings
        self._mail = mail or mail_transport(settings.mail_target, settings.mail_sender)
        self._sms = sms or (sms_transport(settings.sms_target) if settings.sms_target else None)
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> None:
        """Begins to look every `outbox_seconds`; with 0 it never does."""
        if self._settings.outbox_seconds:
            self._task = asyncio.create_task(self._run(), name="outbox")

    async def stop(self) -> None:
        """Lets what is being sent finish, for a while; what is cut off is sent again once its lease ends."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=STOP_SECONDS)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self.dispatch_due()
            except Exception as error:  # noqa: BLE001 - whatever broke one round must not end all that follow
                log.warning("the outbox was not worked through; trying again", error=_kinds_of(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._settings.outbox_seconds)

    async def dispatch_due(self) -> Mapping[str, int]:
        """Sends until nothing is due; tells how many were `sent`, will be tried again (`retry`) or are `dead`."""
        with open_scope(Scope(request_id=f"outbox-{uuid4().hex}")):
            await _sweep()
            turns, done = _Turns(), Counter[str]()
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(self._work(turns, done))
            return dict(done)

    async def _work(self, turns: _Turns, done: Counter[str]) -> None:
        while not self._stopping.is_set() and (row := await turns.claim_next()) is not None:
            done[await self._deliver(row)] += 1

    async def _deliver(self, row: Mapping[str, Any]) -> str:
        """Sends one claimed message and notes what became of it."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send(row)
        except TimeoutError:
            return await _failed(row, DeliveryFailed("TimeoutError"))
        except DeliveryFailed as failure:
            return await _failed(row, failure)
        except (Unsealable, ValueError) as error:  # a key that is gone, an address that no header can hold
            return await _failed(row, DeliveryFailed(type(error).__name__, final=True))
        except Exception as error:  # noqa: BLE001 - whatever broke this message must not cut the others off
            return await _failed(row, DeliveryFailed(type(error).__name__))
        await _settle(row, {"status": OutboxStatus.SENT.value, "sent_at": now(), "error": None}, drop=True)
        return "sent"

    async def _send(self, row: Mapping[str, Any]) -> None:
        content = unseal_by_ring(self._settings.session_ring, row["_id"], row["sealed"])
        name = f"{row['_id']}@{self._settings.root_domain}"  # the same at each try, so that twice can be told as once
        if row["channel"] == Channel.PUSH:
            await self._push(row, content)
            return
        if row["channel"] == Channel.SMS:
            if self._sms is None:
                raise DeliveryFailed("NoSmsUrl")
            await self._sms.send(Sms(content["to"], content["text"], name))
            return
        await self._mail.send(
            Mail(
                to=content["to"],
                subject=content["subject"],
                text=content["text"],
                html=content["html"],
                sender_name=content["from"],
                message_id=name,
                language=content["language"],
            )
        )

    async def _push(self, row: Mapping[str, Any], content: Mapping[str, str]) -> None:
        key = push_key(self._settings)
        if key is None:
            raise DeliveryFailed("NoPushKey", final=True)
        message = Push(content["endpoint"], content["p256dh"], content["auth"], content["payload"].encode())
        try:
            await push(message, key, loopback=self._settings.loopback_providers)
        except PushGone:
            await forget_gone(row["clinic_id"], content["subscription"])
            raise


class _Turns:
    """The clinics with something due, one message each in turn: a thousand of one do not hold up another's."""

    def __init__(self) -> None:
        self._clinics: deque[ObjectId | None] = deque()
        self._refilling = asyncio.Lock()

    async def claim_next(self) -> dict[str, Any] | None:
        """Claims a due message of the clinic whose turn it is; None when nothing is due."""
        while True:
            async with self._refilling:
                if not self._clinics:
                    self._clinics.extend(await _clinics_with_due())
                if not self._clinics:
                    return None
                clinic = self._clinics.popleft()
            if (row := await _claim(clinic)) is not None:
                return row


def _kinds_of(error: BaseException) -> str:
    """The types of what went wrong in the workers, without their texts, which may hold addresses."""
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else (error,)
    return ", ".join(sorted({type(one).__name__ for one in inner}))


def _due() -> dict[str, Any]:
    moment = now()
    return {
        "status": _WAITING,
        "next_at": {"$lte": moment},
        "expires_at": {"$gt": moment},
        "tries": {"$lt": MAX_TRIES},
    }


async def _clinics_with_due() -> list[ObjectId | None]:
    found: list[ObjectId | None] = await OutboxMessage.guarded().distinct("clinic_id", _due())
    random.shuffle(found)  # several processes begin with different ones
    return found


async def _claim(clinic: ObjectId | None) -> dict[str, Any] | None:
    """Takes the clinic's oldest due message under a lease, in one atomic step; None when another was faster."""
    return await OutboxMessage.guarded().find_one_and_update(
        {"clinic_id": clinic, **_due()},
        {"$set": {"lease": uuid4().hex, "next_at": now() + LEASE}, "$inc": {"tries": 1}},
        sort=[("next_at", 1), ("_id", 1)],
        return_document=ReturnDocument.AFTER,
    )


async def _failed(row: Mapping[str, Any], failure: DeliveryFailed) -> str:
    dead = failure.final or row["tries"] >= MAX_TRIES
    log.warning(
        "a message was not delivered",
        message=str(row["_id"]),
        kind=row["kind"],
        error=failure.reason,
        tries=row["tries"],
        dead=dead,
    )
    if dead:
        await _settle(row, {"status": OutboxStatus.DEAD.value, "error": failure.reason})
        return "dead"
    await _settle(row, {"next_at": now() + delay_after(row["tries"]), "error": failure.reason})
    return "retry"


def delay_after(tries: int) -> timedelta:
    """How long to wait after so many tries: twice as long each time, up to an hour, and never quite alike."""
    doubled: timedelta = FIRST_DELAY * 2 ** (tries - 1)
    spread = random.uniform(0.8, 1.2)  # noqa: S311 - spreads load, guards nothing
    return min(doubled, LONGEST_DELAY) * spread


async def _settle(row: Mapping[str, Any], values: Mapping[str, Any], *, drop: bool = False) -> None:
    """Notes the outcome, if the message still is ours: a lease that ran out may be another's by now."""
    over = {"purge_at": now() + KEPT} if "status" in values else {}
    await OutboxMessage.guarded().update_one(
        {"_id": row["_id"], "lease": row["lease"]},
        {"$set": {**values, **over, "lease": None, **({"sealed": None} if drop else {})}},
    )


async def _sweep() -> None:
    """Gives up what is too late, and what its senders died of each time."""
    moment = now()
    over = {"lease": None, "purge_at": moment + KEPT}
    await OutboxMessage.guarded().update_many(
        {"status": _WAITING, "next_at": {"$lte": moment}, "expires_at": {"$lte": moment}},
        {"$set": {"status": OutboxStatus.EXPIRED.value, "sealed": None, **over}},
    )
    await OutboxMessage.guarded().update_many(
        {"status": _WAITING, "next_at": {"$lte": moment}, "tries": {"$gte": MAX_TRIES}},
        {"$set": {"status": OutboxStatus.DEAD.value, "error": "Interrupted", **over}},
    )
    await OutboxMessage.guarded().update_many(
        {"status": OutboxStatus.DEAD.value, "expires_at": {"$lte": moment}, "sealed": {"$ne": None}},
        {"$set": {"sealed": None}},
    )


async def dispatch_outbox(settings: Settings) -> Mapping[str, int]:
    """One round for a scheduler: sends all that is due, and tells what became of it."""
    return await Dispatcher(settings).dispatch_due()


async def dead_messages() -> list[dict[str, Any]]:
    """What was given up, oldest first, without recipients and texts."""
    shown = ("clinic_id", "channel", "kind", "tries", "error", "created_at", "expires_at")
    return await OutboxMessage.rows(
        {"status": OutboxStatus.DEAD.value}, projection=("_id", *shown), sort=[("_id", 1)], limit=1_000
    )


async def retry_dead(key: ObjectId | None = None) -> int:
    """Lets dead messages (that one, or all) be tried again, unless it is too late; how many they are."""
    chosen = {"_id": key} if key is not None else {}
    done = await OutboxMessage.guarded().update_many(
        {"status": OutboxStatus.DEAD.value, "expires_at": {"$gt": now()}, "sealed": {"$ne": None}, **chosen},
        {"$set": {"status": _WAITING, "tries": 0, "next_at": now(), "error": None, "purge_at": None}},
    )
    return done.modified_count
