"""Messages on their way out, written in the transaction of the change that they announce."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, IndexModel

from models.base import PlatformDocument
from models.references import PlatformReference, WhenGone
from models.values import now


class Channel(StrEnum):
    """How a message travels."""

    MAIL = "mail"
    SMS = "sms"
    PUSH = "push"


class OutboxStatus(StrEnum):
    """Where a message stands. Dead ones were given up after too many tries, or refused for good; discarded ones were
    never meant to be sent, and are written where a difference would tell something."""

    WAITING = "waiting"
    SENT = "sent"
    EXPIRED = "expired"
    DEAD = "dead"
    DISCARDED = "discarded"


class OutboxMessage(PlatformDocument):
    """One message to one address. `sealed` holds recipient and text, encrypted, until it is sent or too late.

    Whoever claims it moves `next_at` to the end of their lease: when they die, it falls due again by itself.
    """

    clinic_id: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.DELETE)] | None = None
    """The clinic that it is sent for; none for the system itself."""
    channel: Channel
    kind: str
    """What it announces, such as `invitation`: for lists and logs."""
    sealed: bytes | None = Field(default=None, repr=False)
    status: OutboxStatus = OutboxStatus.WAITING
    tries: int = 0
    next_at: datetime = Field(default_factory=now)
    lease: str | None = None
    error: str | None = None
    """Why the last try failed: a type or a code, never a text."""
    created_at: datetime = Field(default_factory=now)
    expires_at: datetime
    """After this it is worth nothing and is not sent."""
    sent_at: datetime | None = None
    purge_at: datetime | None = None

    class Settings:
        name = "outbox"
        indexes = (
            IndexModel(
                [("status", ASCENDING), ("clinic_id", ASCENDING), ("next_at", ASCENDING), ("_id", ASCENDING)],
                name="due",
            ),
            IndexModel([("clinic_id", ASCENDING)], name="clinic"),
            IndexModel([("purge_at", ASCENDING)], name="purge", expireAfterSeconds=0),
        )
