"""Tickets: opened under the clinic's next number, given to somebody, written on, and moved to their end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import InvalidState, NotFound
from app.services import states
from app.services.changes import Row, build, change_row, checked, row_of
from app.services.counters import next_number
from app.services.idempotency import mark_of, once
from app.services.references import check_references
from app.services.talk import notifying
from app.services.talk.attachments import attached, share_attached
from app.tenancy.scope import current_scope
from models import Staff, Ticket, TicketComment
from models.appointment import RequestMark
from models.conversation import Attachment
from models.notification import NotificationKind
from models.ticket import TicketPriority, TicketStatus
from models.values import now

COUNTER = "ticket"
MOST_COMMENTS = 2_000


def listed(
    *,
    status: TicketStatus | None,
    assignee_id: ObjectId | None,
    patient_id: ObjectId | None,
    unassigned: bool,
    number: int | None,
) -> Row:
    """The filter of a list."""
    where: Row = {"status": status.value} if status else {}
    if number is not None:
        where["number"] = number
    if assignee_id is not None:
        where["assignee_id"] = assignee_id
    elif unassigned:
        where["assignee_id"] = None
    return {**where, "patient_id": patient_id} if patient_id is not None else where


def own_as_patient() -> Row:
    """The filter of the tickets that the patient who is signed in has opened."""
    return {"patient_id": current_scope().signed_in_patient.patient_id, "by_patient": True}


def comments_for_patient(ticket_id: ObjectId) -> Row:
    """The filter of what is written on a ticket for the patient who is signed in; nothing for another's ticket."""
    patient_id = current_scope().signed_in_patient.patient_id
    return {"ticket_id": ticket_id, "patient_id": patient_id, "for_patient": True}


async def open_one(values: Mapping[str, Any], *, key: str | None) -> Row:
    """Opens a ticket; answers with its row.

    `values`: `subject, body`, and maybe `category, priority, patient_id, assignee_id, document_ids`. Raises
    VALIDATION_FAILED and NOT_FOUND at `input.…`, IDEMPOTENCY_CONFLICT.
    """
    made = _made(values, {"opened_by": current_scope().signed_in.user_id})
    await check_references(Ticket, row_of(made), at="input")
    return await _open("openTicket", made, values, {}, key)


async def open_as_patient(values: Mapping[str, Any], *, key: str | None) -> Row:
    """The same for the patient who is signed in: `subject, body`, and maybe `category, document_ids`."""
    patient_id = current_scope().signed_in_patient.patient_id
    made = _made(values, {"patient_id": patient_id, "by_patient": True, "priority": TicketPriority.NORMAL})
    return await _open("patientOpenTicket", made, values, {"patient_id": patient_id, "shared_at": {"$ne": None}}, key)


def _made(values: Mapping[str, Any], more: Row) -> Ticket:
    names = ("subject", "category", "priority", "patient_id", "assignee_id")
    given = {name: values[name] for name in names if name in values}
    made: Ticket = build(
        Ticket, {"id": ObjectId(), "number": 1, **given, **more, "history": [states.step_to(TicketStatus.OPEN)]}
    )
    return made


async def _open(operation: str, made: Ticket, values: Mapping[str, Any], attachable: Row, key: str | None) -> Row:
    mark = mark_of(operation, key, values)
    made.requests = [mark] if mark else []
    attachments = await attached(values.get("document_ids") or (), attachable)
    _comment(row_of(made), 1, values["body"], attachments, internal=False)

    async def work(session: AsyncClientSession) -> Row:
        made.number = await next_number(COUNTER, session=session)
        await made.insert(session=session)
        if made.assignee_id is not None:
            await _tell_assignee(row_of(made), NotificationKind.TICKET_ASSIGNED, session)
        return await _write(made.key, {}, values["body"], attachments, None, session, internal=False)

    return await once(Ticket, mark, lambda: in_transaction(work))


async def change(ticket_id: ObjectId, version: int, changes: Mapping[str, Any]) -> Row:
    """Changes `subject, category, priority, assignee_id`; a new assignee is told. Answers with the new row.

    Raises as `catalog.change` does, and INVALID_STATE for a closed ticket.
    """
    values = checked(Ticket, changes)
    await check_references(Ticket, values, at="input")
    before = await _stored(ticket_id, "input.id")
    if before["status"] == TicketStatus.CLOSED.value:
        raise states.refused(Ticket, TicketStatus.CLOSED)

    async def work(session: AsyncClientSession) -> Row:
        row = await change_row(Ticket, ticket_id, version, values, session=session)
        if values.get("assignee_id") not in (None, before.get("assignee_id")):
            await _tell_assignee(row, NotificationKind.TICKET_ASSIGNED, session)
        return row

    return await in_transaction(work)


