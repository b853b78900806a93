"""Messages: sent into a conversation in one transaction with its count, who has it unread, and who is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import NotFound
from app.services.changes import Row, build
from app.services.idempotency import mark_of, once
from app.services.talk import notifying
from app.services.talk.attachments import attached, share_attached
from app.tenancy.scope import current_scope
from models import Conversation, Message
from models.appointment import RequestMark
from models.conversation import PATIENT, Attachment, ConversationKind
from models.notification import NotificationKind
from models.values import now

MOST_MESSAGES = 10_000


async def send(conversation_id: ObjectId, where: Row, values: Mapping[str, Any], *, key: str | None) -> Row:
    """Sends a message into a conversation that matches `where`; answers with the message's row.

    `values`: `body`, and maybe `document_ids`. Raises NOT_FOUND at `input.conversationId` or `input.documentIds.N`,
    VALIDATION_FAILED at `input.body`, IDEMPOTENCY_CONFLICT.
    """
    operation = "sendMessage" if current_scope().actor is not None else "patientSendMessage"
    mark = mark_of(operation, key, {**values, "conversation_id": conversation_id})
    rows = await Conversation.rows({"_id": conversation_id, **where}, projection=["kind", "patient_id"], limit=1)
    if not rows:
        raise NotFound.at("input.conversationId")
    attachments = await attached(values.get("document_ids") or (), _attachable(rows[0]))
    draft = _message(rows[0], 1, values["body"], attachments, mark)

    async def work(session: AsyncClientSession) -> Row:
        await post(conversation_id, where, draft.body, attachments, mark, session)
        [sent] = await Message.rows(
            {"conversation_id": conversation_id}, sort=[("number", -1)], limit=1, session=session
        )
        return sent

    return await once(Message, mark, lambda: in_transaction(work))


def _attachable(conversation: Row) -> Row:
    """Which documents may go into a conversation: into one with a patient, theirs alone."""
    if conversation["kind"] != ConversationKind.PATIENT:
        return {}
    mine = {"patient_id": conversation["patient_id"]}
    return mine if current_scope().actor is not None else {**mine, "shared_at": {"$ne": None}}


async def post(
    conversation_id: ObjectId,
    where: Row,
    body: str,
    attachments: Sequence[Attachment],
    mark: RequestMark | None,
    session: AsyncClientSession,
) -> Row:
    """Stores a message as the conversation's next one, within a transaction; answers with the conversation's row."""
    row = await Conversation.guarded().find_one_and_update(
        {"_id": conversation_id, "message_count": {"$lt": MOST_MESSAGES}, **where},
        {"$inc": {"message_count": 1}, "$set": {"last_message_at": now(), "updated_at": now()}},
        return_document=ReturnDocument.AFTER,
        session=session,
    )
    if row is None:
        raise NotFound.at("input.conversationId")
    await _message(row, row["message_count"], body, attachments, mark).insert(session=session)
    by_staff, with_patient = current_scope().actor is not None, row["kind"] == ConversationKind.PATIENT
    if by_staff and with_patient:
        await share_attached(attachments, session)
    await _tell(row, session, by_staff=by_staff, with_patient=with_patient)
    changed = await Conversation.guarded().find_one_and_update(
        {"_id": conversation_id}, _standing(row), return_document=ReturnDocument.AFTER, session=session
    )
    return changed or row


def _message(
    conversation: Row, number: int, body: str, attachments: Sequence[Attachment], mark: RequestMark | None
) -> Message:
    actor = current_scope().actor
    made: Message = build(
        Message,
        {
            "id": ObjectId(),
            "conversation_id": conversation["_id"],
            "patient_id": conversation.get("patient_id"),
            "number": number,
            "sender_id": actor.user_id if actor else None,
            "by_patient": actor is None,
            "body": body,
            "attachments": list(attachments),
            "requests": [mark] if mark else [],
        },
    )
    return made


def _standing(row: Row) -> Row:
    """Who has read what once the newest message is there: its sender has all of it, to the other participants it is
    new. Whoever answers a patient takes part from then on, and the patient waits no more."""
    actor = current_scope().actor
    if actor is None:
        waiting = row.get("waiting_since") or row["last_message_at"]
        read = {f"reads.{PATIENT}": row["message_count"]}
        return {"$set": {"unread_by": row["participant_ids"], "waiting_since": waiting, **read}}
    others = [one for one in row["participant_ids"] if one != actor.user_id]
    return {
        "$set": {"unread_by": others, "waiting_since": None, f"reads.{actor.user_id}": row["message_count"]},
        "$addToSet": {"participant_ids": actor.user_id},
    }


async def _tell(row: Row, session: AsyncClientSession, *, by_staff: bool, with_patient: bool) -> None:
    about = {"conversation_id": row["_id"], "patient_id": row.get("patient_id")}
    kind = NotificationKind.PATIENT_MESSAGE if not by_staff else NotificationKind.MESSAGE
    await notifying.tell(row["participant_ids"], kind, about, session)
    if by_staff and with_patient:
        await notifying.tell_patient(NotificationKind.MESSAGE, about, session)
