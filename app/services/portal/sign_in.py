"""Patients signing in and out at one clinic."""

from __future__ import annotations

from datetime import timedelta

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.auth.patient_sessions import (
    PatientSignedIn,
    end_patient_session,
    end_patient_sessions,
    open_patient_session,
)
from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import TenantNotFound, Unauthenticated
from app.services.audit import record
from app.services.portal import codes, tickets
from app.services.rate_limits import Limit, give_back, network_of, refund, take
from app.tenancy.scope import PatientActor, TenantRef, current_scope, forget_patient, narrowed
from models import PatientRecord, PortalAccount
from models.patient import RecordStatus
from models.portal import SignInMethod
from models.values import now

WRONG = "The code is wrong, was used, or is too old."
BY_NETWORK = Limit("portal-login-network", 60, timedelta(minutes=15))
OF_CODE_BY_NETWORK = Limit("portal-login-code-network", 10, timedelta(minutes=15))
"""Few tries from one place: somebody elsewhere who guesses does not keep the patient out."""
QR_BY_NETWORK = Limit("portal-qr-network", 60, timedelta(minutes=15))


def clinic_here() -> TenantRef:
    """The clinic of this host. Raises TENANT_NOT_FOUND on the system's own."""
    tenant = current_scope().tenant
    if tenant is None:
        raise TenantNotFound("This operation needs a clinic's own host.")
    return tenant


async def login(code: str, one_time_code: str, settings: Settings, *, device: str) -> PatientSignedIn:
    """Opens a session by the patient's code and their newest one-time code.

    Raises UNAUTHENTICATED with one text and after the same work for an unknown patient and a wrong, used or expired
    code; RATE_LIMITED after too many tries from one network.
    """
    clinic_here()
    typed, network = codes.typed_code(code), network_of(current_scope().address)
    from_network = await take(BY_NETWORK, network)
    await take(OF_CODE_BY_NETWORK, f"{typed} {network}")
    found = await codes.patient_of(typed)
    patient_id = found or ObjectId()
    method = await codes.spend(patient_id, one_time_code.strip(), settings)
    if method is None:
        await _failed(patient_id, known=found is not None)
        raise Unauthenticated(WRONG)
    opened = await _open(patient_id, method, settings, device)
    await give_back(OF_CODE_BY_NETWORK, f"{typed} {network}")
    await refund(BY_NETWORK, network, from_network)
    return opened


async def _failed(patient_id: ObjectId, *, known: bool) -> None:
    await PortalAccount.guarded().update_one({"patient_id": patient_id}, {"$inc": {"failed_tries": 1}})
    await record("portal.refuse", patients=[patient_id] if known else [])


async def qr_login(ticket: str, settings: Settings, *, device: str) -> PatientSignedIn:
    """Opens a session by a QR ticket, which is used up. Raises UNAUTHENTICATED alike for one that is unknown here,
    was used or is too old; RATE_LIMITED."""
    clinic_here()
    await take(QR_BY_NETWORK, network_of(current_scope().address))
    patient_id = await tickets.redeem(ticket)
    if patient_id is None:
        raise Unauthenticated(WRONG)
    return await _open(patient_id, SignInMethod.QR, settings, device)


async def _open(patient_id: ObjectId, method: SignInMethod, settings: Settings, device: str) -> PatientSignedIn:
    async def work(session: AsyncClientSession) -> PatientSignedIn:
        found = await PatientRecord.guarded().find_one(
            {"patient_id": patient_id, "status": RecordStatus.ACTIVE.value}, {"code": 1}, session=session
        )
        account = await PortalAccount.guarded().update_one(
            {"patient_id": patient_id, "enabled": True},
            {"$set": {"last_sign_in_at": now(), "failed_tries": 0}},
            session=session,
        )
        if found is None or not account.matched_count:
            raise Unauthenticated(WRONG)
        opened = await open_patient_session(patient_id, method, settings, device=device, session=session)
        actor = PatientActor(patient_id, str(opened.session.key), found["code"])
        with narrowed(patient=actor, actor=None):
            await record("portal.sign_in", patients=[patient_id], session=session)
        return opened

    return await in_transaction(work)


async def logout() -> None:
    """Ends this session of the patient; what follows in the same request runs without them."""
    patient = current_scope().patient
    if patient is not None:
        await end_patient_session(ObjectId(patient.session_id))
        forget_patient()


async def sign_out_everywhere() -> None:
    """Ends every session that the patient has at this clinic."""
    patient = current_scope().signed_in_patient

    async def work(session: AsyncClientSession) -> None:
        await end_patient_sessions(patient.patient_id, session=session)
        await record("portal.sign_out_everywhere", patients=[patient.patient_id], session=session)

    await in_transaction(work)
    forget_patient()
