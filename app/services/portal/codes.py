"""One-time codes: six digits, good for ten minutes and five tries, the newest of a patient only.

Six digits can be guessed, so what is stored is a keyed MAC under a salt of its own: the database alone tells none.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache

import structlog
from bson import ObjectId
from pydantic import SecretStr
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.auth.links import digest
from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import RateLimited
from app.services.audit import record
from app.services.changes import Row
from app.services.mailing import language_of
from app.services.merging.redirects import survivor_by_code
from app.services.outbox import Sending, can_send_sms, discard_mail, enqueue_mail, enqueue_sms
from app.services.portal.accounts import require_enabled
from app.services.portal.letters import code_letter, code_sms
from app.services.rate_limits import Limit, Taken, network_of, refund, take
from app.tenancy.scope import TenantRef, current_scope
from models import OneTimeCode, Patient, PatientRecord, PortalAccount
from models.patient import RecordStatus
from models.phones import e164, region_of
from models.portal import PortalChannel, SignInMethod
from models.values import now

log = structlog.get_logger(__name__)

LASTS = timedelta(minutes=10)
TRIES = 5
LONGEST_TYPED = 40
REQUESTS_BY_NETWORK = Limit("portal-request-network", 20, timedelta(minutes=15))
REQUESTS_OF_PATIENT = Limit("portal-request-patient", 3, timedelta(minutes=15))
REQUESTS_A_DAY = Limit("portal-request-day", 20, timedelta(days=1))
GUESSES_OF_PATIENT = Limit("portal-guess-patient", 50, timedelta(days=1))
"""With six digits, fifty tries a day find one code in twenty thousand."""
GUESSES_AT_CLINIC = Limit("portal-guess-clinic", 200, timedelta(hours=1))
"""Few tries each at many patients' codes, from many networks, come to no more than this together."""
ISSUED = Limit("portal-issue", 10, timedelta(hours=1))


@dataclass(frozen=True, slots=True)
class Issued:
    """A code that is shown once, at the desk."""

    code: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class _Addressee:
    """Whom a code is for. Of nobody it has an id that no patient has, and no address."""

    patient_id: ObjectId
    known: bool = False
    email: str | None = None
    sms: str | None = None


def typed_code(text: str) -> str:
    """A patient's code as it is stored, from how it was typed."""
    return text.strip()[:LONGEST_TYPED].upper()


# --- asking for a code --------------------------------------------------------------------------------------------


async def request(code: str, born: date, settings: Settings, tenant: TenantRef) -> None:
    """Sends a code to the patient of that code and birth date, if there is one who may use the portal.

    Whether there is shows in nothing: the same is looked up and written for nobody, and no message leaves. Raises
    RATE_LIMITED for the network alone; too many requests for one patient are answered like any other. Only those count
    that know the birth date too, so that the code alone keeps no patient out.
    """
    typed = typed_code(code)
    await take(REQUESTS_BY_NETWORK, network_of(current_scope().address))
    asked_for = digest(f"{typed} {born}")
    # Nobody's id is the same each time too: several requests at once stand in each other's way alike.
    somebody = await _addressee(typed, born, settings, tenant) or _Addressee(ObjectId(asked_for[:24]))
    try:
        await take(REQUESTS_OF_PATIENT, asked_for)
        await take(REQUESTS_A_DAY, asked_for)
    except RateLimited:  # told to nobody: it would tell others who has asked
        somebody = _Addressee(ObjectId())

    async def work(session: AsyncClientSession) -> None:
        made = await _replace(somebody.patient_id, SignInMethod.CODE, settings, session)
        await _send(somebody, made.code, settings, tenant, session)
        if not somebody.known:
            await OneTimeCode.guarded().delete_many({"patient_id": somebody.patient_id}, session=session)
        known = [somebody.patient_id] if somebody.known else []
        await record("portal.request_code", patients=known, session=session)

    try:
        await in_transaction(work)
    except DuplicateKeyError:
        return  # another request for the same patient was first, and its code is on the way


async def _addressee(code: str, born: date, settings: Settings, tenant: TenantRef) -> _Addressee | None:
    patient_id = await patient_of(code) or ObjectId()
    patients = await Patient.rows({"_id": patient_id, "birth_date": born.isoformat()}, projection={"_id": 1}, limit=1)
    shown = {"channel": 1, "email": 1, "phone": 1}
    accounts = await PortalAccount.rows({"patient_id": patient_id, "enabled": True}, projection=shown, limit=1)
    if not patients or not accounts:
        return None
    email = accounts[0].get("email")
    phone = e164(accounts[0].get("phone"), region_of(tenant.timezone)) if can_send_sms(settings) else None
    by_sms = phone is not None and (accounts[0]["channel"] == PortalChannel.SMS or not email)
    if not email and not by_sms:
        return None
    return _Addressee(patient_id, True, email, phone if by_sms else None)


