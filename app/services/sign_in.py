"""Signing in and out, entering clinics, and changing one's password."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.auth.passwords import hash_password, outdated, weakness
from app.auth.sessions import (
    SignedIn,
    end_all_sessions,
    end_session,
    enter_clinic,
    identify,
    lacks_second_factor,
    open_session,
)
from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import Forbidden, SecondFactorNeeded, TenantNotFound, Unauthenticated, ValidationFailed
from app.services.audit import record
from app.services.passkeys import prove
from app.services.proof import proves
from app.services.rate_limits import LOGIN_BY_ADDRESS, network_of, refund, take
from app.services.second_factors import accepts, factors_of
from app.tenancy.scope import Scope, current_scope, forget_actor, open_scope
from models import Membership, Session, User
from models.user import MembershipStatus, UserStatus
from models.values import email_key, now

WRONG = "E-mail or password is wrong."


async def login(
    email: str,
    password: str,
    settings: Settings,
    *,
    code: str | None = None,
    device: str,
    only: Callable[[ObjectId], Awaitable[bool]] | None = None,
) -> tuple[Scope, SignedIn]:
    """Checks the credentials and opens a session, which enters the host's clinic if the person works there.

    Raises UNAUTHENTICATED with one and the same text and after the same work for an unknown person, a wrong
    password and a disabled person; RATE_LIMITED after too many tries for one account or from one address. After the
    right password alone it tells whether a second factor is needed (`SecondFactorNeeded`), or its code was wrong.
    `only` says of a person's id whether this way in is for them; everybody else counts as unknown.
    """
    scope = current_scope()
    account = email_key(email)
    taken = await take(LOGIN_BY_ADDRESS, network_of(scope.address))
    user = await User.find_one({"email": account})
    if only is not None and not await only(user.key if user else ObjectId()):
        user = None
    right = await proves(account, user.password_hash if user else None, password)
    if user is None or not right or user.status is not UserStatus.ACTIVE:
        raise Unauthenticated(WRONG)
    await refund(LOGIN_BY_ADDRESS, network_of(scope.address), taken)
    shown = await _second_factor(user, code, settings)
    await _renew_hash(user, password)
    return await _open(user, settings, device, second_factor=shown)


async def login_with_passkey(
    credential: str, settings: Settings, *, origin: str, device: str
) -> tuple[Scope, SignedIn]:
    """As `login`, by a passkey's answer alone: it verified the person, and so it counts as second factor too."""
    user = await prove(credential, origin=origin, settings=settings)
    await User.get_pymongo_collection().update_one({"_id": user.id}, {"$set": {"last_login_at": now()}})
    return await _open(user, settings, device, second_factor=True)


async def _second_factor(user: User, code: str | None, settings: Settings) -> bool:
    """Whether the person showed one; False for somebody who has none. Raises `SecondFactorNeeded`."""
    methods = (await factors_of(user.key)).methods
    if not methods:
        return False
    if not code:
        raise SecondFactorNeeded(methods)
    if not await accepts(user.key, code, settings):
        raise SecondFactorNeeded(methods, "The code is wrong, or was used before.")
    return True


async def known_by(signed_in: SignedIn, settings: Settings) -> Scope:
    """The scope as it is for whoever comes with that session. Raises UNAUTHENTICATED when it was ended meanwhile."""
    known = await identify(signed_in.token, replace(current_scope(), actor=None, mismatch=False), settings)
    if known is None:
        raise Unauthenticated
    return known


async def _open(user: User, settings: Settings, device: str, *, second_factor: bool) -> tuple[Scope, SignedIn]:
    scope = current_scope()
    clinic = scope.tenant if scope.tenant and await _works_at(user, scope) else None
    signed_in = await open_session(
        user, settings, clinic=clinic, address=scope.address, device=device, second_factor=second_factor
    )
    known = await known_by(signed_in, settings)
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
    # Only while it is still the password just given: one that was set meanwhile stays.
    await User.get_pymongo_collection().update_one(
        {"_id": user.id, "password_hash": user.password_hash}, {"$set": values}
    )


async def switch_tenant(settings: Settings) -> tuple[Scope, SignedIn]:
    """Lets the session enter the clinic of this host. Raises FORBIDDEN when the person does not work there.

    One that lacks the second factor that the clinic asks for enters too, and may do nothing there before it has it.
    """
    scope = current_scope()
    actor = scope.signed_in
    if scope.tenant is None:
        raise TenantNotFound("Call this on the host of the clinic to enter.")
    if actor.membership_id is None:
        raise Forbidden("You do not work at this clinic.")
    signed_in = await enter_clinic(actor.session_id, scope.tenant, settings)
    known = await known_by(signed_in, settings)
    if known.mismatch and not lacks_second_factor(known):
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
    """Sets a new password, ends every session and opens a fresh one for this device.

    Raises VALIDATION_FAILED at `input.currentPassword` or `input.newPassword`, UNAUTHENTICATED when this session was
    ended meanwhile.
    """
    scope = current_scope()
    actor = scope.signed_in
    user = await User.get(actor.user_id)
    if user is None or not await proves(user.email, user.password_hash, current):
        raise ValidationFailed.at("input.currentPassword", "is wrong")
    if problem := weakness(new, "input.newPassword"):
        raise ValidationFailed(fields=[problem])
    hashed = await hash_password(new)

    fresh, second_factor = await in_transaction(partial(_set_password, user, hashed))
    entered = scope.tenant if actor.membership_id and (not scope.mismatch or lacks_second_factor(scope)) else None
    return await open_session(
        fresh,
        settings,
        clinic=entered,
        address=scope.address,
        device=device,
        second_factor=second_factor,
    )


async def _set_password(user: User, hashed: str, session: AsyncClientSession) -> tuple[User, bool]:
    """The person with the new password, and whether the session that changes it had shown a second factor.

    Both are as of this one step: what ends sessions or resets the password just before or after it, ends this too.
    """
    open_now = {"_id": current_scope().signed_in.session_id, "revoked_at": None}
    former = await Session.find_one(open_now, session=session)
    if former is None:
        raise Unauthenticated
    done = await User.guarded().update_one(
        {"_id": user.key, "password_hash": user.password_hash},
        {"$set": {"password_hash": hashed, "updated_at": now()}},
        session=session,
    )
    if not done.matched_count:
        raise ValidationFailed.at("input.currentPassword", "is wrong")
    await end_all_sessions(user.key, session=session)
    fresh = await User.find_one({"_id": user.key}, session=session)
    if fresh is None:
        raise Unauthenticated
    return fresh, former.second_factor_at is not None
