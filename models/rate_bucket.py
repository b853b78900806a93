"""Counts of tries and of spent points, shared by all processes and kept over restarts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from beanie import PydanticObjectId
from pymongo import ASCENDING, IndexModel

from models.base import PlatformDocument
from models.references import PlatformReference, WhenGone


class RateBucket(PlatformDocument):
    """What was taken under one key since the window opened; the window ends at `expires_at`, by the database's clock.

    The last step leaves what it granted, and when: the answer of that one atomic step is all that a process reads.
    """

    id: str  # type: ignore[assignment]  # the key itself
    clinic_id: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.DELETE)] | None = None
    """The clinic that the tries belong to; none where a key is the same on every clinic's host."""
    tries: int
    granted: int = 0
    stepped_at: datetime | None = None
    expires_at: datetime

    class Settings:
        name = "rate_buckets"
        indexes = (IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),)
