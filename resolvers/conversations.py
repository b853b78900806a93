"""Conversations between people of the staff, and between a patient and the clinic."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.errors import NotFound
from app.graphql.access import field, require
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First, related_page
from app.graphql.selection import columns, projection
from app.permissions import Permission
from app.services.talk import conversations as service
from app.services.talk.messages import send
from app.tenancy.scope import current_scope
from models import Conversation, Message
from models.conversation import ConversationKind
from resolvers.base import Resolver, shown
from resolvers.staff import StaffType
from resolvers.values import described

if TYPE_CHECKING:
    from resolvers.patients import PatientType

LATEST = [("last_message_at", -1), ("_id", -1)]
LAST_WRITTEN = [("number", -1), ("_id", -1)]

described(
    ConversationKind,
    "Who talks.",
    PATIENT="A patient and the clinic.",
    STAFF="People of the staff, among themselves.",
)


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


def _unread(row: Row) -> int:
    """How many messages are new to whoever asks."""
    read: int = (row.get("reads") or {}).get(str(current_scope().signed_in.user_id), 0)
    return max(0, row["message_count"] - read)


def _path(row: Row) -> str:
    return f"/api/documents/{row['document_id']}/content"


@row_type("Attachment", description="A document that came along, as it was called then.")
class AttachmentType:
    document_id: strawberry.ID = stored(description="The document.")
    title: str = stored(description="Its title.")
    content_type: str = stored(description="Its media type.")
    size: int = stored(description="Its bytes.")
    content_path: str = computed("document_id", by=_path, description="Where its newest content is, on this host.")


@row_type("Message", model=Message, read=Permission.MESSAGE_READ, description="Something that was said.")
class MessageType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    number: int = stored(description="Which one of the conversation it is, from 1.")
    sender: StaffType | None = related(
        lambda: StaffType, key="sender_id", foreign="user_id", description="Who of the staff said it."
    )
    by_patient: bool = stored(description="Whether the patient said it.")
    body: str = stored(description="What was said.")
    attachments: list[AttachmentType] = stored(description="What came along.")
    created_at: datetime = stored(description="When.")


@row_type(
    "Conversation",
    model=Conversation,
    read=Permission.MESSAGE_READ,
    description="People of the staff who talk, or a patient and the clinic.",
)
class ConversationType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    kind: ConversationKind = stored(description="Who talks.")
    subject: str = stored(description="What about.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient who talks, or whom it is about; null for neither."
    )
    participants: list[StaffType] = related(
        lambda: StaffType,
        key="participant_ids",
        foreign="user_id",
        many=True,
        description="Who of the staff takes part; of a patient's conversation, who has answered.",
    )
    message_count: int = stored(description="How many messages there are.")
    unread_count: int = computed(
        "message_count", "reads", by=_unread, description="How many of them are new to whoever asks."
    )
    waiting_since: datetime | None = stored(description="Since when the patient waits for an answer, if they do.")
    last_message_at: datetime = stored(description="When the latest was said.")
    created_at: datetime = stored(description="When it began.")
    messages: Connection[MessageType] = related_page(
        lambda: MessageType,
        foreign="conversation_id",
        sort=LAST_WRITTEN,
        description="What was said, the latest first.",
    )


@strawberry.input(description="Which of one's own conversations to list. All conditions must hold.")
class ConversationFilter:
    unread: bool = strawberry.field(default=False, description="Only those in which something is new.")


@strawberry.input(description="Which conversations with patients to list. All conditions must hold.")
class ClinicInboxFilter:
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="With this patient.")
    waiting: bool = strawberry.field(
        default=False, description="Only those in which the patient waits, the longest first."
    )


@strawberry.input(description="A new conversation between people of the staff.")
class StartConversationInput:
    subject: str = strawberry.field(description="What about.")
    staff_ids: list[strawberry.ID] = strawberry.field(description="With whom: profiles of people with an account.")
    body: str = strawberry.field(description="The first message.")
    patient_id: strawberry.ID | None = strawberry.field(
        default=None, description="The patient whom it is about, if any."
    )
    document_ids: list[strawberry.ID] | None = strawberry.field(default=None, description="What comes along.")
    idempotency_key: str | None = strawberry.field(
        default=None, description="A name of this request, so that a repeat says nothing more."
    )


@strawberry.input(description="A new conversation with a patient, from the clinic's side.")
class WriteToPatientInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    subject: str = strawberry.field(description="What about.")
    body: str = strawberry.field(description="The first message.")
    document_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="What comes along: documents about the patient, who may see them from then on."
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="A name of this request, so that a repeat says nothing more."
    )


@strawberry.input(description="A message.")
class SendMessageInput:
    conversation_id: strawberry.ID = strawberry.field(description="Where it is said.")
    body: str = strawberry.field(description="What is said.")
    document_ids: list[strawberry.ID] | None = strawberry.field(
        default=None,
        description="What comes along; to a patient, documents about them, which they may see from then on.",
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="A name of this request, so that a repeat says nothing more."
    )


@strawberry.input(description="A conversation.")
class ConversationInput:
    id: strawberry.ID = strawberry.field(description="The conversation.")


@strawberry.input(description="Who else is to take part.")
class AddParticipantsInput:
    id: strawberry.ID = strawberry.field(description="The conversation.")
    staff_ids: list[strawberry.ID] = strawberry.field(description="Profiles of people with an account.")


@strawberry.type
class ConversationQuery(Resolver):
    @field(Permission.MESSAGE_READ, description="One conversation: one's own, or one with a patient by `patient:read`.")
    async def conversation(self, info: Info, id: strawberry.ID) -> ConversationType:
        where = {"_id": object_id(id, "id"), **service.visible()}
        rows = await Conversation.rows(where, projection=projection(columns(info, ConversationType)), limit=1)
        if not rows:
            raise NotFound.at("id")
        return shown(rows[0])

    @field(Permission.MESSAGE_READ, description="The conversations in which one takes part, the latest first.")
    async def conversations(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: ConversationFilter | None = None
    ) -> Connection[ConversationType]:
        where = service.own_unread() if filter and filter.unread else service.own()
        return await self.page(info, ConversationType, where=where, sort=LATEST, first=first, after=after)

    @field(
        Permission.MESSAGE_READ,
        description="What patients write to the clinic, the latest first; by `patient:read` as well.",
    )
    async def clinic_inbox(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: ClinicInboxFilter | None = None
    ) -> Connection[ConversationType]:
        require(Permission.PATIENT_READ)
        chosen = filter or ClinicInboxFilter()
        patient = object_id(chosen.patient_id, "filter.patientId") if chosen.patient_id else None
        where = service.inbox(patient_id=patient, waiting=chosen.waiting)
        order = [("waiting_since", 1), ("_id", 1)] if chosen.waiting else LATEST
        return await self.page(info, ConversationType, where=where, sort=order, first=first, after=after)

    @field(
        Permission.MESSAGE_READ,
        description="In how many of one's own conversations something is new, counted up to 1,000.",
    )
    async def unread_conversations(self) -> int:
        return await service.unread()


@strawberry.type
class ConversationMutation(Resolver):
    @field(Permission.MESSAGE_WRITE, description="Begins a conversation between people of the staff.")
    async def start_conversation(self, input: StartConversationInput) -> ConversationType:
        values = ids(given(input), "staff_ids", "patient_id", "document_ids")
        if "patient_id" in values:
            require(Permission.PATIENT_READ)
        return shown(await service.start(values, key=values.pop("idempotency_key", None)))

    @field(Permission.MESSAGE_WRITE, description="Writes to a patient; by `patient:read` as well.")
    async def write_to_patient(self, input: WriteToPatientInput) -> ConversationType:
        require(Permission.PATIENT_READ)
        values = ids(given(input), "patient_id", "document_ids")
        return shown(await service.write_to_patient(values, key=values.pop("idempotency_key", None)))

    @field(Permission.MESSAGE_WRITE, description="Says something in a conversation.")
    async def send_message(self, input: SendMessageInput) -> MessageType:
        values = ids(given(input), "conversation_id", "document_ids")
        key, where = values.pop("idempotency_key", None), values.pop("conversation_id")
        return shown(await send(where, service.visible(), values, key=key))

    @field(Permission.MESSAGE_WRITE, description="Adds people to a conversation in which one takes part.")
    async def add_participants(self, input: AddParticipantsInput) -> ConversationType:
        values = ids(given(input), "id", "staff_ids")
        return shown(await service.add_people(values["id"], values["staff_ids"]))

    @field(Permission.MESSAGE_WRITE, description="Takes part in a conversation no more.")
    async def leave_conversation(self, input: ConversationInput) -> ConversationType:
        return shown(await service.leave(object_id(input.id, "input.id")))

    @field(Permission.MESSAGE_READ, description="Has read all that was said in a conversation.", without_plan=True)
    async def mark_conversation_read(self, input: ConversationInput) -> ConversationType:
        return shown(await service.mark_read(object_id(input.id, "input.id")))
