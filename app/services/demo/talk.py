"""What the demo's people say: a conversation among them, a patient's question, tickets; and a file to look at."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Sequence
from typing import Any

from bson import ObjectId
from PIL import Image
from pymongo.asynchronous.client_session import AsyncClientSession

from app.services.changes import build
from app.services.counters import next_numbers
from app.services.documents.filing import file
from app.services.documents.limits import Limits
from app.services.documents.receiving import Incoming
from app.services.talk.tickets import COUNTER
from models import ClinicDocument, Conversation, Message, Notification, Patient, Staff, Ticket, TicketComment
from models.conversation import PATIENT, ConversationKind
from models.document import DocumentCategory
from models.notification import NotificationKind
from models.staff import StaffKind
from models.states import Step
from models.ticket import TicketCategory, TicketPriority, TicketStatus
from models.values import now

FILES_LIMIT = 10**9
LETTER = """Dear colleague,

thank you for seeing our patient. The knee has been better since the exercises began; please go on with them
and see the patient again in six weeks.
"""
_TICKETS: Sequence[tuple[str, str, TicketCategory, TicketPriority, TicketStatus]] = (
    ("Scale in room 1", "It shows 3 kg too much.", TicketCategory.EQUIPMENT, TicketPriority.HIGH, TicketStatus.PENDING),
    (
        "Bill of last week",
        "A patient was billed twice.",
        TicketCategory.BILLING,
        TicketPriority.NORMAL,
        TicketStatus.OPEN,
    ),
    ("Printer at the desk", "It jams.", TicketCategory.IT, TicketPriority.LOW, TicketStatus.SOLVED),
)


async def add_talk(staff: Sequence[Staff], patients: Sequence[ObjectId], session: AsyncClientSession) -> None:
    """Adds conversations, tickets and a notification to the clinic in scope."""
    doctor = staff[-1]
    nurse = next((one for one in staff if one.kind is StaffKind.NURSE), doctor)
    await _between_staff(doctor, nurse, session)
    await _with_patient(patients[0], session)
    await _tickets(nurse, session)


async def _between_staff(doctor: Staff, nurse: Staff, session: AsyncClientSession) -> None:
    talk = _conversation(
        kind=ConversationKind.STAFF,
        subject="Gloves in room 2",
        participant_ids=sorted({doctor.user_id, nurse.user_id}, key=str),
        message_count=2,
        reads={str(doctor.user_id): 1, str(nurse.user_id): 2},
        unread_by=[doctor.user_id],
    )
    said = [
        _message(talk, 1, "There are none left in room 2.", sender_id=doctor.user_id),
        _message(talk, 2, "Ordered; they come tomorrow.", sender_id=nurse.user_id),
    ]
    await talk.insert(session=session)
    await Message.insert_many(said, session=session)
    told = Notification(id=ObjectId(), user_id=doctor.user_id, kind=NotificationKind.MESSAGE, conversation_id=talk.id)
    await told.insert(session=session)


async def _with_patient(patient: ObjectId, session: AsyncClientSession) -> None:
    talk = _conversation(
        kind=ConversationKind.PATIENT,
        subject="My appointment",
        patient_id=patient,
        message_count=1,
        reads={PATIENT: 1},
        waiting_since=now(),
    )
    await talk.insert(session=session)
    await _message(talk, 1, "Do I have to come without breakfast?", by_patient=True).insert(session=session)


def _conversation(**values: Any) -> Conversation:
    made: Conversation = build(Conversation, {"id": ObjectId(), **values}, at="")
    return made


def _message(talk: Conversation, number: int, body: str, **values: Any) -> Message:
    about = {"conversation_id": talk.id, "patient_id": talk.patient_id}
    made: Message = build(Message, {"id": ObjectId(), "number": number, "body": body, **about, **values}, at="")
    return made


async def _tickets(nurse: Staff, session: AsyncClientSession) -> None:
    numbers = await next_numbers(COUNTER, len(_TICKETS), session=session)
    for number, (subject, body, category, priority, status) in zip(numbers, _TICKETS, strict=True):
        states = [TicketStatus.OPEN] if status is TicketStatus.OPEN else [TicketStatus.OPEN, status]
        ticket: Ticket = build(
            Ticket,
            {
                "id": ObjectId(),
                "number": number,
                "subject": subject,
                "category": category,
                "priority": priority,
                "status": status,
                "opened_by": nurse.user_id,
                "assignee_id": nurse.id,
                "comment_count": 1,
                "history": [Step(by=nurse.user_id, status=one.value) for one in states],
            },
            at="",
        )
        comment = {"ticket_id": ticket.id, "number": 1, "author_id": nurse.user_id, "body": body}
        await ticket.insert(session=session)
        await build(TicketComment, {"id": ObjectId(), **comment}, at="").insert(session=session)


async def add_files() -> None:
    """Files a letter and a picture of the clinic in scope's first patient, unless it has files already."""
    if await ClinicDocument.rows({}, projection={"_id": 1}, limit=1):
        return
    [patient] = await Patient.rows({}, projection={"_id": 1}, sort=[("created_at", 1), ("_id", 1)], limit=1)
    about = {"patient_id": patient["_id"]}
    letter, picture = LETTER.encode(), _picture()
    await _file(letter, "letter.txt", title="Letter on the knee", category=DocumentCategory.LETTER, **about)
    await _file(picture, "knee.png", title="Knee, from the side", category=DocumentCategory.IMAGE, **about)


async def _file(content: bytes, name: str, **values: Any) -> None:
    await file(values, Incoming(name, len(content), _once(content)), Limits(FILES_LIMIT, FILES_LIMIT))


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _picture() -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize((640, 480)).save(out, "PNG")
    return out.getvalue()
