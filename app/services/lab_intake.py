"""The inbox of laboratories' reports: stored first, then handled, with one effect however often and in whatever order.

A message that is stored is handled for certain: at once, or when that fails or the process dies by the sweep of any
process (`sweep` of `lab_sweeping`), or by the job `retry-lab-inbox`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

import structlog
from beanie import PydanticObjectId
from beanie.odm.utils.parsing import parse_obj
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import in_transaction
from app.errors import AppError, Conflict, Unavailable
from app.services.audit import record
from app.services.inbox import LEASE, MAX_TRIES, WAITING, claim, delay_after
from app.services.lab_connections import Signed, authenticate, give_nonce_back, settle_delivery
from app.services.lab_reports import DeliveryForm
from app.services.lab_results import Refused, file_report
from app.services.merging.redirects import survivor_by_code
from app.tenancy.scope import current_scope
from models import LabMessage, Patient, PatientRecord
from models.lab import MessageStatus, QuarantineReason
from models.values import now

log = structlog.get_logger(__name__)

RACES = 20
"""Reports on one sample that come together make room for each other so many times."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the laboratory is told: its own event, and whether it was known."""

    event_id: str
    duplicate: bool


# --- taking in ----------------------------------------------------------------------------------------------------


async def receive(signed: Signed, read: Callable[[bytes], DeliveryForm]) -> Receipt:
    """Takes one delivery to the clinic in scope: proves it, stores it, handles it.

    `read` turns the proven body into the event. Raises UNAUTHENTICATED (alike whatever is wrong with the proof),
    VALIDATION_FAILED with paths, CONFLICT for an event that is known with another content. Once this returns the
    message is stored, and will be handled.
    """
    connection = await authenticate(signed)
    try:
        stored = await _store(connection, read(signed.body))
    except AppError:
        await settle_delivery(connection, signed.nonce)
        raise
    except Exception:
        await give_nonce_back(connection, signed.nonce)
        raise
    if stored.duplicate or await handle(stored.message_id) is not Outcome.RETRY:
        await settle_delivery(connection, signed.nonce)
    return Receipt(stored.event_id, stored.duplicate)


@dataclass(frozen=True, slots=True)
class _Stored:
    message_id: ObjectId
    event_id: str
    duplicate: bool


async def _store(connection: ObjectId, form: DeliveryForm) -> _Stored:
    """Writes the message into the inbox, once per event."""
    report = form.report()
    message = LabMessage(
        id=PydanticObjectId(),
        connection_id=PydanticObjectId(connection),
        event_id=form.event_id,
        status=MessageStatus.WAITING,
        report=report,
    )
    try:
        await message.insert()
    except DuplicateKeyError:
        known = await LabMessage.find_one({"connection_id": connection, "event_id": form.event_id})
        if known is None or (known.report is not None and known.report != report):
            raise Conflict("This event came before with another content. Give each event an id of its own.") from None
        return _Stored(known.key, known.event_id, duplicate=True)
    return _Stored(message.key, message.event_id, duplicate=False)


# --- handling -----------------------------------------------------------------------------------------------------


class Outcome(StrEnum):
    """What became of a message that was to be handled."""

    HANDLED = "handled"
    QUARANTINED = "quarantined"
    RETRY = "retry"
    ELSEWHERE = "elsewhere"
    """Somebody else has it, or had it."""


class Elsewhere(Exception):
    """The message was settled meanwhile."""


async def handle(message_id: ObjectId) -> Outcome:
    """Handles one waiting message of the clinic in scope, unless somebody else is at it."""
    row = await claim(LabMessage, message_id, LEASE, version=1)
    if row is None:
        return Outcome.ELSEWHERE
    message = cast(LabMessage, parse_obj(LabMessage, row))
    try:
        return await _handle(message)
    except Elsewhere:
        return Outcome.ELSEWHERE
    except Exception as error:  # noqa: BLE001 - it is stored: whatever broke this try, another one follows
        return await _failed(message, error)


