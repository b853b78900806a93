"""The sessions that a person has open, on all of their devices."""

from __future__ import annotations

import hmac
from typing import Any

from app.auth.operators import end_entries
from app.auth.session_limits import idle_limit, living
from app.auth.sessions import end_session, handle_of
from app.config import Settings
from app.errors import NotFound
from app.tenancy.scope import current_scope, forget_actor
from models import Session, User
from models.values import now

Row = dict[str, Any]
MOST_SHOWN = 100
_SHOWN = ("device", "address", "created_at", "last_seen_at", "expires_at", "second_factor_at")


async def own_sessions(settings: Settings) -> list[Row]:
    """The signed-in person's living sessions, the latest used first. `_id` is what they are called where shown."""
    rows = await Session.rows(
        await _mine(settings),
        projection=dict.fromkeys(_SHOWN, 1),
        sort=[("last_seen_at", -1), ("_id", 1)],
        limit=MOST_SHOWN,
    )
    return [_shown(row, settings) for row in rows]


def _shown(row: Row, settings: Settings) -> Row:
    current = row["_id"] == current_scope().signed_in.session_id
    ends = min(row["expires_at"], row["last_seen_at"] + idle_limit(settings))
    second = row.get("second_factor_at") is not None
    return {**row, "_id": handle_of(row["_id"]), "expires_at": ends, "current": current, "second_factor": second}


async def revoke(handle: str, settings: Settings) -> bool:
    """Ends one of the person's own sessions, in every process at once; whether it was this one.

    Raises NOT_FOUND at `input.sessionId`. What follows in a request that ended its own session runs as nobody.
    """
    names = [row["_id"] for row in await Session.rows(await _mine(settings), projection={"_id": 1})]
    found = next((name for name in names if hmac.compare_digest(handle_of(name).encode(), handle.encode())), None)
    if found is None:
        raise NotFound.at("input.sessionId")
    await end_session(found)
    await end_entries({"session_id": found})
    own: bool = found == current_scope().signed_in.session_id
    if own:
        forget_actor()
    return own


async def _mine(settings: Settings) -> Row:
    user = await User.get(current_scope().signed_in.user_id)
    version = user.token_version if user else None
    return {"user_id": current_scope().signed_in.user_id, "token_version": version, **living(settings, now())}
