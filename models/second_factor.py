"""What a person signs in with beside their password: an authenticator app, recovery codes, passkeys."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, IndexModel

from models.base import PlatformDocument
from models.references import PlatformReference, WhenGone
from models.values import Line, now


class SecondFactor(PlatformDocument):
    """A person's authenticator app and their recovery codes; there is one at most.

    The app's secret counts once `confirmed_at` is set. Recovery codes are hashes, of which each use takes one away.
    """

    user_id: Annotated[PydanticObjectId, PlatformReference("users", WhenGone.DELETE)]
    wrapped: bytes | None = Field(None, repr=False)
    """The app's secret, encrypted by `provider`; None for somebody who has passkeys alone."""
    provider: str = ""
    confirmed_at: datetime | None = None
    last_step: int = 0
    """The 30-second step of the last code that was accepted: it and earlier ones are no longer good."""
    recovery: list[str] = Field(default_factory=list, repr=False)
    created_at: datetime = Field(default_factory=now)

    class Settings:
        name = "second_factors"
        indexes = (IndexModel([("user_id", ASCENDING)], name="user", unique=True),)


class Passkey(PlatformDocument):
    """A WebAuthn credential of a person: a public key, whose private one never leaves their device."""

    user_id: Annotated[PydanticObjectId, PlatformReference("users", WhenGone.DELETE)]
    credential_id: bytes = Field(repr=False)
    public_key: bytes = Field(repr=False)
    """COSE, as the authenticator gave it."""
    sign_count: int = 0
    name: Line
    transports: list[str] = Field(default_factory=list)
    backed_up: bool = False
    """Whether the device's maker keeps it for the person's other devices."""
    created_at: datetime = Field(default_factory=now)
    last_used_at: datetime | None = None

    class Settings:
        name = "passkeys"
        indexes = (
            IndexModel([("credential_id", ASCENDING)], name="credential", unique=True),
            IndexModel([("user_id", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)], name="user"),
        )


class ChallengePurpose(StrEnum):
    """What an answer to a challenge may do."""

    REGISTER = "register"
    SIGN_IN = "sign_in"


class PasskeyChallenge(PlatformDocument):
    """A challenge that waits for its one answer. Its id is the hash of the challenge."""

    id: str  # type: ignore[assignment]  # SHA-256 in hex
    purpose: ChallengePurpose
    user_id: Annotated[PydanticObjectId, PlatformReference("users", WhenGone.DELETE)] | None = None
    """Who asked for it; None before signing in."""
    origin: str
    """Where it was asked for, and so where it may be answered."""
    expires_at: datetime

    class Settings:
        name = "passkey_challenges"
        indexes = (
            IndexModel([("user_id", ASCENDING)], name="user"),
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),
        )
