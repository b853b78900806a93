"""Telling people: what happened is written in the transaction in which it happened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import NotFound
from app.services.changes import Row
from app.services.talk.channels import send_as_chosen
from app.tenancy.scope import current_scope
from models import Notification
from models.notification import NotificationKind
from models.values import now

MOST_MARKED = 1_000
About = Mapping[str, Any]
"""What a notification is about: `patient_id, conversation_id, appointment_id, ticket_id, item_id`, as far as there is
any."""


async def tell(
    people: Iterable[ObjectId],
    kind: NotificationKind,
    about: About,
    session: AsyncClientSession,
    *,
    actor_too: bool = False,
) -> None:
    """Tells people of the staff, by their accounts; whoever acts is not told of their own act unless `actor_too`: of
    what followed from it, which they may not have seen."""
    actor = current_scope().actor
    told = {one for one in people if actor_too or actor is None or one != actor.user_id}
    made = [Notification(id=ObjectId(), user_id=one, kind=kind, **about) for one in sorted(told)]
    if made:
        await Notification.insert_many(made, session=session)
        await send_as_chosen(sorted(told), kind, session)


async def tell_patient(kind: NotificationKind, about: About, session: AsyncClientSession) -> None:
    """Tells the patient whom it is about."""
    await Notification(id=ObjectId(), to_patient=True, kind=kind, **about).insert(session=session)


def own(*, unread: bool = False) -> dict[str, Any]:
    """The filter of what the person who is signed in was told."""
    mine: dict[str, Any] = {"user_id": current_scope().signed_in.user_id}
    return {**mine, "read_at": None} if unread else mine


def own_as_patient() -> dict[str, Any]:
    """The filter of what the patient who is signed in was told."""
    return {"patient_id": current_scope().signed_in_patient.patient_id, "to_patient": True}


async def mark_read(mine: Mapping[str, Any], kind: NotificationKind | None = None) -> int:
    """Marks one's own notifications as read, all or those of one kind; how many were new."""
    chosen = {**mine, "read_at": None, **({"kind": kind.value} if kind else {})}
    done = await Notification.guarded().update_many(chosen, {"$set": {"read_at": now()}})
    return done.modified_count


async def mark_one_read(id: ObjectId) -> Row:
    """Marks one of one's own as read; answers with its row. Raises NOT_FOUND at `input.id`."""
    await Notification.guarded().update_one({"_id": id, **own(unread=True)}, {"$set": {"read_at": now()}})
    rows = await Notification.rows({"_id": id, **own()}, limit=1)
    if not rows:
        raise NotFound.at("input.id")
    return rows[0]


async def unread() -> int:
    """How many of one's own notifications are new, counted up to `MOST_MARKED`."""
    return await Notification.guarded().count_documents(own(unread=True), limit=MOST_MARKED)
