"""Conversations: who may see one, how one begins, who takes part, and who has read how far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import FieldError, InvalidState, NotFound, ValidationFailed
from app.permissions import Permission
from app.services.changes import Row, build, row_of
from app.services.idempotency import mark_of, once
from app.services.references import check_references
from app.services.talk.attachments import attached
from app.services.talk.messages import post
from app.tenancy.scope import current_scope
from models import Conversation, Staff
from models.conversation import MOST_PARTICIPANTS, PATIENT, ConversationKind
from models.staff import StaffKind
from models.values import now


def own() -> Row:
    """The filter of the conversations in which the person who is signed in takes part."""
    return {"participant_ids": current_scope().signed_in.user_id}


def own_unread() -> Row:
    """The filter of those of them in which something is new."""
    return {"unread_by": current_scope().signed_in.user_id}


def inbox(*, patient_id: ObjectId | None, waiting: bool) -> Row:
    """The filter of the conversations between patients and the clinic."""
    where: Row = {"kind": ConversationKind.PATIENT.value}
    if patient_id is not None:
        where["patient_id"] = patient_id
    return {**where, "waiting_since": {"$type": "date"}} if waiting else where


def visible() -> Row:
    """The filter of those that the person may see: their own, and what patients write to the clinic, by right."""
    if Permission.PATIENT_READ not in current_scope().signed_in.permissions:
        return own()
    return {"$or": [own(), {"kind": ConversationKind.PATIENT.value}]}


def own_as_patient() -> Row:
    """The filter of the conversations of the patient who is signed in with the clinic."""
    patient_id = current_scope().signed_in_patient.patient_id
    return {"patient_id": patient_id, "kind": ConversationKind.PATIENT.value}


# --- beginning --------------------------------------------------------------------------------------------------------


async def start(values: Mapping[str, Any], *, key: str | None) -> Row:
    """Begins a conversation between people of the staff; answers with its row.

    `values`: `subject, body, staff_ids`, and maybe `patient_id, document_ids`. Raises VALIDATION_FAILED and NOT_FOUND
    at `input.…`, IDEMPOTENCY_CONFLICT.
    """
    actor = current_scope().signed_in
    people = await people_of(values["staff_ids"], about_patient="patient_id" in values)
    made = _made(values, ConversationKind.STAFF, {actor.user_id, *people})
    await check_references(Conversation, row_of(made), at="input")
    return await _begin("startConversation", made, values, {}, key)


async def write_to_patient(values: Mapping[str, Any], *, key: str | None) -> Row:
    """Begins a conversation between the clinic and a patient, from the clinic's side; as `start`, without people."""
    made = _made(values, ConversationKind.PATIENT, {current_scope().signed_in.user_id})
    await check_references(Conversation, row_of(made), at="input")
    return await _begin("writeToPatient", made, values, {"patient_id": made.patient_id}, key)


async def start_as_patient(values: Mapping[str, Any], *, key: str | None) -> Row:
    """The same from the side of the patient who is signed in: to the clinic, and to nobody by name."""
    patient_id = current_scope().signed_in_patient.patient_id
    made = _made({**values, "patient_id": patient_id}, ConversationKind.PATIENT, set())
    attachable = {"patient_id": patient_id, "shared_at": {"$ne": None}}
    return await _begin("patientStartConversation", made, values, attachable, key)


def _made(values: Mapping[str, Any], kind: ConversationKind, people: set[Any]) -> Conversation:
    made: Conversation = build(
        Conversation,
        {
            "id": ObjectId(),
            "kind": kind,
            "subject": values["subject"],
            "patient_id": values.get("patient_id"),
            "participant_ids": sorted(people),
        },
    )
    return made


async def _begin(
    operation: str, made: Conversation, values: Mapping[str, Any], attachable: Row, key: str | None
) -> Row:
    mark = mark_of(operation, key, values)
    made.requests = [mark] if mark else []
    attachments = await attached(values.get("document_ids") or (), attachable)

    async def work(session: AsyncClientSession) -> Row:
        await made.insert(session=session)
        return await post(made.key, {}, values["body"], attachments, None, session)

    return await once(Conversation, mark, lambda: in_transaction(work))


