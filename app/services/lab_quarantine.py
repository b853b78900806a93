"""Reports that no machine may file: a person says whose they are, or puts them aside."""

from __future__ import annotations

from bson import ObjectId
from pydantic import BaseModel
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import InvalidState, NotFound
from app.services.audit import record
from app.services.changes import another_version, checked
from app.services.lab_intake import Elsewhere, filed, settle
from app.services.lab_results import Refused
from app.services.references import check_references
from models import LabMessage
from models.lab import MessageStatus
from models.values import Line


class _Discard(BaseModel):
    reason: Line


async def assign(message_id: ObjectId, patient_id: ObjectId, version: int) -> None:
    """Files a quarantined message as a result of that patient of this clinic.

    Raises NOT_FOUND at `input.labMessageId` or `input.patientId`, CONFLICT for another version, INVALID_STATE for a
    message that is not quarantined, or whose version of the report is known with another content.
    """
    message = await _quarantined(message_id)
    await check_references(LabMessage, {"patient_id": patient_id}, at="input")
    _refuse(message, version)
    try:
        await filed(message, patient_id, "lab.assign", by_hand=True)
    except Refused:
        raise InvalidState(
            "This version of the report is known with another content. What may follow: discard."
        ) from None
    except Elsewhere:
        raise another_version() from None


async def discard(message_id: ObjectId, version: int, reason: str) -> None:
    """Puts a quarantined message aside for good. Raises as `assign`."""
    why = checked(_Discard, {"reason": reason})["reason"]
    message = await _quarantined(message_id)
    _refuse(message, version)

    async def work(session: AsyncClientSession) -> None:
        await settle(message, {"status": MessageStatus.DISCARDED.value, "discard_reason": why}, session)
        await record("lab.discard", subject=message, session=session)

    try:
        await in_transaction(work)
    except Elsewhere:
        raise another_version() from None


async def _quarantined(message_id: ObjectId) -> LabMessage:
    message = await LabMessage.get(message_id)
    if message is None:
        raise NotFound.at("input.labMessageId")
    return message


def _refuse(message: LabMessage, version: int) -> None:
    if message.status is not MessageStatus.QUARANTINED:
        raise InvalidState(f"The message is {message.status.name}. Only a QUARANTINED one is assigned or discarded.")
    if message.version != version:
        raise another_version()
