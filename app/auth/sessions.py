"""Sessions: opened at sign-in, checked live on every request, ended from anywhere."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from app.auth.operators import end_entries, with_office
from app.auth.rights import rights_of
from app.auth.session_limits import SEEN_EVERY, is_over
from app.auth.session_reads import LiveSession, live_session
from app.auth.tokens import STAFF, StaffClaims, tokens_of
from app.config import Settings
from app.errors import Unauthenticated
from app.permissions import Permission
from app.tenancy.directory import at_clinic
from app.tenancy.scope import Actor, Scope, TenantRef
from models import Session, User
from models.user import MembershipStatus
from models.values import now


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session and the token that names it."""

    session: Session
    token: str


def token_of(session: Session, settings: Settings) -> str:
    """The token that names the session and lists the clinics it has entered."""
    claims = StaffClaims(session.id, session.user_id, session.token_version, frozenset(session.clinic_ids))
    return tokens_of(settings, STAFF).sign(claims, issued_at=now(), expires_at=session.expires_at)


def handle_of(session_id: str) -> str:
    """What a session is called where it is shown. Its real name, which a token carries, cannot be had from it."""
    return hashlib.blake2b(session_id.encode(), digest_size=12, person=b"session-handle").hexdigest()


async def open_session(
    user: User,
    settings: Settings,
    *,
    clinic: TenantRef | None,
    address: str,
    device: str,
    second_factor: bool = False,
    confined: bool = False,
) -> SignedIn:
    """Starts a session under a new name; it enters `clinic` at once when given.

    `second_factor` says whether the person showed more than a password just now. `confined` keeps it to `clinic`
    alone, for one that the clinic's own identity provider vouches for.
    """
    if confined and clinic is None:
        raise ValueError("a session is confined to a clinic")
    moment = now()
    session = Session(
        id=_new_name(),
        user_id=user.id,
        token_version=user.token_version,
        clinic_ids=[clinic.id] if clinic else [],
        created_at=moment,
        last_seen_at=moment,
        expires_at=moment + timedelta(days=settings.session_days),
        address=address,
        device=device[:200],
        only_clinic_id=clinic.id if clinic and confined else None,
        second_factor_at=moment if second_factor else None,
    )
    await session.insert()
    return SignedIn(session, token_of(session, settings))


async def renew_session(session_id: str, settings: Settings, *, session: AsyncClientSession) -> SignedIn:
    """Ends every session of the person and puts a new one in the place of this: under a new name, with the second
    factor that they just showed, at the clinics that it had entered, and over no later than it was.

    Raises UNAUTHENTICATED when it was ended meanwhile.
    """
    former = await Session.find_one({"_id": session_id, "revoked_at": None}, session=session)
    if former is None:
        raise Unauthenticated
    await end_all_sessions(former.user_id, session=session)
    moment = now()
    changes = {"id": _new_name(), "token_version": former.token_version + 1, "last_seen_at": moment}
    renewed = former.model_copy(update={**changes, "second_factor_at": moment})
    await renewed.insert(session=session)
    return SignedIn(renewed, token_of(renewed, settings))


def _new_name() -> str:
    return secrets.token_urlsafe(24)


async def enter_clinic(session_id: str, clinic: TenantRef, settings: Settings) -> SignedIn:
    """Adds a clinic to those that the session has entered. The caller has checked the membership."""
    row = await Session.get_pymongo_collection().find_one_and_update(
        {"_id": session_id, "revoked_at": None, "only_clinic_id": {"$in": [None, clinic.id]}},
        {"$addToSet": {"clinic_ids": clinic.id}},
        return_document=ReturnDocument.AFTER,
    )
    if row is None:
        raise Unauthenticated
    session = Session.model_validate(row)
    return SignedIn(session, token_of(session, settings))


