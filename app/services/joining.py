"""What invited people do with an invitation: look at it, and accept it, once, as themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.auth.links import digest
from app.auth.passwords import hash_password, weakness
from app.auth.sessions import SignedIn, end_session
from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import AppError, Conflict, ValidationFailed
from app.permissions import Permission
from app.services import sign_in
from app.services.audit import record
from app.services.changes import checked
from app.services.invitations import OPEN, allowed_domains, inviting_clinic, void
from app.services.mailing import unknown_link
from app.services.memberships import one_at_a_time
from app.services.people import employ, rights_at
from app.tenancy.scope import Actor, Scope, current_scope, narrowed, open_scope
from models import Invitation, Membership, Role, User
from models.invitation import InvitationStatus
from models.user import MembershipStatus, UserStatus
from models.values import now


@dataclass(frozen=True, slots=True)
class Look:
    """What the holder of a link may know before they accept. `known`: they have an account, so its password counts."""

    email: str
    known: bool
    expires_at: datetime


async def look(token: str) -> Look:
    """What an open invitation is about. Raises NOT_FOUND alike for one that is unknown, another clinic's or over."""
    invitation = await _open(token)
    known = await User.guarded().find_one({"email": invitation.email}, {"_id": 1})
    return Look(masked(invitation.email), known is not None, invitation.expires_at)


def masked(email: str) -> str:
    """An address that its owner knows again: `a***@example.com`."""
    name, _, domain = email.rpartition("@")
    return f"{name[:1]}***@{domain}"


async def accept(
    token: str, password: str | None, name: str | None, settings: Settings, *, device: str
) -> tuple[Scope, SignedIn]:
    """Makes the invited person a member of the clinic on this host, and signs them in to it.

    Somebody new sets `password` (and may correct `name`). Somebody known proves it: by being signed in with the
    invited address, else by their password, as a sign-in. Raises NOT_FOUND as `look` does, VALIDATION_FAILED or
    UNAUTHENTICATED for the password, INVALID_STATE when the invitation no longer holds; then nothing has changed.
    """
    invitation = await _open(token)
    user = await User.find_one({"email": invitation.email})
    actor = current_scope().actor
    if user is None:
        return await _join_anew(invitation, password, name, settings, device)
    if actor is not None and actor.user_id == user.key:
        return await _join_and_enter(invitation, user, settings)
    if password is None:
        raise ValidationFailed.at("input.password", "is needed: give the one of your account, or sign in first")
    known, signed_in = await sign_in.login(invitation.email, password, settings, device=device)
    try:
        with open_scope(known):
            return await _join_and_enter(invitation, user, settings)
    except AppError:
        await end_session(signed_in.session.id)
        raise


async def _open(token: str) -> Invitation:
    inviting_clinic()
    found = await Invitation.find_one({"token_hash": digest(token), "status": OPEN, "expires_at": {"$gt": now()}})
    if found is None:
        raise unknown_link()
    return found


async def _join_anew(
    invitation: Invitation, password: str | None, name: str | None, settings: Settings, device: str
) -> tuple[Scope, SignedIn]:
    if password is None:
        raise ValidationFailed.at("input.password", "is needed: choose one")
    if problem := weakness(password, "input.password"):
        raise ValidationFailed(fields=[problem])
    called = checked(User, {"name": name})["name"] if name is not None else invitation.name
    user = User(
        id=ObjectId(),
        email=invitation.email,
        name=called,
        password_hash=await hash_password(password),
        email_verified_at=now(),
    )
    try:
        await _join(invitation, user, new=True)
    except DuplicateKeyError:  # the address got an account at this very moment
        raise Conflict("This address has an account by now. Try again with its password.") from None
    return await sign_in.login(user.email, password, settings, device=device)


async def _join_and_enter(invitation: Invitation, user: User, settings: Settings) -> tuple[Scope, SignedIn]:
    """Makes the actor a member, then lets their session enter, as `switchTenant` does."""
    membership = await _join(invitation, user)
    with narrowed(actor=replace(current_scope().signed_in, membership_id=membership.key)):
        return await sign_in.switch_tenant(settings)


async def _join(invitation: Invitation, user: User, *, new: bool = False) -> Membership:
    """Uses the invitation up and makes the person a member, all or nothing."""

    async def work(session: AsyncClientSession) -> Membership:
        await one_at_a_time(session)
        await _use_up(invitation, user, session)
        role = await _still_granted(invitation, session)
        await (user.insert(session=session) if new else _hold(user, session))
        made = await employ(user, role, kind=invitation.kind, staff_id=invitation.staff_id, session=session)
        await record("invitation.accept", subject=invitation, session=session)
        return made

    with narrowed(actor=_actor_for(user)):
        return await in_transaction(work)


def _actor_for(user: User) -> Actor:
    """Who accepts, for the audit: without a session here yet, and so without any right."""
    return Actor(user_id=user.key, session_id="", name=user.name, email=user.email)


async def _use_up(invitation: Invitation, user: User, session: AsyncClientSession) -> None:
    moment = now()
    used = await Invitation.guarded().update_one(
        {"_id": invitation.key, "status": OPEN, "token_hash": invitation.token_hash, "expires_at": {"$gt": moment}},
        {"$set": {"status": InvitationStatus.ACCEPTED.value, "accepted_at": moment, "accepted_by": user.key}},
        session=session,
    )
    if not used.matched_count:
        raise unknown_link()


async def _hold(user: User, session: AsyncClientSession) -> None:
    """Writes to a known person, whose mailbox the link has just proven, so that nothing ends them meanwhile."""
    held = await User.guarded().update_one(
        {"_id": user.key, "email": user.email, "status": UserStatus.ACTIVE.value},
        [{"$set": {"email_verified_at": {"$ifNull": ["$email_verified_at", now()]}, "updated_at": now()}}],
        session=session,
    )
    if not held.matched_count:
        raise unknown_link()


async def _still_granted(invitation: Invitation, session: AsyncClientSession) -> Role:
    """The invited role, if whoever invited could still give it now.

    Raises INVALID_STATE when the role was deleted, or when the inviter has left, was disabled everywhere, may no longer
    invite, or has less than the role gives by now: an invitation must not outlive the right that it was sent with.
    """
    role = await Role.find_one({"_id": invitation.role_id}, session=session)
    here = {"user_id": invitation.invited_by, "clinic_id": current_scope().tenant_id}
    inviter = await Membership.find_one({**here, "status": MembershipStatus.ACTIVE.value}, session=session)
    able = {"_id": invitation.invited_by, "status": UserStatus.ACTIVE.value}
    if await User.guarded().find_one(able, {"_id": 1}, session=session) is None:
        raise void()
    theirs = await Role.find_one({"_id": inviter.role_id}, session=session) if inviter else None
    if role is None or theirs is None or theirs.level < role.level or allowed_domains(invitation.email):
        raise void()
    rights = await rights_at(theirs.key, session)
    if Permission.STAFF_MANAGE not in rights or not await rights_at(role.key, session) <= rights:
        raise void()
    return role