async def people_of(staff_ids: Sequence[ObjectId], *, about_patient: bool) -> list[Any]:
    """The accounts of profiles. Raises NOT_FOUND or VALIDATION_FAILED at `input.staffIds.N`: for somebody without an
    account, and for a medical representative where it is about a patient."""
    if not 1 <= len(staff_ids) < MOST_PARTICIPANTS:
        raise ValidationFailed.at("input.staffIds", f"must name 1 to {MOST_PARTICIPANTS - 1} people")
    rows = await Staff.rows({"_id": {"$in": list(staff_ids)}}, projection=["user_id", "kind"])
    found = {row["_id"]: row for row in rows}
    missing = [FieldError(f"input.staffIds.{at}", "Not found.") for at, one in enumerate(staff_ids) if one not in found]
    if missing:
        raise NotFound(fields=missing)
    for at, one in enumerate(staff_ids):
        if found[one].get("user_id") is None:
            raise ValidationFailed.at(f"input.staffIds.{at}", "has no account to read with")
        if about_patient and found[one]["kind"] == StaffKind.MEDICAL_REPRESENTATIVE.value:
            raise ValidationFailed.at(f"input.staffIds.{at}", "may see nothing of patients")
    return [found[one]["user_id"] for one in staff_ids]


# --- taking part and reading ------------------------------------------------------------------------------------------


async def add_people(conversation_id: ObjectId, staff_ids: Sequence[ObjectId]) -> Row:
    """Adds people to a conversation that one takes part in; answers with its row. Raises NOT_FOUND at `input.id`."""
    rows = await Conversation.rows({"_id": conversation_id, **own()}, projection=["patient_id"], limit=1)
    if not rows:
        raise NotFound.at("input.id")
    people = await people_of(staff_ids, about_patient=rows[0].get("patient_id") is not None)
    room = {f"participant_ids.{MOST_PARTICIPANTS - len(people)}": {"$exists": False}}
    row = await _change(
        {"_id": conversation_id, **own(), **room},
        {"$addToSet": {"participant_ids": {"$each": people}, "unread_by": {"$each": people}}},
    )
    if row is None:
        raise InvalidState(f"At most {MOST_PARTICIPANTS} people take part in a conversation.")
    return row


async def leave(conversation_id: ObjectId) -> Row:
    """Takes part no more; answers with the row. Raises NOT_FOUND at `input.id`."""
    mine = current_scope().signed_in.user_id
    gone = {"$pull": {"participant_ids": mine, "unread_by": mine}}
    return _found(await _change({"_id": conversation_id, **own()}, gone))


async def mark_read(conversation_id: ObjectId) -> Row:
    """Has read all that there is; answers with the row. Raises NOT_FOUND at `input.id`."""
    return await _read(conversation_id, visible(), str(current_scope().signed_in.user_id))


async def mark_read_as_patient(conversation_id: ObjectId) -> Row:
    """The same for the patient who is signed in."""
    return await _read(conversation_id, own_as_patient(), PATIENT)


async def _read(conversation_id: ObjectId, where: Row, reader: str) -> Row:
    rows = await Conversation.rows({"_id": conversation_id, **where}, projection=["message_count"], limit=1)
    if not rows:
        raise NotFound.at("input.id")
    read = {"$max": {f"reads.{reader}": rows[0]["message_count"]}}
    row = _found(await _change({"_id": conversation_id, **where}, read))
    if reader != PATIENT and row["message_count"] == row["reads"][reader]:
        same = {"_id": conversation_id, "message_count": row["message_count"]}
        return await _change(same, {"$pull": {"unread_by": ObjectId(reader)}}) or row
    return row


async def _change(where: Row, change: Row) -> Row | None:
    """Applies a change that no version guards: each of these may come at any time, and none overwrites another."""
    stamped = {**change, "$set": {"updated_at": now(), **change.get("$set", {})}}
    return await Conversation.guarded().find_one_and_update(where, stamped, return_document=ReturnDocument.AFTER)


def _found(row: Row | None) -> Row:
    if row is None:
        raise NotFound.at("input.id")
    return row


async def unread() -> int:
    """In how many conversations something is new to the person who is signed in, counted up to a thousand."""
    return await Conversation.guarded().count_documents(own_unread(), limit=1_000)