async def move(ticket_id: ObjectId, version: int, to: TicketStatus, reason: str | None) -> Row:
    """Moves a ticket; answers with its new row. Raises INVALID_STATE with what may follow, CONFLICT, NOT_FOUND."""
    return await states.advance(Ticket, ticket_id, version, to, values={"last_activity_at": now()}, reason=reason)


# --- comments ---------------------------------------------------------------------------------------------------------


async def comment(ticket_id: ObjectId, where: Row, values: Mapping[str, Any], *, key: str | None) -> Row:
    """Writes on a ticket that matches `where`; answers with the comment's row.

    `values`: `body`, and maybe `internal, document_ids`. Raises NOT_FOUND at `input.ticketId`, INVALID_STATE for a
    closed ticket, VALIDATION_FAILED at `input.body`, IDEMPOTENCY_CONFLICT.
    """
    by_staff = current_scope().actor is not None
    operation = "addTicketComment" if by_staff else "patientAddTicketComment"
    mark = mark_of(operation, key, {**values, "ticket_id": ticket_id})
    row = await _stored(ticket_id, "input.ticketId", where)
    internal = bool(values.get("internal"))
    attachments = await attached(values.get("document_ids") or (), _attachable(row, internal=internal))
    body = _comment(row, 1, values["body"], attachments, internal=internal).body

    async def work(session: AsyncClientSession) -> Row:
        await _write(ticket_id, where, body, attachments, mark, session, internal=internal)
        [written] = await TicketComment.rows({"ticket_id": ticket_id}, sort=[("number", -1)], limit=1, session=session)
        return written

    return await once(TicketComment, mark, lambda: in_transaction(work))


def _attachable(ticket: Row, *, internal: bool) -> Row:
    """Which documents may go where: what a patient reads brings their own alone."""
    if not ticket["by_patient"] or internal:
        return {}
    mine = {"patient_id": ticket["patient_id"]}
    return mine if current_scope().actor is not None else {**mine, "shared_at": {"$ne": None}}


async def _write(
    ticket_id: ObjectId,
    where: Row,
    body: str,
    attachments: Sequence[Attachment],
    mark: RequestMark | None,
    session: AsyncClientSession,
    *,
    internal: bool,
) -> Row:
    """Stores a comment as the ticket's next one, within a transaction; answers with the ticket's row."""
    alive = {"status": {"$ne": TicketStatus.CLOSED.value}, "comment_count": {"$lt": MOST_COMMENTS}}
    row = await Ticket.guarded().find_one_and_update(
        {"_id": ticket_id, **alive, **where},
        {"$inc": {"comment_count": 1}, "$set": {"last_activity_at": now(), "updated_at": now()}},
        return_document=ReturnDocument.AFTER,
        session=session,
    )
    if row is None:
        await _stored(ticket_id, "input.ticketId", where)
        raise InvalidState("Nothing is written on the ticket any more. What may follow: nothing.")
    await _comment(row, row["comment_count"], body, attachments, internal=internal, mark=mark).insert(session=session)
    if row["by_patient"] and current_scope().actor is not None and not internal:
        await share_attached(attachments, session)
        about = {"ticket_id": row["_id"], "patient_id": row["patient_id"]}
        await notifying.tell_patient(NotificationKind.TICKET_COMMENT, about, session)
    await _tell_assignee(row, NotificationKind.TICKET_COMMENT, session)
    return row


def _comment(
    ticket: Row,
    number: int,
    body: str,
    attachments: Sequence[Attachment],
    *,
    internal: bool,
    mark: RequestMark | None = None,
) -> TicketComment:
    actor = current_scope().actor
    made: TicketComment = build(
        TicketComment,
        {
            "id": ObjectId(),
            "ticket_id": ticket["_id"],
            "patient_id": ticket.get("patient_id"),
            "number": number,
            "author_id": actor.user_id if actor else None,
            "by_patient": actor is None,
            "internal": internal,
            "for_patient": ticket["by_patient"] and not internal,
            "body": body,
            "attachments": list(attachments),
            "requests": [mark] if mark else [],
        },
    )
    return made


async def _tell_assignee(ticket: Row, kind: NotificationKind, session: AsyncClientSession) -> None:
    if ticket.get("assignee_id") is None:
        return
    rows = await Staff.rows({"_id": ticket["assignee_id"]}, projection=["user_id"], limit=1, session=session)
    people = [row["user_id"] for row in rows if row.get("user_id")]
    about = {"ticket_id": ticket["_id"], "patient_id": ticket.get("patient_id")}
    await notifying.tell(people, kind, about, session)


async def _stored(ticket_id: ObjectId, path: str, where: Row | None = None) -> Row:
    rows = await Ticket.rows({"_id": ticket_id, **(where or {})}, limit=1)
    if not rows:
        raise NotFound.at(path)
    return rows[0]
