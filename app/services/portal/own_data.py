"""What patients see and change of their own at the clinic in scope."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.auth.patient_sessions import live_sessions
from app.config import Settings
from app.errors import InvalidState
from app.services import patients
from app.services.changes import Row
from app.services.mailing import language_of
from app.services.merging.redirects import all_ids
from app.services.outbox import Sending, can_send_sms, enqueue_mail, enqueue_sms
from app.services.portal.letters import moved_letter, moved_sms
from app.services.portal.sign_in import clinic_here
from app.services.settings import clinic_settings
from app.services.sharing.consents import revoke_consent
from app.tenancy.scope import current_scope
from app.tenancy.trail import BEGUN
from models.appointment import AppointmentStatus
from models.consent import RevokedBy
from models.invoice import InvoiceStatus
from models.lab import LabResultStatus
from models.phones import e164, region_of
from models.values import now


def own_appointments() -> dict[str, Any]:
    """The filter of the patient's appointments; what should never have been entered is not among them."""
    return {**_mine(), "status": {"$ne": AppointmentStatus.ENTERED_IN_ERROR.value}}


def own_lab_results() -> dict[str, Any]:
    """The filter of the patient's lab results that the clinic has released."""
    return {**_mine(), "status": LabResultStatus.RELEASED.value}


def own_invoices() -> dict[str, Any]:
    """The filter of the patient's invoices that were issued; one that was called void since is told as such."""
    return {**_mine(), "status": {"$ne": InvoiceStatus.DRAFT.value}, "issued_at": {"$ne": None}}


def own_sessions(settings: Settings) -> dict[str, Any]:
    """The filter of the patient's sessions that are still good."""
    return {**_mine(), **live_sessions(settings, now())}


def own_documents() -> dict[str, Any]:
    """The filter of whatever names the patient in `patient_id`."""
    return _mine()


async def accesses(*, own: bool) -> dict[str, Any]:
    """The filter of the audit entries about the patient; their own acts with `own` only.

    A change is told once, by how it ended, and not a second time as one that had begun.
    """
    known_as = await all_ids(current_scope().signed_in_patient.patient_id)
    where: dict[str, Any] = {"patient_ids": {"$in": known_as}, "result": {"$ne": BEGUN}}
    return where if own else {**where, "by_patient": {"$nin": known_as}}


async def change_contact(version: int, changes: Mapping[str, Any], settings: Settings) -> Row:
    """Changes the patient's own `phone`, `email` or `address`; those to which codes no longer go are told.

    Raises INVALID_STATE where the clinic does that.
    """
    if not (await clinic_settings()).portal_contact_changes:
        raise InvalidState("The clinic changes contact data itself: tell the desk.")
    moved = partial(_tell_former, settings)
    return await patients.change(current_scope().signed_in_patient.patient_id, version, changes, moved=moved)


async def _tell_former(settings: Settings, account: Row, patient: Row, session: AsyncClientSession) -> None:
    """A stolen session must not lead the codes elsewhere without a word to the patient."""
    tenant = clinic_here()
    language = await language_of(tenant, session)
    common = Sending(kind="portal.contact-changed", tenant=tenant, settings=settings, session=session)
    email, phone = account.get("email"), e164(account.get("phone"), region_of(tenant.timezone))
    if email and email != patient.get("email"):
        await enqueue_mail(moved_letter(language, clinic=tenant.name), to=email, **common)
    if phone and can_send_sms(settings) and account["phone"] != patient.get("phone"):
        await enqueue_sms(moved_sms(language, clinic=tenant.name), to=phone, **common)


def _mine() -> dict[str, Any]:
    return {"patient_id": current_scope().signed_in_patient.patient_id}


async def take_back(consent_id: ObjectId, reason: str | None) -> Row:
    """Revokes a consent of the patient who is signed in. Raises NOT_FOUND at `input.id`, or INVALID_STATE."""
    patient_id = current_scope().signed_in_patient.patient_id
    return await revoke_consent(consent_id, by=RevokedBy.PATIENT, reason=reason, patient_id=patient_id)
