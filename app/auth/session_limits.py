"""How long a session lasts and may rest, everywhere and at a clinic that allows less."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from app.config import Settings
from app.tenancy.scope import SignInPolicy

SEEN_EVERY = timedelta(minutes=1)
"""A session's last use is stored this often at most, so what is stored may be this much older than the last use.
A session ends between its idle limit and one such step later: never while somebody was still at work within it."""


def is_over(row: Mapping[str, Any], policy: SignInPolicy | None, settings: Settings, moment: datetime) -> bool:
    """Whether a stored session is none (any more) on a host with that policy, at that instant.

    A clinic's idle limit looks at the longest rest in the session's life and not at the last one alone: a device that
    lay unattended for longer than the clinic allows is not let in after a detour over a host that allows more.
    """
    rest = moment - row["last_seen_at"]
    if row["expires_at"] <= moment or rest > idle_limit(settings) + SEEN_EVERY:
        return True
    if policy is None:
        return False
    if policy.session_hours is not None and moment - row["created_at"] >= timedelta(hours=policy.session_hours):
        return True
    longest = max(rest, timedelta(seconds=row.get("longest_rest", 0)))
    return policy.idle_minutes is not None and longest > timedelta(minutes=policy.idle_minutes) + SEEN_EVERY


def idle_limit(settings: Settings) -> timedelta:
    """So long a session may rest on any host."""
    return timedelta(minutes=settings.session_idle_minutes)


def living(settings: Settings, moment: datetime) -> dict[str, Any]:
    """Filter: the sessions that neither were ended nor are over everywhere at that instant."""
    seen = {"$gte": moment - idle_limit(settings) - SEEN_EVERY}
    return {"revoked_at": None, "expires_at": {"$gt": moment}, "last_seen_at": seen}
