"""Which patients may use the portal of the clinic in scope; decided at the desk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from beanie import PydanticObjectId
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.auth.patient_sessions import end_patient_sessions
from app.db.transactions import in_transaction
from app.errors import InvalidState, NotFound
from app.services.audit import record
from app.services.changes import Row, row_of
from models import OneTimeCode, Patient, PatientRecord, PortalAccount, PortalTicket
from models.patient import RecordStatus
from models.portal import PortalChannel

PATIENT = "input.patientId"
CONTACT = ("email", "phone")
"""What of a patient's contact data codes are sent to."""


async def enable(patient_id: ObjectId, channel: PortalChannel | None) -> Row:
    """Lets a patient into the portal, or changes how codes reach them; answers with their account's row.

    Codes go to the contact data as it is now. Without `channel` a known one stays, and a new one is e-mail unless the
    patient has only a phone. Raises NOT_FOUND at `input.patientId`, INVALID_STATE for an archived patient.
    """

    async def work(session: AsyncClientSession) -> Row:
        patient = await _patient_here(patient_id, session)
        held = await PortalAccount.find_one({"patient_id": patient_id}, session=session)
        if held is None:
            chosen = channel or _usual_channel(patient)
            held = PortalAccount(patient_id=PydanticObjectId(patient_id), channel=chosen, **_contact(patient))
            await held.insert(session=session)
        else:
            values = {"enabled": True, "channel": (channel or held.channel).value, **_contact(patient)}
            held = await PortalAccount.change(held.key, None, values, session=session)
        await record("portal.enable", subject=held, patients=[patient_id], session=session)
        return row_of(held)

    return await in_transaction(work)


async def disable(patient_id: ObjectId) -> Row:
    """Shuts a patient out of the portal: sessions, codes and QR codes end at once; answers with the account's row.

    Raises NOT_FOUND at `input.patientId` for somebody who never had access.
    """

    async def work(session: AsyncClientSession) -> Row:
        held = await account_of(patient_id, session)
        held = await PortalAccount.change(held.key, None, {"enabled": False}, session=session)
        await end_access(patient_id, session)
        await record("portal.disable", subject=held, patients=[patient_id], session=session)
        return row_of(held)

    return await in_transaction(work)


async def end_access(patient_id: ObjectId, session: AsyncClientSession) -> None:
    """Ends every session of a patient here, and what could open another one."""
    await end_patient_sessions(patient_id, session=session)
    await OneTimeCode.guarded().delete_many({"patient_id": patient_id}, session=session)
    await PortalTicket.guarded().delete_many({"patient_id": patient_id}, session=session)


async def sign_out(patient_id: ObjectId) -> Row:
    """Ends every session of a patient here, on the clinic's word; answers with the account's row."""

    async def work(session: AsyncClientSession) -> Row:
        held = await account_of(patient_id, session)
        await end_access(patient_id, session)
        await record("portal.sign_out", subject=held, patients=[patient_id], session=session)
        return row_of(held)

    return await in_transaction(work)


async def follow(patient: Mapping[str, Any], session: AsyncClientSession) -> Row | None:
    """Sends codes to the patient's present contact data, which was changed here; their account's row as it was before,
    None without one."""
    account: Row | None = await PortalAccount.guarded().find_one_and_update(
        {"patient_id": patient["_id"]}, {"$set": _contact(patient)}, session=session
    )
    return account


async def account_of(patient_id: ObjectId, session: AsyncClientSession | None = None) -> PortalAccount:
    """The account of a patient. Raises NOT_FOUND at `input.patientId`."""
    held = await PortalAccount.find_one({"patient_id": patient_id}, session=session)
    if held is None:
        raise NotFound.at(PATIENT)
    return held


async def require_enabled(patient_id: ObjectId, session: AsyncClientSession) -> None:
    """Raises NOT_FOUND at `input.patientId`, or INVALID_STATE, for a patient who may not use the portal now.

    Writes to the account, so that switching it off at the same moment collides with what the caller does.
    """
    await _patient_here(patient_id, session)
    done = await PortalAccount.guarded().update_one(
        {"patient_id": patient_id, "enabled": True}, {"$inc": {"turn": 1}}, session=session
    )
    if not done.matched_count:
        raise InvalidState("The portal is not switched on for this patient.")


async def _patient_here(patient_id: ObjectId, session: AsyncClientSession) -> dict[str, Any]:
    patient = await Patient.guarded().find_one({"_id": patient_id}, {"email": 1, "phone": 1}, session=session)
    found = await PatientRecord.guarded().find_one({"patient_id": patient_id}, {"status": 1}, session=session)
    if patient is None or found is None:
        raise NotFound.at(PATIENT)
    if found["status"] != RecordStatus.ACTIVE:
        raise InvalidState("The patient is archived here.")
    return dict(patient)


def _contact(patient: Mapping[str, Any]) -> dict[str, Any]:
    return {name: patient.get(name) for name in CONTACT}


def _usual_channel(patient: dict[str, Any]) -> PortalChannel:
    return PortalChannel.SMS if patient.get("phone") and not patient.get("email") else PortalChannel.EMAIL
