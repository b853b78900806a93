"""Patients' sessions: opened by a code or a QR ticket, good at one clinic, checked live on every request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.auth.patient_tokens import PATIENT, PatientClaims
from app.auth.tokens import tokens_of
from app.config import Settings
from app.shared_commands import SharedCommands
from app.tenancy.directory import at_clinic, live_clinic
from app.tenancy.scope import PatientActor, Place, Scope, current_scope, open_scope
from models import Patient, PatientRecord, PortalAccount, PortalSession
from models.patient import RecordStatus
from models.portal import SignInMethod
from models.together import Part, read_together
from models.values import now

Row = dict[str, Any]

SEEN_EVERY = timedelta(minutes=1)
_SESSION = {"patient_id": 1, "expires_at": 1, "last_seen_at": 1}
KEPT = timedelta(days=30)
"""So long a patient still sees where they were signed in."""


@dataclass(frozen=True, slots=True)
class PatientSignedIn:
    """A patient's session and the token that names it."""

    session: PortalSession
    token: str


async def open_patient_session(
    patient_id: ObjectId, method: SignInMethod, settings: Settings, *, device: str, session: AsyncClientSession
) -> PatientSignedIn:
    """Starts a session of a patient of the clinic in scope, whom the caller has identified."""
    scope, moment = current_scope(), now()
    await PortalSession.guarded().delete_many(
        {"patient_id": patient_id, "created_at": {"$lt": moment - KEPT}}, session=session
    )
    opened = PortalSession(
        patient_id=patient_id,
        method=method,
        last_seen_at=moment,
        expires_at=moment + timedelta(hours=settings.patient_session_hours),
        address=scope.address,
        device=device[:200],
    )
    await opened.insert(session=session)
    claims = PatientClaims(opened.key, patient_id, scope.tenant_id)
    token = tokens_of(settings, PATIENT).sign(claims, issued_at=moment, expires_at=opened.expires_at)
    return PatientSignedIn(opened, token)


async def end_patient_session(session_id: ObjectId) -> None:
    """Ends one session; ending it twice is fine."""
    await PortalSession.guarded().update_one({"_id": session_id, "revoked_at": None}, {"$set": {"revoked_at": now()}})


async def end_patient_sessions(patient_id: ObjectId, *, session: AsyncClientSession | None = None) -> None:
    """Ends every session that the patient has at the clinic in scope."""
    await PortalSession.guarded().update_many(
        {"patient_id": patient_id, "revoked_at": None}, {"$set": {"revoked_at": now()}}, session=session
    )


def live_sessions(settings: Settings, moment: datetime) -> dict[str, Any]:
    """Filter: neither ended, nor too old, nor unused for too long at that instant."""
    idle = moment - timedelta(minutes=settings.patient_idle_minutes)
    return {"revoked_at": None, "expires_at": {"$gt": moment}, "last_seen_at": {"$gt": idle}}


async def identify_patient(token: str, scope: Scope, settings: Settings) -> Scope | None:
    """The scope with its patient, or None when the token names no living session at this very clinic.

    Session, account, record and patient are read as they are now, by a read that began after this call and that all who
    ask meanwhile share: switching the portal off, archiving the patient, losing them to another clinic or suspending
    the clinic holds from the next request on, in every process. Raises TENANT_NOT_FOUND for one that is not active.
    """
    claims = tokens_of(settings, PATIENT).read(token)
    if claims is None or scope.tenant is None or claims.clinic_id != scope.tenant.id:
        return None
    live, clinic = await asyncio.gather(_session(claims, scope), live_clinic(scope.tenant))
    if clinic.residence != scope.tenant.residence:  # it was moved a moment ago
        scope = await at_clinic(scope, clinic)
        live = await _session(claims, scope)
    if live is None or not _is_live(live.session, settings, now()):
        return None
    with open_scope(scope):
        await _mark_seen(live.session)
    return replace(scope, patient=PatientActor(claims.patient_id, str(claims.session_id), live.code))


async def _session(claims: PatientClaims, scope: Scope) -> _Live | None:
    assert scope.tenant is not None  # noqa: S101 - looked at by whoever asks
    place = Place(scope.tenant, scope.database)
    return await _sessions.get(claims, place=place, at=place.name)


@dataclass(frozen=True, slots=True)
class _Live:
    """A patient's session as it is stored now, of a patient who may use the portal. Shared as its read is."""

    session: Row
    code: str


async def _read(place: Place, asked: Sequence[PatientClaims]) -> Mapping[PatientClaims, _Live]:
    """Those of the sessions that were not ended, whose patients are this clinic's and may use the portal."""
    ids, patients = [one.session_id for one in asked], list({one.patient_id for one in asked})
    theirs = {"patient_id": {"$in": patients}}
    # no trail: finding out whose a session is tells nobody anything of the patient
    with open_scope(place.scope("patients' sessions")):
        found = await read_together(
            Part(PortalSession, {"_id": {"$in": ids}, "revoked_at": None}, _SESSION),
            Part(PortalAccount, {**theirs, "enabled": True}, {"patient_id": 1}),
            Part(PatientRecord, {**theirs, "status": RecordStatus.ACTIVE.value}, {"patient_id": 1, "code": 1}),
            Part(Patient, {"_id": {"$in": patients}}, {"_id": 1}),
        )
    sessions = {row["_id"]: row for row in found[PortalSession]}
    codes = {row["patient_id"]: row["code"] for row in found[PatientRecord]}
    admitted = {row["patient_id"] for row in found[PortalAccount]} & {row["_id"] for row in found[Patient]}
    return {
        one: _Live(session, codes[one.patient_id])
        for one in asked
        if (session := sessions.get(one.session_id)) is not None
        and session["patient_id"] == one.patient_id
        and one.patient_id in admitted & codes.keys()
    }


_sessions: SharedCommands[PatientClaims, _Live] = SharedCommands(_read)


def _is_live(row: Row, settings: Settings, moment: datetime) -> bool:
    """Whether a stored session that was not ended is good at that instant; see `live_sessions`."""
    idle = moment - timedelta(minutes=settings.patient_idle_minutes)
    return bool(row["expires_at"] > moment and row["last_seen_at"] > idle)


async def _mark_seen(row: Row) -> None:
    """Stores now and then that the session was used, once for all requests that were answered by one read."""
    if (moment := now()) - row["last_seen_at"] > SEEN_EVERY:
        row["last_seen_at"] = moment
        await PortalSession.guarded().update_one(
            {"_id": row["_id"], "revoked_at": None}, {"$set": {"last_seen_at": moment}}
        )