async def patient_of(code: str) -> ObjectId | None:
    """The patient who has that code here, or had it before a merge, and is not archived."""
    merged = await survivor_by_code(code)  # asked in any case: how long it takes must not tell whether there is one
    whose = {"code": code} if merged is None else {"patient_id": merged}
    rows = await PatientRecord.rows(
        {**whose, "status": RecordStatus.ACTIVE.value}, projection={"patient_id": 1}, limit=1
    )
    return rows[0]["patient_id"] if rows else None


async def _send(to: _Addressee, code: str, settings: Settings, tenant: TenantRef, session: AsyncClientSession) -> None:
    language = await language_of(tenant, session)
    common = Sending(kind="portal.code", tenant=tenant, settings=settings, session=session, lasts=LASTS)
    if to.sms is not None:
        await enqueue_sms(code_sms(language, clinic=tenant.name, code=code), to=to.sms, **common)
        return
    letter = code_letter(language, clinic=tenant.name, code=code)
    if to.email is not None:
        await enqueue_mail(letter, to=to.email, **common)
    else:
        await discard_mail(letter, to="nobody@example.com", **common)


async def issue(patient_id: ObjectId, settings: Settings) -> Issued:
    """Makes a code at the desk, for a patient who stands there. Raises NOT_FOUND, INVALID_STATE, RATE_LIMITED."""
    await take(ISSUED, str(patient_id))

    async def work(session: AsyncClientSession) -> Issued:
        await require_enabled(patient_id, session)
        made = await _replace(patient_id, SignInMethod.DESK_CODE, settings, session)
        await record("portal.issue_code", patients=[patient_id], session=session)
        return made

    return await in_transaction(work)


async def _replace(
    patient_id: ObjectId, method: SignInMethod, settings: Settings, session: AsyncClientSession
) -> Issued:
    """A new code in the place of any other of the patient."""
    code, salt = f"{secrets.randbelow(1_000_000):06d}", secrets.token_bytes(16)
    made = OneTimeCode(
        patient_id=patient_id,
        salt=salt,
        mac=_mac(settings, patient_id, salt, code),
        method=method,
        expires_at=now() + LASTS,
    )
    await OneTimeCode.guarded().delete_many({"patient_id": patient_id}, session=session)
    await made.insert(session=session)
    return Issued(code, made.expires_at)


# --- using one ----------------------------------------------------------------------------------------------------


async def spend(patient_id: ObjectId, code: str, settings: Settings) -> SignInMethod | None:
    """Uses the patient's code up when it is `code`; None when it is not, there is none, or too much was guessed.

    Each call is one try. It is counted before it is judged, and the code goes in one step, so of several at once one
    is right. Guesses count where there is something to guess, and nobody is told that they were too many: so they
    neither keep a patient out who asks for a code later, nor tell whether there is one.
    """
    row: Row | None = await OneTimeCode.guarded().find_one_and_update(
        {"patient_id": patient_id, "expires_at": {"$gt": now()}, "tries": {"$lt": TRIES}},
        {"$inc": {"tries": 1}},
        return_document=ReturnDocument.AFTER,
    )
    kept = row or {"salt": bytes(16), "mac": bytes(32), "_id": ObjectId()}
    tries = await _guessed(patient_id if row else None)
    right = hmac.compare_digest(kept["mac"], _mac(settings, patient_id, kept["salt"], code))
    if row is None or tries is None or not right:
        return None
    gone = await OneTimeCode.guarded().delete_one({"_id": row["_id"], "mac": row["mac"]})
    if not gone.deleted_count:
        return None
    for limit, key, taken in tries:
        await refund(limit, key, taken)
    return SignInMethod(row["method"])


async def _guessed(patient_id: ObjectId | None) -> list[tuple[Limit, str, Taken]] | None:
    """Counts a try at the code of a patient, at nothing with None, which takes as long; None when there were enough."""
    whose, where = (str(patient_id), "codes") if patient_id else (str(ObjectId()), "none")
    try:
        of_patient = await take(GUESSES_OF_PATIENT, whose)
        at_clinic = await take(GUESSES_AT_CLINIC, where)
    except RateLimited as enough:
        log.warning("guesses at patients' one-time codes are refused unseen", retry_after=enough.retry_after)
        return None
    return [(GUESSES_OF_PATIENT, whose, of_patient), (GUESSES_AT_CLINIC, where, at_clinic)]


def _mac(settings: Settings, patient_id: ObjectId, salt: bytes, code: str) -> bytes:
    """Bound to clinic and patient, so that a row copied elsewhere opens nothing."""
    about = current_scope().tenant_id.binary + patient_id.binary + salt + code.encode("utf-8", "surrogatepass")
    return hmac.digest(_key(settings.session_secret), about, "sha256")


@cache
def _key(secret: SecretStr) -> bytes:
    return hashlib.blake2b(secret.get_secret_value().encode(), digest_size=32, person=b"portal-code").digest()
