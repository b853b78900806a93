"""Counts of tries, shared by all processes and kept over restarts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from beanie import PydanticObjectId
from pymongo import ASCENDING, IndexModel

from models.base import PlatformDocument
from models.references import PlatformReference, WhenGone


class RateBucket(PlatformDocument):
    """Tries under one key since the window opened; the window ends at `expires_at`."""

    id: str  # type: ignore[assignment]  # the key itself
    clinic_id: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.DELETE)] | None = None
    """The clinic that the tries belong to; none where a key is the same on every clinic's host."""
    tries: int
    expires_at: datetime

    class Settings:
        name = "rate_buckets"
        indexes = (IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),)