async def _handle(message: LabMessage) -> Outcome:
    try:
        patient = await _patient_of(message)
        await filed(message, patient, "lab.receive", by_hand=False)
    except Refused as refused:
        await _quarantine(message, refused.reason)
        return Outcome.QUARANTINED
    return Outcome.HANDLED


async def _patient_of(message: LabMessage) -> ObjectId:
    """This clinic's patient who has the reported code, or had it before a merge.

    Raises `Refused` when nobody has it, or somebody else seems to.
    """
    if message.report is None:
        raise Refused(QuarantineReason.NOT_HANDLED)
    reported = message.report.patient
    records = await PatientRecord.rows({"code": reported.code.upper()}, projection={"patient_id": 1}, limit=1)
    patient_id = records[0]["patient_id"] if records else await survivor_by_code(reported.code.upper())
    if patient_id is None:
        raise Refused(QuarantineReason.UNKNOWN_PATIENT)
    patients = await Patient.rows({"_id": patient_id}, projection={"birth_date": 1}, limit=1)
    if not patients:
        raise Refused(QuarantineReason.UNKNOWN_PATIENT)
    born = patients[0].get("birth_date")
    if born and reported.birth_date and born != reported.birth_date:
        raise Refused(QuarantineReason.BIRTH_DATE_DIFFERS)
    return patient_id


async def filed(message: LabMessage, patient_id: ObjectId, action: str, *, by_hand: bool) -> None:
    """Writes the result and settles the message, both or neither. Raises `Refused`, or `Elsewhere`."""
    settled = {"status": MessageStatus.HANDLED.value, "patient_id": patient_id, "reason": None}

    async def work(session: AsyncClientSession) -> None:
        result = await file_report(message, patient_id=patient_id, by_hand=by_hand, session=session)
        await settle(message, settled, session)
        await record(action, subject=result or message, patients=[patient_id], session=session)

    for _ in range(RACES):
        try:
            return await in_transaction(work)
        except DuplicateKeyError as error:  # another report on the same sample was faster: now it is there to be seen
            if "lab_message_id" in (error.details or {}).get("keyPattern", {}):
                raise Elsewhere from None  # this very message has its result already
            await asyncio.sleep(random.uniform(0, 0.02))  # noqa: S311 - only spreads the tries
    raise Unavailable


async def _quarantine(message: LabMessage, reason: QuarantineReason) -> None:
    async def work(session: AsyncClientSession) -> None:
        values = {"status": MessageStatus.QUARANTINED.value, "reason": reason.value}
        await settle(message, values, session, final=False)
        await record("lab.quarantine", subject=message, session=session)

    await in_transaction(work)


async def settle(
    message: LabMessage, values: Mapping[str, Any], session: AsyncClientSession, *, final: bool = True
) -> None:
    """Compare-and-set from the state in which the message was read. Raises `Elsewhere` when it is another by now."""
    actor = current_scope().actor
    done = {"settled_at": now(), "settled_by": actor.user_id if actor else None} if final else {}
    changed = await LabMessage.guarded().update_one(
        {"_id": message.key, "status": message.status.value, "version": message.version},
        {"$set": {**values, **done, "updated_at": now()}, "$inc": {"version": 1}},
        session=session,
    )
    if not changed.matched_count:
        raise Elsewhere


async def _failed(message: LabMessage, error: Exception) -> Outcome:
    kind = type(error).__name__
    log.warning("a laboratory's report was not handled", message=str(message.key), tries=message.tries, error=kind)
    if message.tries >= MAX_TRIES:
        with contextlib.suppress(Elsewhere):
            await _quarantine(message, QuarantineReason.NOT_HANDLED)
        return Outcome.QUARANTINED
    later = now() + delay_after(message.tries)
    await LabMessage.guarded().update_one(
        {"_id": message.key, "status": WAITING, "version": message.version}, {"$set": {"next_at": later}}
    )
    return Outcome.RETRY
