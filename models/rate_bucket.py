"""Counts of tries, shared by all processes and kept over restarts."""

from __future__ import annotations

from datetime import datetime

from pymongo import ASCENDING, IndexModel

from models.base import PlatformDocument


class RateBucket(PlatformDocument):
    """Tries under one key since the window opened; the window ends at `expires_at`."""

    id: str  # type: ignore[assignment]  # the key itself
    tries: int
    expires_at: datetime

    class Settings:
        name = "rate_buckets"
        indexes = (IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),)
