"""Who acts, and who treats whom."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from bson import ObjectId

from app.errors import NotFound, ValidationFailed
from app.tenancy.scope import current_scope
from models import Staff
from models.values import now

CLOCKS = timedelta(minutes=5)
"""So far a client's clock may be ahead."""


def actor_id() -> Any:
    """The person of the staff who acts, if any."""
    actor = current_scope().actor
    return actor.user_id if actor is not None else None


async def doctor_or_actor(doctor_id: ObjectId | None, *, at: str = "input.doctorId") -> ObjectId:
    """The profile of that id, or of whoever acts. Raises NOT_FOUND, or VALIDATION_FAILED for an archived one, or when
    whoever acts has none here."""
    where = {"_id": doctor_id} if doctor_id is not None else {"user_id": actor_id()}
    rows = await Staff.rows(where, projection={"archived_at": 1}, limit=1)
    if not rows and doctor_id is not None:
        raise NotFound.at(at)
    if not rows:
        raise ValidationFailed.at(at, "say who: you have no profile here")
    if rows[0].get("archived_at") is not None:
        raise ValidationFailed.at(at, "is archived")
    found: ObjectId = rows[0]["_id"]
    return found


def refuse_future(moment: Any, *, at: str) -> None:
    """Raises VALIDATION_FAILED at `at` for what has not happened yet."""
    if moment is not None and moment > now() + CLOCKS:
        raise ValidationFailed.at(at, "lies in the future")
