"""Signing in and out, entering clinics, and changing one's password."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession

from app.auth.passwords import hash_password, outdated, weakness
from app.auth.sessions import SignedIn, end_all_sessions, end_session, enter_clinic, identify, open_session
from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import Forbidden, TenantNotFound, Unauthenticated, ValidationFailed
from app.services.audit import record
from app.services.proof import proves
from app.services.rate_limits import LOGIN_BY_ADDRESS, network_of, refund, take
from app.tenancy.scope import Scope, current_scope, forget_actor, open_scope
from models import Membership, User
from models.user import MembershipStatus, UserStatus
from models.values import email_key, now

WRONG = "E-mail or password is wrong."


async def login(email: str, password: str, settings: Settings, *, device: str) -> tuple[Scope, SignedIn]:
    """Checks the credentials and opens a session, which enters the host's clinic if the person works there.

    Raises UNAUTHENTICATED with one and the same text and after the same work for an unknown person, a wrong
    password and a disabled person; RATE_LIMITED after too many tries for one account or from one address.
    """
    scope = current_scope()
    account = email_key(email)
    await take(LOGIN_BY_ADDRESS, network_of(scope.address))
    user = await User.find_one({"email": account})
    right = await proves(account, user.password_hash if user else None, password)
    if user is None or not right or user.status is not UserStatus.ACTIVE:
        raise Unauthenticated(WRONG)
    await refund(LOGIN_BY_ADDRESS, network_of(scope.address))
    await _renew_hash(user, password)
    return await _open(user, scope, settings, device)


async def _open(user: User, scope: Scope, settings: Settings, device: str) -> tuple[Scope, SignedIn]:
    clinic = scope.tenant if scope.tenant and await _works_at(user, scope) else None
    signed_in = await open_session(user, settings, clinic=clinic, address=scope.address, device=device)
    known = await identify(signed_in.token, scope, settings)
    if known is None:
        raise Unauthenticated(WRONG)
    with open_scope(known):
        if clinic is not None:
            await record("session.open", subject=user)
    return known, signed_in


async def _works_at(user: User, scope: Scope) -> bool:
    found = await Membership.find_one(
        {"user_id": user.id, "clinic_id": scope.tenant_id, "status": MembershipStatus.ACTIVE.value}
    )
    return found is not None


async def _renew_hash(user: User, password: str) -> None:
    values: dict[str, Any] = {"last_login_at": now()}
    if outdated(user.password_hash):
        values |= {"password_hash": await hash_password(password)}
    await User.get_pymongo_collection().update_one({"_id": user.id}, {"$set": values})


async def switch_tenant(settings: Settings) -> tuple[Scope, SignedIn]:
    """Lets the session enter the clinic of this host. Raises FORBIDDEN when the person does not work there."""
    scope = current_scope()
    actor = scope.signed_in
    if scope.tenant is None:
        raise TenantNotFound("Call this on the host of the clinic to enter.")
    if actor.membership_id is None:
        raise Forbidden("You do not work at this clinic.")
    signed_in = await enter_clinic(actor.session_id, scope.tenant, settings)
    known = await identify(signed_in.token, replace(scope, actor=None, mismatch=False), settings)
    if known is None or known.mismatch:
        raise Forbidden("You do not work at this clinic.")
    with open_scope(known):
        await record("session.enter")
    return known, signed_in


async def logout() -> None:
    """Ends this session, on every clinic's host; what follows in the same request runs as nobody."""
    actor = current_scope().actor
    if actor is not None:
        await end_session(actor.session_id)
        forget_actor()


async def sign_out_everywhere() -> None:
    """Ends every session of the person, on every device."""

    async def work(session: AsyncClientSession) -> None:
        await end_all_sessions(current_scope().signed_in.user_id, session=session)

    await in_transaction(work)
    forget_actor()


async def change_password(current: str, new: str, settings: Settings, *, device: str) -> SignedIn:
    """Sets a new password, ends every session and opens a fresh one for this device."""
    scope = current_scope()
    actor = scope.signed_in
    user = await User.get(actor.user_id)
    if user is None or not await proves(user.email, user.password_hash, current):
        raise ValidationFailed.at("input.currentPassword", "is wrong")
    if problem := weakness(new, "input.newPassword"):
        raise ValidationFailed(fields=[problem])
    hashed = await hash_password(new)

    async def work(session: AsyncClientSession) -> None:
        await User.get_pymongo_collection().update_one(
            {"_id": actor.user_id}, {"$set": {"password_hash": hashed, "updated_at": now()}}, session=session
        )
        await end_all_sessions(actor.user_id, session=session)

    await in_transaction(work)
    fresh = await User.get(actor.user_id)
    if fresh is None:
        raise Unauthenticated
    entered = scope.tenant if scope.tenant and not scope.mismatch else None
    return await open_session(fresh, settings, clinic=entered, address=scope.address, device=device)
