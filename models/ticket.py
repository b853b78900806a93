"""Tickets: what somebody asks the clinic to settle, with who sees to it and what was written on the way."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.appointment import RequestMark
from models.base import TenantDocument
from models.conversation import MOST_ATTACHMENTS, Attachment, Body
from models.references import PlatformReference, Reference
from models.states import Staged
from models.uniques import ONE_PER_REQUEST
from models.values import Line, now


class TicketStatus(StrEnum):
    """The states of a ticket."""

    OPEN = "open"
    PENDING = "pending"
    """It waits for somebody else: the patient, a supplier."""
    SOLVED = "solved"
    CLOSED = "closed"


_S = TicketStatus
TRANSITIONS: Mapping[TicketStatus, frozenset[TicketStatus]] = {
    _S.OPEN: frozenset({_S.PENDING, _S.SOLVED}),
    _S.PENDING: frozenset({_S.OPEN, _S.SOLVED}),
    _S.SOLVED: frozenset({_S.OPEN, _S.CLOSED}),
    _S.CLOSED: frozenset(),
}
"""A solved ticket may turn out not to be; a closed one is history, and a new one refers to it."""


class TicketPriority(StrEnum):
    """How soon it matters."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


class TicketCategory(StrEnum):
    """What it is about."""

    QUESTION = "question"
    COMPLAINT = "complaint"
    BILLING = "billing"
    EQUIPMENT = "equipment"
    IT = "it"
    OTHER = "other"


class Ticket(Staged, TenantDocument):
    """`number` is the clinic's own, from 1. A ticket may be about a patient, who may have opened it in the portal."""

    transitions: ClassVar[Mapping[TicketStatus, frozenset[TicketStatus]]] = TRANSITIONS

    number: int = Field(ge=1)
    status: TicketStatus = TicketStatus.OPEN
    subject: Annotated[Line, Sealed()]
    category: TicketCategory = TicketCategory.OTHER
    priority: TicketPriority = TicketPriority.NORMAL
    patient_id: Annotated[PydanticObjectId, Reference("patients")] | None = None
    by_patient: bool = False
    """Whether the patient opened it, and reads what is written on it for them."""
    opened_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    assignee_id: Annotated[PydanticObjectId, Reference("staff")] | None = None
    comment_count: int = 0
    last_activity_at: datetime = Field(default_factory=now)
    requests: list[RequestMark] = Field(default_factory=list)

    class Settings:
        name = "tickets"
        indexes = (
            IndexModel([("tenant_id", ASCENDING), ("number", DESCENDING)], name="number", unique=True),
            IndexModel([("tenant_id", ASCENDING), ("status", ASCENDING), ("number", DESCENDING)], name="status_number"),
            IndexModel(
                [("tenant_id", ASCENDING), ("assignee_id", ASCENDING), ("status", ASCENDING), ("number", DESCENDING)],
                name="assignee_status_number",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("assignee_id", ASCENDING), ("number", DESCENDING)], name="assignee_number"
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING), ("number", DESCENDING)], name="patient_number"
            ),
            ONE_PER_REQUEST,
        )


class TicketComment(TenantDocument):
    """What somebody wrote on a ticket."""

    ticket_id: Annotated[PydanticObjectId, Reference("tickets")]
    patient_id: Annotated[PydanticObjectId, Reference("patients")] | None = None
    number: int = Field(ge=1)
    author_id: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    by_patient: bool = False
    internal: bool = False
    """Whether the staff keeps it to itself."""
    for_patient: bool = False
    """Whether the patient reads it: on a ticket that they opened, and not internal."""
    body: Annotated[Body, Sealed()]
    attachments: Annotated[list[Attachment], Sealed()] = Field(default_factory=list, max_length=MOST_ATTACHMENTS)
    created_at: datetime = Field(default_factory=now)
    requests: list[RequestMark] = Field(default_factory=list)

    class Settings:
        name = "ticket_comments"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("ticket_id", ASCENDING), ("number", ASCENDING), ("_id", ASCENDING)],
                name="number",
            ),
            IndexModel([("tenant_id", ASCENDING), ("patient_id", ASCENDING)], name="patient"),
            ONE_PER_REQUEST,
        )
