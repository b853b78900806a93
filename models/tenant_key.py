"""The data keys of the clinics, each wrapped by the installation's master key."""

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


class KeyState(StrEnum):
    """Whether a version of a clinic's key can still open anything."""

    LIVE = "live"
    DESTROYED = "destroyed"
    """A newer version has taken over everything; of this one only the record is left."""


class TenantKey(PlatformDocument):
    """One version of a clinic's data key. Goes with the clinic: what was sealed under it can then be opened by nobody.

    `wrapped` is 32 random bytes, encrypted by `provider` (`local:` and the fingerprint of ENCRYPTION_KEY, or `vault:`
    and the name of the service's key); None once the version is destroyed.
    """

    clinic_id: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.DELETE)]
    version: int = Field(ge=1, lt=2**32)
    wrapped: bytes | None = Field(default=None, repr=False)
    provider: str
    state: KeyState = KeyState.LIVE
    created_at: datetime = Field(default_factory=now)

    class Settings:
        name = "tenant_keys"
        indexes = (IndexModel([("clinic_id", ASCENDING), ("version", ASCENDING)], name="clinic_version", unique=True),)
