"""Links that are mailed to people about their own account: confirming an address, changing it, a new password.

One link counts per person and purpose, once, until it expires, a newer one is asked for or the password changes.
"""

from __future__ import annotations

from datetime import timedelta

from beanie import PydanticObjectId
from pydantic import BaseModel
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.auth.links import digest, new_secret
from app.auth.passwords import hash_password, weakness
from app.auth.sessions import end_all_sessions
from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import InvalidState, NotFound, RateLimited, ValidationFailed
from app.services.changes import checked
from app.services.letters import letter_of
from app.services.mailing import SYSTEM, front_url, language_of, unknown_link
from app.services.outbox import discard_mail, enqueue_mail
from app.services.people import note_account
from app.services.proof import proves
from app.services.rate_limits import Limit, network_of, take
from app.tenancy.scope import current_scope, forget_actor
from models import EmailToken, User
from models.invitation import EmailPurpose
from models.user import UserStatus
from models.values import Email, email_key, now

RESET_LASTS = timedelta(minutes=30)
VERIFY_LASTS = timedelta(days=1)
RESETS_BY_NETWORK = Limit("password-reset-network", 20, timedelta(minutes=15), platform=True)
RESETS_OF_ACCOUNT = Limit("password-reset-account", 3, timedelta(minutes=15), platform=True)
MAILS_OF_ACCOUNT = Limit("account-mails", 5, timedelta(hours=1), platform=True)

_PAGES = {
    EmailPurpose.VERIFY: "verify-email",
    EmailPurpose.CHANGE: "verify-email",
    EmailPurpose.RESET: "reset-password",
}
_KINDS = {
    EmailPurpose.VERIFY: "verification",
    EmailPurpose.CHANGE: "email-change",
    EmailPurpose.RESET: "password-reset",
}


class _NewAddress(BaseModel):
    new_email: Email


# --- the address --------------------------------------------------------------------------------------------------


async def request_verification(settings: Settings) -> None:
    """Mails the actor a link that confirms their address. Raises INVALID_STATE when it is confirmed, RATE_LIMITED."""
    user = await _signed_in()
    if user.email_verified_at is not None:
        raise InvalidState("Your e-mail address is confirmed already.")
    await take(MAILS_OF_ACCOUNT, str(user.key))

    async def work(session: AsyncClientSession) -> None:
        await _send(user, EmailPurpose.VERIFY, user.email, settings, session)
        await note_account("user.request_verification", user.key, session)

    await in_transaction(work)


async def request_change(email: str, password: str, settings: Settings) -> None:
    """Mails a link to another address; following it makes that address the actor's own.

    Raises VALIDATION_FAILED at `input.password` or `input.newEmail`, RATE_LIMITED. An address that is somebody's is
    answered alike, and nothing is sent.
    """
    user = await _signed_in()
    address: str = checked(_NewAddress, {"new_email": email})["new_email"]
    if address == user.email:
        raise ValidationFailed.at("input.newEmail", "must be another address than the present one")
    if not await proves(user.email, user.password_hash, password):
        raise ValidationFailed.at("input.password", "is wrong")
    await take(MAILS_OF_ACCOUNT, str(user.key))
    taken = await User.guarded().find_one({"email": address}, {"_id": 1}) is not None

    async def work(session: AsyncClientSession) -> None:
        await _send(user, EmailPurpose.CHANGE, address, settings, session, really=not taken)
        await note_account("user.request_email_change", user.key, session)

    await in_transaction(work)


async def verify(token: str, settings: Settings) -> None:
    """Confirms an address, or makes a new one the person's own, by the link that was mailed to it.

    Raises NOT_FOUND at `input.token` alike for a link that is unknown, used, replaced or too old.
    """

    async def work(session: AsyncClientSession) -> None:
        held, user = await _use_up(token, (EmailPurpose.VERIFY, EmailPurpose.CHANGE), session)
        values = {"email": held.email, "email_verified_at": now(), "updated_at": now()}
        done = await User.guarded().update_one(
            {"_id": user.key, "email": user.email, "token_version": user.token_version},
            {"$set": values, "$inc": {"version": 1}},
            session=session,
        )
        if not done.matched_count:
            raise unknown_link()
        if held.email != user.email:
            await EmailToken.guarded().delete_many({"user_id": user.key}, session=session)
            await _notify(user, "email-changed", settings, session)
        await note_account("user.verify_email", user.key, session)

    try:
        await in_transaction(work)
    except DuplicateKeyError:  # the address became somebody else's meanwhile
        raise unknown_link() from None


# --- the password -------------------------------------------------------------------------------------------------


