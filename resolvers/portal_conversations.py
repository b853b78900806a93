"""What patients write to the clinic and read of it, in the portal; and what they are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import strawberry

from app.errors import AppError
from app.graphql.access import Level, field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First, related_page
from app.services.rate_limits import Limit, refund, take
from app.services.talk import conversations as service
from app.services.talk import notifying
from app.services.talk.messages import send
from app.tenancy.scope import current_scope
from models import Conversation, Message, Notification
from models.conversation import PATIENT
from models.notification import NotificationKind
from resolvers.base import Resolver, shown
from resolvers.conversations import LAST_WRITTEN, LATEST, AttachmentType, ConversationInput
from resolvers.portal_types import PortalAccessorType

MESSAGES = Limit("patient-message", 30, timedelta(hours=1))
NEWEST = [("created_at", -1), ("_id", -1)]


def _unread(row: Row) -> int:
    read: int = (row.get("reads") or {}).get(PATIENT, 0)
    return max(0, row["message_count"] - read)


@row_type("PortalMessage", model=Message, description="Something that the patient or the clinic said.")
class PortalMessageType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    number: int = stored(description="Which one of the conversation it is, from 1.")
    by_patient: bool = stored(description="Whether the patient said it.")
    sender: PortalAccessorType | None = related(
        lambda: PortalAccessorType, key="sender_id", foreign="user_id", description="Who at the clinic said it."
    )
    body: str = stored(description="What was said.")
    attachments: list[AttachmentType] = stored(description="What came along.")
    created_at: datetime = stored(description="When.")


@row_type("PortalConversation", model=Conversation, description="The patient and the clinic about one subject.")
class PortalConversationType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    subject: str = stored(description="What about.")
    message_count: int = stored(description="How many messages there are.")
    unread_count: int = computed("message_count", "reads", by=_unread, description="How many of them are new.")
    waiting_since: datetime | None = stored(description="Since when an answer is waited for, if one is.")
    last_message_at: datetime = stored(description="When the latest was said.")
    messages: Connection[PortalMessageType] = related_page(
        lambda: PortalMessageType,
        foreign="conversation_id",
        sort=LAST_WRITTEN,
        description="What was said, the latest first.",
    )


@row_type("PortalNotification", model=Notification, description="Something that the patient is told.")
class PortalNotificationType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    kind: NotificationKind = stored(description="What happened.")
    conversation_id: strawberry.ID | None = stored(description="In which conversation, if in one.")
    ticket_id: strawberry.ID | None = stored(description="On which ticket, if on one.")
    appointment_id: strawberry.ID | None = stored(description="About which appointment, if about one.")
    read_at: datetime | None = stored(description="When it was read.")
    created_at: datetime = stored(description="When it happened.")


@strawberry.input(description="What the patient writes to the clinic.")
class PatientStartConversationInput:
    subject: str = strawberry.field(description="What about.")
    body: str = strawberry.field(description="The first message.")
    document_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="What comes along: documents that the patient sent or may see."
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="A name of this request, so that a repeat says nothing more."
    )


@strawberry.input(description="What the patient adds.")
class PatientSendMessageInput:
    conversation_id: strawberry.ID = strawberry.field(description="Where it is said.")
    body: str = strawberry.field(description="What is said.")
    document_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="What comes along: documents that the patient sent or may see."
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="A name of this request, so that a repeat says nothing more."
    )


@asynccontextmanager
async def counted(limit: Limit) -> AsyncIterator[None]:
    """Counts what the patient writes, and not what was refused. Raises RATE_LIMITED."""
    key = str(current_scope().signed_in_patient.patient_id)
    taken = await take(limit, key)
    try:
        yield
    except AppError:
        await refund(limit, key, taken)
        raise


@strawberry.type
class PortalConversationQuery(Resolver):
    @field(Level.PATIENT, description="The patient's conversations with the clinic, the latest first.")
    async def patient_conversations(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalConversationType]:
        where = service.own_as_patient()
        return await self.page(info, PortalConversationType, where=where, sort=LATEST, first=first, after=after)

    @field(Level.PATIENT, description="What the patient was told, the latest first.")
    async def patient_notifications(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalNotificationType]:
        where = notifying.own_as_patient()
        return await self.page(info, PortalNotificationType, where=where, sort=NEWEST, first=first, after=after)


@strawberry.type
class PortalConversationMutation(Resolver):
    @field(Level.PATIENT, description="Writes to the clinic: whoever answers patients there reads it.")
    async def patient_start_conversation(self, input: PatientStartConversationInput) -> PortalConversationType:
        values = ids(given(input), "document_ids")
        async with counted(MESSAGES):
            return shown(await service.start_as_patient(values, key=values.pop("idempotency_key", None)))

    @field(Level.PATIENT, description="Adds to a conversation with the clinic.")
    async def patient_send_message(self, input: PatientSendMessageInput) -> PortalMessageType:
        values = ids(given(input), "conversation_id", "document_ids")
        key, where = values.pop("idempotency_key", None), values.pop("conversation_id")
        async with counted(MESSAGES):
            return shown(await send(where, service.own_as_patient(), values, key=key))

    @field(Level.PATIENT, description="Has read all that was said in a conversation.", without_plan=True)
    async def patient_mark_conversation_read(self, input: ConversationInput) -> PortalConversationType:
        return shown(await service.mark_read_as_patient(object_id(input.id, "input.id")))

    @field(Level.PATIENT, description="Has read what one was told; how many were new.", without_plan=True)
    async def patient_mark_notifications_read(self) -> int:
        return await notifying.mark_read(notifying.own_as_patient())
