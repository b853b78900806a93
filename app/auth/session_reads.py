"""What a staff session is at this moment: itself, its person, their membership and the clinic, read together for all
who ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bson import ObjectId

from app.auth.tokens import StaffClaims
from app.shared_commands import SharedCommands
from app.tenancy.directory import LIVE_COLUMNS, as_it_is
from app.tenancy.scope import TenantRef
from models import Membership, Session, Tenant, User
from models.together import Part, read_together
from models.user import UserStatus

Row = dict[str, Any]

_SESSION = {
    "user_id": 1,
    "token_version": 1,
    "clinic_ids": 1,
    "created_at": 1,
    "last_seen_at": 1,
    "expires_at": 1,
    "only_clinic_id": 1,
    "second_factor_at": 1,
    "longest_rest": 1,
}
_USER = {"name": 1, "email": 1, "status": 1, "token_version": 1}
_MEMBERSHIP = {"user_id": 1, "clinic_id": 1, "role_id": 1, "status": 1, "version": 1}


class _Asked(NamedTuple):
    """One session, asked for on one clinic's host, or on none's."""

    session_id: str
    user_id: ObjectId
    clinic_id: ObjectId | None


@dataclass(frozen=True, slots=True)
class _Found:
    """What is stored. The rows are shared by all requests that the same read answers."""

    session: Row
    user: Row
    membership: Row | None
    tenant: Row | None


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session that is in order, with its person, their membership at the clinic if any, and the clinic as it is."""

    session: Row
    user: Row
    membership: Row | None
    clinic: TenantRef | None


async def live_session(claims: StaffClaims, clinic: TenantRef | None) -> LiveSession | None:
    """The session that a token names, if both session and person are in order at this moment.

    A session that is confined to one clinic is none on any other host. Raises TENANT_NOT_FOUND when the clinic is not
    active any more.
    """
    clinic_id = clinic.id if clinic is not None else None
    found = await _sessions.get(_Asked(claims.session_id, claims.user_id, clinic_id))
    if found is None or found.session.get("only_clinic_id") not in (None, clinic_id):
        return None
    versions = found.user["token_version"], found.session["token_version"]
    if found.user["status"] != UserStatus.ACTIVE or versions != (claims.token_version, claims.token_version):
        return None
    now_clinic = as_it_is(clinic, found.tenant) if clinic is not None else None
    return LiveSession(found.session, found.user, found.membership, now_clinic)


async def _read(_: Any, asked: Sequence[_Asked]) -> Mapping[_Asked, _Found]:
    """One command, as a token names session and person, and the host the clinic: nothing must be found first."""
    people = list({one.user_id for one in asked})
    clinics = list({one.clinic_id for one in asked if one.clinic_id is not None})
    names = list({one.session_id for one in asked})
    found = await read_together(
        Part(Session, {"_id": {"$in": names}, "revoked_at": None}, _SESSION),
        Part(User, {"_id": {"$in": people}}, _USER),
        Part(Membership, {"user_id": {"$in": people}, "clinic_id": {"$in": clinics}}, _MEMBERSHIP),
        Part(Tenant, {"_id": {"$in": clinics}}, LIVE_COLUMNS),
    )
    sessions, users, tenants = ({row["_id"]: row for row in found[model]} for model in (Session, User, Tenant))
    memberships = {(row["user_id"], row["clinic_id"]): row for row in found[Membership]}
    return {
        one: _Found(session, user, memberships.get((one.user_id, one.clinic_id)), tenants.get(one.clinic_id))
        for one in asked
        if (session := sessions.get(one.session_id)) is not None
        and (user := users.get(one.user_id)) is not None
        and session["user_id"] == one.user_id
    }


_sessions: SharedCommands[_Asked, _Found] = SharedCommands(_read)
