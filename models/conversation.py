"""Conversations: between people of the staff, and between a patient and the clinic."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field, StringConstraints
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.appointment import RequestMark
from models.base import TenantDocument, Versioned
from models.references import PlatformReference, Reference
from models.uniques import ONE_PER_REQUEST
from models.values import Line, Text, Value, now

MOST_PARTICIPANTS = 50
MOST_ATTACHMENTS = 10
PATIENT = "patient"
"""Under this name the patient's own mark stands among those of the staff."""

Body = Annotated[Text, StringConstraints(min_length=1)]
"""What somebody writes: 1–5,000 characters."""


_LATEST = [("last_message_at", DESCENDING), ("_id", DESCENDING)]


class ConversationKind(StrEnum):
    """Who talks."""

    PATIENT = "patient"
    """A patient and the clinic, for which whoever may write messages answers."""
    STAFF = "staff"
    """People of the staff, among themselves; maybe about a patient."""


class Attachment(Value):
    """A document that a message or comment brings, as it was called then."""

    document_id: Annotated[PydanticObjectId, Reference("documents")]
    title: Line
    content_type: str
    size: int = Field(ge=0)


class Conversation(Versioned, TenantDocument):
    """`message_count` numbers the messages; `reads` says up to which number each person has read.

    `unread_by` are those of the participants to whom something is new, and `waiting_since` says from when on a patient
    has waited for an answer.
    """

    kind: ConversationKind
    patient_id: Annotated[PydanticObjectId, Reference("patients")] | None = None
    subject: Annotated[Line, Sealed()]
    participant_ids: Annotated[list[PydanticObjectId], PlatformReference("users")] = Field(
        default_factory=list, max_length=MOST_PARTICIPANTS
    )
    message_count: int = 0
    reads: dict[str, int] = Field(default_factory=dict)
    unread_by: Annotated[list[PydanticObjectId], PlatformReference("users")] = Field(default_factory=list)
    waiting_since: datetime | None = None
    last_message_at: datetime = Field(default_factory=now)
    requests: list[RequestMark] = Field(default_factory=list)

    class Settings:
        name = "conversations"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("participant_ids", ASCENDING), *_LATEST],
                name="participant",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("unread_by", ASCENDING), *_LATEST],
                name="unread",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("kind", ASCENDING), *_LATEST],
                name="kind",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING), *_LATEST],
                name="patient",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("waiting_since", ASCENDING), ("_id", ASCENDING)],
                name="waiting",
                partialFilterExpression={"waiting_since": {"$type": "date"}},
            ),
            ONE_PER_REQUEST,
        )


class Message(TenantDocument):
    """One message. It is never changed: what was said was said."""

    conversation_id: Annotated[PydanticObjectId, Reference("conversations")]
    patient_id: Annotated[PydanticObjectId, Reference("patients")] | None = None
    """The conversation's, so that each look at the message is told of as one at the patient's data."""
    number: int = Field(ge=1)
    sender_id: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    by_patient: bool = False
    body: Annotated[Body, Sealed()]
    attachments: Annotated[list[Attachment], Sealed()] = Field(default_factory=list, max_length=MOST_ATTACHMENTS)
    created_at: datetime = Field(default_factory=now)
    requests: list[RequestMark] = Field(default_factory=list)

    class Settings:
        name = "messages"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("conversation_id", ASCENDING), ("number", DESCENDING), ("_id", -1)],
                name="number",
            ),
            IndexModel([("tenant_id", ASCENDING), ("patient_id", ASCENDING)], name="patient"),
            ONE_PER_REQUEST,
        )
