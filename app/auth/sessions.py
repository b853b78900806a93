"""Sessions: opened at sign-in, checked live on every request, ended from anywhere."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from app.auth.rights import rights_of
from app.auth.tokens import Claims, tokens_of
from app.config import Settings
from app.errors import Unauthenticated
from app.permissions import Permission
from app.tenancy.scope import Actor, Scope, TenantRef
from models import Session, User
from models.user import MembershipStatus, UserStatus
from models.values import now

SEEN_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session and the token that names it."""

    session: Session
    token: str


def token_of(session: Session, settings: Settings) -> str:
    """The token that names the session and lists the clinics it has entered."""
    return tokens_of(settings.session_secret).sign(
        session_id=session.id,
        user_id=session.user_id,
        token_version=session.token_version,
        clinic_ids=session.clinic_ids,
        issued_at=now(),
        expires_at=session.expires_at,
    )


async def open_session(
    user: User, settings: Settings, *, clinic: TenantRef | None, address: str, device: str
) -> SignedIn:
    """Starts a session under a new name; it enters `clinic` at once when given."""
    session = Session(
        id=secrets.token_urlsafe(24),
        user_id=user.id,
        token_version=user.token_version,
        clinic_ids=[clinic.id] if clinic else [],
        expires_at=now() + timedelta(days=settings.session_days),
        address=address,
        device=device[:200],
    )
    await session.insert()
    return SignedIn(session, token_of(session, settings))


async def enter_clinic(session_id: str, clinic: TenantRef, settings: Settings) -> SignedIn:
    """Adds a clinic to those that the session has entered. The caller has checked the membership."""
    row = await Session.get_pymongo_collection().find_one_and_update(
        {"_id": session_id, "revoked_at": None},
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


async def end_all_sessions(user_id: ObjectId, *, session: AsyncClientSession | None = None) -> None:
    """Ends every session of a person at once: old tokens carry an older version than the person's."""
    await User.get_pymongo_collection().update_one({"_id": user_id}, {"$inc": {"token_version": 1}}, session=session)
    await Session.get_pymongo_collection().update_many(
        {"user_id": user_id, "revoked_at": None}, {"$set": {"revoked_at": now()}}, session=session
    )


async def identify(token: str, scope: Scope, settings: Settings) -> Scope | None:
    """The scope with its actor, or None when the token names no living session.

    One read brings session, person and membership at this clinic as they are now, so removing somebody or
    lowering their role holds from the next request on, in every process.
    """
    claims = tokens_of(settings.session_secret).read(token)
    if claims is None:
        return None
    row = await _live(claims, scope.tenant)
    if row is None:
        return None
    await _mark_seen(row)
    return await _with_actor(scope, claims, row)


async def _live(claims: Claims, clinic: TenantRef | None) -> dict[str, Any] | None:
    """The session's row with `user` and `membership` embedded, if both session and person are in order."""
    cursor = await Session.get_pymongo_collection().aggregate(
        [
            {"$match": {"_id": claims.session_id, "user_id": claims.user_id, "revoked_at": None}},
            {
                "$lookup": {
                    "from": "users",
                    "localField": "user_id",
                    "foreignField": "_id",
                    "pipeline": [{"$project": {"name": 1, "email": 1, "status": 1, "token_version": 1}}],
                    "as": "user",
                }
            },
            {
                "$lookup": {
                    "from": "memberships",
                    "localField": "user_id",
                    "foreignField": "user_id",
                    "pipeline": [
                        {"$match": {"clinic_id": clinic.id if clinic else None}},
                        {"$project": {"role_id": 1, "status": 1, "version": 1}},
                    ],
                    "as": "membership",
                }
            },
        ]
    )
    rows: list[dict[str, Any]] = await cursor.to_list()
    row = rows[0] if rows else None
    if row is None or row["expires_at"] <= now() or not row["user"]:
        return None
    row["user"] = row["user"][0]
    row["membership"] = row["membership"][0] if row["membership"] else None
    user = row["user"]
    if user["status"] != UserStatus.ACTIVE or not user["token_version"] == row["token_version"] == claims.token_version:
        return None
    return row


async def _mark_seen(row: dict[str, Any]) -> None:
    if now() - row["last_seen_at"] > SEEN_EVERY:
        await Session.get_pymongo_collection().update_one({"_id": row["_id"]}, {"$set": {"last_seen_at": now()}})


async def _with_actor(scope: Scope, claims: Claims, row: dict[str, Any]) -> Scope:
    user, membership = row["user"], row["membership"]
    entered = scope.tenant is not None and scope.tenant.id in claims.clinic_ids and scope.tenant.id in row["clinic_ids"]
    works_here = membership is not None and membership["status"] == MembershipStatus.ACTIVE
    role: str | None = None
    permissions: frozenset[Permission] = frozenset()
    if entered and works_here:
        role, permissions = await rights_of(membership["_id"], membership["version"], membership["role_id"], scope)
    actor = Actor(
        user_id=user["_id"],
        session_id=row["_id"],
        name=user["name"],
        email=user["email"],
        membership_id=membership["_id"] if works_here else None,
        role=role,
        permissions=permissions,
    )
    return replace(scope, actor=actor, mismatch=scope.tenant is not None and not (entered and works_here))
