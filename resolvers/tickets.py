"""Tickets: what the clinic is asked to settle, by its own people and by patients."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry import Maybe

from app.graphql.access import Level, field, require
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First, related_page
from app.permissions import Permission
from app.services.talk import tickets as service
from models import Ticket, TicketComment
from models.ticket import TicketCategory, TicketPriority, TicketStatus
from resolvers.base import Resolver, shown
from resolvers.conversations import AttachmentType
from resolvers.portal_conversations import MESSAGES, counted
from resolvers.staff import StaffType
from resolvers.values import described

if TYPE_CHECKING:
    from resolvers.patients import PatientType

NEWEST = [("number", -1)]

described(
    TicketStatus,
    "Where a ticket stands.",
    OPEN="Somebody has to see to it.",
    PENDING="It waits for somebody else.",
    SOLVED="It is settled, as far as the clinic knows.",
    CLOSED="It is over.",
)
described(
    TicketPriority,
    "How soon it matters.",
    LOW="Some day.",
    NORMAL="In its turn.",
    HIGH="Before others.",
    URGENT="Now.",
)
described(
    TicketCategory,
    "What a ticket is about.",
    QUESTION="A question.",
    COMPLAINT="Something went wrong.",
    BILLING="A bill.",
    EQUIPMENT="Something is broken or missing.",
    IT="Computers.",
    OTHER="Something else.",
)


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


def _by_patient(row: Row) -> bool:
    return bool(row.get("by_patient"))


@row_type("TicketStep", description="One step in a ticket's life.")
class TicketStepType:
    at: datetime = stored(description="When it was taken.")
    status: TicketStatus = stored(description="Where the ticket stood from then on.")
    reason: str | None = stored(description="Why.")
    by_patient: bool = computed("by_patient", by=_by_patient, description="Whether the patient took it.")
    by: StaffType | None = related(
        lambda: StaffType, key="by", foreign="user_id", description="Who of the staff took it, if somebody did."
    )


@row_type("TicketComment", model=TicketComment, read=Permission.MESSAGE_READ, description="Something on a ticket.")
class TicketCommentType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    number: int = stored(description="Which one of the ticket it is, from 1: what the ticket was opened with.")
    author: StaffType | None = related(
        lambda: StaffType, key="author_id", foreign="user_id", description="Who of the staff wrote it."
    )
    by_patient: bool = stored(description="Whether the patient wrote it.")
    internal: bool = stored(description="Whether it is not for the patient.")
    body: str = stored(description="What it says.")
    attachments: list[AttachmentType] = stored(description="What came along.")
    created_at: datetime = stored(description="When.")


@row_type("Ticket", model=Ticket, read=Permission.MESSAGE_READ, description="Something that is to be settled.")
class TicketType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    number: int = stored(description="The clinic's number of it.")
    status: TicketStatus = stored(description="Where it stands.")
    subject: str = stored(description="What about.")
    category: TicketCategory = stored(description="Of which kind.")
    priority: TicketPriority = stored(description="How soon it matters.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient whom it is about, if any."
    )
    by_patient: bool = stored(description="Whether the patient opened it.")
    opened_by: StaffType | None = related(
        lambda: StaffType, key="opened_by", foreign="user_id", description="Who of the staff opened it."
    )
    assignee: StaffType | None = related(lambda: StaffType, key="assignee_id", description="Who sees to it.")
    comment_count: int = stored(description="How much is written on it.")
    last_activity_at: datetime = stored(description="When something last happened.")
    created_at: datetime = stored(description="When it was opened.")
    history: list[TicketStepType] = stored(description="Where it stood, the first step first.")
    comments: Connection[TicketCommentType] = related_page(
        lambda: TicketCommentType,
        foreign="ticket_id",
        sort=[("number", 1), ("_id", 1)],
        description="What is written on it, the first first.",
    )


@strawberry.input(description="Which tickets to list. All conditions must hold.")
class TicketFilter:
    status: TicketStatus | None = strawberry.field(default=None, description="That stand there.")
    assignee_id: strawberry.ID | None = strawberry.field(default=None, description="That this person sees to.")
    unassigned: bool = strawberry.field(default=False, description="That nobody sees to.")
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="About this patient.")
    number: int | None = strawberry.field(default=None, description="Of this number.")


@strawberry.input(description="A new ticket.")
class OpenTicketInput:
    subject: str = strawberry.field(description="What about.")
    body: str = strawberry.field(description="What is to be settled.")
    category: TicketCategory = strawberry.field(default=TicketCategory.OTHER, description="Of which kind.")
    priority: TicketPriority = strawberry.field(default=TicketPriority.NORMAL, description="How soon it matters.")
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="The patient whom it is about.")
    assignee_id: strawberry.ID | None = strawberry.field(default=None, description="Who is to see to it.")
    document_ids: list[strawberry.ID] | None = strawberry.field(default=None, description="What comes along.")
    idempotency_key: str | None = strawberry.field(
        default=None, description="A name of this request, so that a repeat opens nothing more."
    )


@strawberry.input(description="Changes to a ticket. What is left out stays as it is; null clears it.")
class UpdateTicketInput:
    id: strawberry.ID = strawberry.field(description="The ticket.")
    version: int = strawberry.field(description="The version that the change is based on.")
    subject: Maybe[str] = strawberry.field(description="What about.")
    category: Maybe[TicketCategory] = strawberry.field(description="Of which kind.")
    priority: Maybe[TicketPriority] = strawberry.field(description="How soon it matters.")
    assignee_id: Maybe[strawberry.ID | None] = strawberry.field(description="Who sees to it; they are told.")


@strawberry.input(description="Where a ticket is to stand.")
class MoveTicketInput:
    id: strawberry.ID = strawberry.field(description="The ticket.")
    version: int = strawberry.field(description="The version that the step is based on.")
    status: TicketStatus = strawberry.field(description="Where to.")
    reason: str | None = strawberry.field(default=None, description="Why.")


@strawberry.input(description="Something to write on a ticket.")
class AddTicketCommentInput:
    ticket_id: strawberry.ID = strawberry.field(description="The ticket.")
    body: str = strawberry.field(description="What it says.")
    internal: bool = strawberry.field(default=False, description="Whether it is not for the patient.")
    document_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="What comes along; where the patient reads it, documents about them alone."
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="A name of this request, so that a repeat writes nothing more."
    )


@strawberry.type
class TicketQuery(Resolver):
    @field(Permission.MESSAGE_READ, description="One ticket; by `patient:read` as well.")
    async def ticket(self, info: Info, id: strawberry.ID) -> TicketType:
        require(Permission.PATIENT_READ)
        return await self.one(info, TicketType, id)

    @field(Permission.MESSAGE_READ, description="The clinic's tickets, the newest first; by `patient:read` as well.")
    async def tickets(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: TicketFilter | None = None
    ) -> Connection[TicketType]:
        require(Permission.PATIENT_READ)
        chosen = filter or TicketFilter()
        where = service.listed(
            status=chosen.status,
            assignee_id=object_id(chosen.assignee_id, "filter.assigneeId") if chosen.assignee_id else None,
            patient_id=object_id(chosen.patient_id, "filter.patientId") if chosen.patient_id else None,
            unassigned=chosen.unassigned,
            number=chosen.number,
        )
        return await self.page(info, TicketType, where=where, sort=NEWEST, first=first, after=after)


@strawberry.type
class TicketMutation(Resolver):
    @field(Permission.MESSAGE_WRITE, description="Opens a ticket; by `patient:read` as well.")
    async def open_ticket(self, input: OpenTicketInput) -> TicketType:
        require(Permission.PATIENT_READ)
        values = ids(given(input), "patient_id", "assignee_id", "document_ids")
        return shown(await service.open_one(values, key=values.pop("idempotency_key", None)))

    @field(Permission.MESSAGE_WRITE, description="Changes a ticket; by `patient:read` as well.")
    async def update_ticket(self, input: UpdateTicketInput) -> TicketType:
        require(Permission.PATIENT_READ)
        changes = ids(given(input), "assignee_id")
        key, version = object_id(changes.pop("id"), "input.id"), changes.pop("version")
        return shown(await service.change(key, version, changes))

    @field(Permission.MESSAGE_WRITE, description="Says where a ticket stands; by `patient:read` as well.")
    async def move_ticket(self, input: MoveTicketInput) -> TicketType:
        require(Permission.PATIENT_READ)
        return shown(await service.move(object_id(input.id, "input.id"), input.version, input.status, input.reason))

    @field(Permission.MESSAGE_WRITE, description="Writes on a ticket; by `patient:read` as well.")
    async def add_ticket_comment(self, input: AddTicketCommentInput) -> TicketCommentType:
        require(Permission.PATIENT_READ)
        values = ids(given(input), "ticket_id", "document_ids")
        key, ticket = values.pop("idempotency_key", None), values.pop("ticket_id")
        return shown(await service.comment(ticket, {}, values, key=key))


# --- the portal -------------------------------------------------------------------------------------------------------


@row_type("PortalTicket", model=Ticket, description="Something that the patient asked the clinic to settle.")
class PortalTicketType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    number: int = stored(description="The clinic's number of it.")
    status: TicketStatus = stored(description="Where it stands.")
    subject: str = stored(description="What about.")
    category: TicketCategory = stored(description="Of which kind.")
    last_activity_at: datetime = stored(description="When something last happened.")
    created_at: datetime = stored(description="When it was opened.")


@row_type("PortalTicketComment", model=TicketComment, description="Something that is written on a patient's ticket.")
class PortalTicketCommentType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    by_patient: bool = stored(description="Whether the patient wrote it.")
    body: str = stored(description="What it says.")
    attachments: list[AttachmentType] = stored(description="What came along.")
    created_at: datetime = stored(description="When.")


@strawberry.input(description="What the patient asks the clinic to settle.")
class PatientOpenTicketInput:
    subject: str = strawberry.field(description="What about.")
    body: str = strawberry.field(description="What is to be settled.")
    category: TicketCategory = strawberry.field(default=TicketCategory.OTHER, description="Of which kind.")
    document_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="What comes along: documents that the patient sent or may see."
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="A name of this request, so that a repeat opens nothing more."
    )


@strawberry.input(description="What the patient adds.")
class PatientAddTicketCommentInput:
    ticket_id: strawberry.ID = strawberry.field(description="The ticket.")
    body: str = strawberry.field(description="What it says.")
    document_ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="What comes along: documents that the patient sent or may see."
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="A name of this request, so that a repeat writes nothing more."
    )


@strawberry.type
class PortalTicketQuery(Resolver):
    @field(Level.PATIENT, description="The tickets that the patient opened, the newest first.")
    async def patient_tickets(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[PortalTicketType]:
        where = service.own_as_patient()
        return await self.page(info, PortalTicketType, where=where, sort=NEWEST, first=first, after=after)

    @field(Level.PATIENT, description="What is written for the patient on their tickets, the latest first.")
    async def patient_ticket_comments(
        self,
        info: Info,
        ticket_id: Annotated[strawberry.ID, strawberry.argument(description="The ticket.")],
        first: First = DEFAULT_PAGE,
        after: After = None,
    ) -> Connection[PortalTicketCommentType]:
        where = service.comments_for_patient(object_id(ticket_id, "ticketId"))
        order = [("number", -1), ("_id", -1)]
        return await self.page(info, PortalTicketCommentType, where=where, sort=order, first=first, after=after)


@strawberry.type
class PortalTicketMutation(Resolver):
    @field(Level.PATIENT, description="Opens a ticket at the clinic.")
    async def patient_open_ticket(self, input: PatientOpenTicketInput) -> PortalTicketType:
        values = ids(given(input), "document_ids")
        async with counted(MESSAGES):
            return shown(await service.open_as_patient(values, key=values.pop("idempotency_key", None)))

    @field(Level.PATIENT, description="Writes on a ticket that the patient opened.")
    async def patient_add_ticket_comment(self, input: PatientAddTicketCommentInput) -> PortalTicketCommentType:
        values = ids(given(input), "ticket_id", "document_ids")
        key, ticket = values.pop("idempotency_key", None), values.pop("ticket_id")
        async with counted(MESSAGES):
            return shown(await service.comment(ticket, service.own_as_patient(), values, key=key))