async def end_session(session_id: str) -> None:
    """Ends one session; ending it twice is fine."""
    await Session.get_pymongo_collection().update_one(
        {"_id": session_id, "revoked_at": None}, {"$set": {"revoked_at": now()}}
    )
    await end_entries({"session_id": session_id})


async def end_all_sessions(user_id: ObjectId, *, session: AsyncClientSession | None = None) -> None:
    """Ends every session of a person at once: old tokens carry an older version than the person's."""
    await User.get_pymongo_collection().update_one({"_id": user_id}, {"$inc": {"token_version": 1}}, session=session)
    await Session.get_pymongo_collection().update_many(
        {"user_id": user_id, "revoked_at": None}, {"$set": {"revoked_at": now()}}, session=session
    )
    await end_entries({"user_id": user_id}, session=session)


async def end_vouched_sessions(clinic_id: ObjectId, *, session: AsyncClientSession) -> None:
    """Ends every session that the clinic's identity provider vouched for."""
    await Session.get_pymongo_collection().update_many(
        {"only_clinic_id": clinic_id, "revoked_at": None}, {"$set": {"revoked_at": now()}}, session=session
    )


async def identify(token: str, scope: Scope, settings: Settings) -> Scope | None:
    """The scope with its actor, or None when the token names no living session.

    Session, person, membership and the clinic's policy are read as they are now, by a read that began after this call
    and that all who ask meanwhile share: removing somebody, lowering their role or asking for a second factor holds
    from the next request on, in every process. Raises TENANT_NOT_FOUND when the clinic was suspended.
    """
    claims = tokens_of(settings, STAFF).read(token)
    if claims is None:
        return None
    live = await live_session(claims, scope.tenant)
    moment = now()
    if live is None or is_over(live.session, live.clinic.policy if live.clinic else None, settings, moment):
        return None
    await _mark_seen(live.session, moment)
    known = await _with_actor(await at_clinic(scope, live.clinic), claims, live)
    return known if lacks_second_factor(known) else await with_office(known)


def lacks_second_factor(scope: Scope) -> bool:
    """Whether the clinic of the scope asks for a second factor that the actor's session has not."""
    needed = scope.tenant is not None and scope.tenant.policy.second_factor
    return needed and scope.actor is not None and not scope.actor.second_factor


async def _mark_seen(row: dict[str, Any], moment: datetime) -> None:
    """Stores now and then that the session was used, once for all requests that were answered by one read.

    They go on with the row as it will be stored, so that each is judged as if it came after the one that wrote."""
    rest = moment - row["last_seen_at"]
    if rest > SEEN_EVERY:
        seen = {"last_seen_at": moment, "longest_rest": max(int(rest.total_seconds()), row.get("longest_rest", 0))}
        row.update(seen)
        await Session.get_pymongo_collection().update_one({"_id": row["_id"], "revoked_at": None}, {"$max": seen})


async def _with_actor(scope: Scope, claims: StaffClaims, live: LiveSession) -> Scope:
    row, user, tenant = live.session, live.user, scope.tenant
    member = live.membership if live.membership and live.membership["status"] == MembershipStatus.ACTIVE else None
    second_factor = row.get("second_factor_at") is not None
    entered = tenant is not None and tenant.id in claims.clinic_ids and tenant.id in row["clinic_ids"]
    suffices = second_factor or tenant is None or not tenant.policy.second_factor
    enters = entered and suffices and member is not None
    role: str | None = None
    permissions: frozenset[Permission] = frozenset()
    if member is not None and enters:
        role, permissions = await rights_of(member["_id"], member["version"], member["role_id"], scope)
    actor = Actor(
        user_id=user["_id"],
        session_id=row["_id"],
        name=user["name"],
        email=user["email"],
        membership_id=member["_id"] if member is not None else None,
        role=role,
        permissions=permissions,
        second_factor=second_factor,
        confined=row.get("only_clinic_id") is not None,
    )
    return replace(scope, actor=actor, mismatch=tenant is not None and not enters)