async def request_reset(email: str, settings: Settings) -> None:
    """Mails a link to choose a new password, if somebody has this address. Raises RATE_LIMITED for the network alone.

    Whether somebody has it shows in nothing: the same is looked up and written for nobody, and no mail is sent.
    """
    address = email_key(email)
    await take(RESETS_BY_NETWORK, network_of(current_scope().address))
    user = await User.find_one({"email": address})
    known = user is not None and user.status is UserStatus.ACTIVE
    try:
        await take(RESETS_OF_ACCOUNT, digest(address))
    except RateLimited:  # told to nobody: it would tell others who has asked
        known = False
        user = None
    somebody = user if user is not None and known else _nobody(address)

    async def work(session: AsyncClientSession) -> None:
        await _send(somebody, EmailPurpose.RESET, somebody.email, settings, session, really=known)
        await note_account("user.request_password_reset", somebody.key if known else None, session)

    await in_transaction(work)


def _nobody(address: str) -> User:
    """Stands for the person where there is none; nothing that is written for them leads anywhere.

    For one address it is the same each time, so that several requests at once stand in each other's way alike.
    """
    key = PydanticObjectId(digest(address)[:24])
    return User(id=key, email="nobody@example.com", name="Nobody", password_hash="", token_version=0)


async def reset(token: str, password: str, settings: Settings) -> None:
    """Sets a new password by a mailed link and ends every session. It signs nobody in, so a second factor still counts.

    Raises NOT_FOUND at `input.token` as `verify` does, VALIDATION_FAILED at `input.newPassword`.
    """
    found = await EmailToken.find_one({"token_hash": digest(token), "purpose": EmailPurpose.RESET.value})
    if found is None or found.expires_at <= now():
        raise unknown_link()
    if problem := weakness(password, "input.newPassword"):
        raise ValidationFailed(fields=[problem])
    hashed = await hash_password(password)

    async def work(session: AsyncClientSession) -> None:
        held, user = await _use_up(token, (EmailPurpose.RESET,), session)
        if held.email != user.email:
            raise unknown_link()
        await User.guarded().update_one(
            {"_id": user.key},
            [
                {
                    "$set": {
                        "password_hash": {"$literal": hashed},
                        "email_verified_at": {"$ifNull": ["$email_verified_at", now()]},
                        "updated_at": now(),
                    }
                }
            ],
            session=session,
        )
        await end_all_sessions(user.key, session=session)
        await EmailToken.guarded().delete_many({"user_id": user.key}, session=session)
        await _notify(user, "password-changed", settings, session)
        await note_account("user.reset_password", user.key, session)

    await in_transaction(work)
    forget_actor()


# --- in common ----------------------------------------------------------------------------------------------------


async def _signed_in() -> User:
    user = await User.get(current_scope().signed_in.user_id)
    if user is None:
        raise NotFound
    return user


async def _send(
    user: User,
    purpose: EmailPurpose,
    address: str,
    settings: Settings,
    session: AsyncClientSession,
    *,
    really: bool = True,
) -> None:
    """Replaces the person's link for the purpose and mails it; unless `really`, the same is written but not sent."""
    secret = new_secret()
    lasts = RESET_LASTS if purpose is EmailPurpose.RESET else VERIFY_LASTS
    tenant = current_scope().tenant
    await EmailToken.guarded().delete_many({"user_id": user.key, "purpose": purpose.value}, session=session)
    await EmailToken(
        user_id=user.key,
        purpose=purpose,
        token_hash=digest(secret),
        email=address,
        token_version=user.token_version,
        expires_at=now() + lasts,
    ).insert(session=session)
    letter = letter_of(
        _KINDS[purpose],
        await language_of(tenant, session),
        clinic=tenant.name if tenant else SYSTEM,
        name=user.name,
        email=address,
        url=front_url(settings, tenant, _PAGES[purpose], secret),
    )
    put = enqueue_mail if really else discard_mail
    await put(letter, to=address, kind=_KINDS[purpose], tenant=tenant, settings=settings, session=session, lasts=lasts)


async def _notify(user: User, kind: str, settings: Settings, session: AsyncClientSession) -> None:
    """Tells the person at their (former) address what was done to their account."""
    tenant = current_scope().tenant
    letter = letter_of(
        kind, await language_of(tenant, session), clinic=tenant.name if tenant else SYSTEM, name=user.name
    )
    await enqueue_mail(letter, to=user.email, kind=kind, tenant=tenant, settings=settings, session=session)


async def _use_up(
    token: str, purposes: tuple[EmailPurpose, ...], session: AsyncClientSession
) -> tuple[EmailToken, User]:
    """The link and its person, once. Raises NOT_FOUND at `input.token`."""
    row = await EmailToken.guarded().find_one_and_delete(
        {
            "token_hash": digest(token),
            "purpose": {"$in": [purpose.value for purpose in purposes]},
            "expires_at": {"$gt": now()},
        },
        session=session,
    )
    if row is None:
        raise unknown_link()
    held = EmailToken.model_validate(row)
    user = await User.find_one({"_id": held.user_id, "status": UserStatus.ACTIVE.value}, session=session)
    if user is None or user.token_version != held.token_version:
        raise unknown_link()
    if held.purpose is EmailPurpose.VERIFY and held.email != user.email:
        raise unknown_link()
    return held, user
