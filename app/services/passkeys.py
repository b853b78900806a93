"""A person's passkeys: registered while signed in, and then good for signing in without a password."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from bson import Binary, ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.auth.passkeys import (
    Assertion,
    BadPasskey,
    NewKey,
    Registration,
    Site,
    digest,
    registration_options,
    sign_in_options,
)
from app.auth.second_factor import new_recovery_codes
from app.auth.sessions import SignedIn, renew_session
from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import Conflict, InvalidState, NotFound, Unauthenticated, ValidationFailed
from app.services.changes import build, row_of
from app.services.people import note_account
from app.services.rate_limits import LOGIN_BY_ADDRESS, Limit, network_of, refund, take
from app.services.second_factors import factors_of, forget_if_none, require_password, set_recovery_codes
from app.tenancy.scope import current_scope
from models import Passkey, PasskeyChallenge, User
from models.second_factor import ChallengePurpose
from models.user import UserStatus
from models.values import now

Row = dict[str, Any]

ANSWER_WITHIN = timedelta(minutes=5)
MOST = 20
"""Passkeys of one person."""
BEGIN_BY_ADDRESS = Limit("passkey-begin", 120, timedelta(minutes=15), platform=True)
REFUSED = "The passkey was not accepted."
_NO_ANSWER = "answers no open challenge of yours here"


def _site(origin: str, settings: Settings) -> Site:
    """Passkeys belong to the root domain, so that one serves all clinics. Raises INVALID_STATE on other hosts."""
    root, host = settings.root_domain, urlsplit(origin).hostname or ""
    if host != root and not host.endswith(f".{root}"):
        raise InvalidState(f"Passkeys work on {root} and the clinics' hosts below it alone.")
    return Site(root, origin)


async def _challenge(purpose: ChallengePurpose, site: Site, user_id: ObjectId | None) -> bytes:
    fresh = secrets.token_bytes(32)
    await PasskeyChallenge(
        id=digest(fresh), purpose=purpose, user_id=user_id, origin=site.origin, expires_at=now() + ANSWER_WITHIN
    ).insert()
    return fresh


async def _use_up(challenge: bytes, purpose: ChallengePurpose, site: Site, user_id: ObjectId | None) -> bool:
    """Whether the challenge was open for that. It is closed by the answer, whatever comes of it."""
    found = await PasskeyChallenge.guarded().find_one_and_delete(
        {
            "_id": digest(challenge),
            "purpose": purpose.value,
            "user_id": user_id,
            "origin": site.origin,
            "expires_at": {"$gt": now()},
        }
    )
    return found is not None


# --- registering ------------------------------------------------------------------------------------------------------


async def begin_registration(password: str, *, origin: str, settings: Settings) -> str:
    """The browser's options, as JSON. Raises VALIDATION_FAILED at `input.password`, INVALID_STATE."""
    site = _site(origin, settings)
    user = await require_password(password)
    known = await Passkey.rows({"user_id": user.key}, projection={"credential_id": 1})
    if len(known) >= MOST:
        raise _too_many()
    challenge = await _challenge(ChallengePurpose.REGISTER, site, user.key)
    ids = [bytes(row["credential_id"]) for row in known]
    return registration_options(
        site, user_id=user.key.binary, email=user.email, name=user.name, challenge=challenge, known=ids
    )


async def finish_registration(
    name: str, credential: str, *, origin: str, settings: Settings
) -> tuple[Row, list[str] | None, SignedIn]:
    """Keeps the passkey; gives it, recovery codes where it is the first second factor, and this session renewed.

    As with an app, other sessions end. Raises VALIDATION_FAILED at `input.credential` or `input.name`, CONFLICT,
    INVALID_STATE when there are too many by now.
    """
    actor, site = current_scope().signed_in, _site(origin, settings)
    try:
        answer = Registration.read(credential)
        if not await _use_up(answer.challenge, ChallengePurpose.REGISTER, site, actor.user_id):
            raise ValidationFailed.at("input.credential", _NO_ANSWER)
        key = answer.verified(site)
    except BadPasskey:
        raise ValidationFailed.at("input.credential", "is no valid answer of a passkey") from None
    passkey = _new(actor.user_id, name, key)
    codes = new_recovery_codes()

    async def work(session: AsyncClientSession) -> tuple[bool, SignedIn]:
        first = not (await factors_of(actor.user_id, session=session)).methods
        await passkey.insert(session=session)
        if await Passkey.guarded().count_documents({"user_id": actor.user_id}, session=session) > MOST:
            raise _too_many()  # others were begun at the same time; renewing the session below lets one at a time pass
        if first:
            await set_recovery_codes(actor.user_id, codes, session)
        await note_account("second_factor.passkey_on", actor.user_id, session)
        return first, await renew_session(actor.session_id, settings, session=session)

    try:
        first, renewed = await in_transaction(work)
    except DuplicateKeyError:
        raise Conflict("This passkey is registered already.") from None
    return row_of(passkey), codes if first else None, renewed


def _too_many() -> InvalidState:
    return InvalidState(f"There are {MOST} passkeys already. Delete one first.")


def _new(user_id: ObjectId, name: str, key: NewKey) -> Passkey:
    values = {
        "user_id": user_id,
        "name": name,
        "credential_id": key.credential_id,
        "public_key": key.public_key,
        "sign_count": key.sign_count,
        "transports": key.transports,
        "backed_up": key.backed_up,
    }
    passkey: Passkey = build(Passkey, values)
    return passkey


async def own_passkeys() -> list[Row]:
    """The signed-in person's passkeys, the oldest first."""
    return await Passkey.rows(
        {"user_id": current_scope().signed_in.user_id}, sort=[("created_at", 1), ("_id", 1)], limit=MOST
    )


async def delete_passkey(passkey_id: ObjectId, password: str) -> None:
    """Deletes one of the person's own. Raises NOT_FOUND at `input.passkeyId`, VALIDATION_FAILED at `input.password`."""
    mine = {"_id": passkey_id, "user_id": current_scope().signed_in.user_id}
    if await Passkey.guarded().find_one(mine, {"_id": 1}) is None:
        raise NotFound.at("input.passkeyId")
    user = await require_password(password)

    async def work(session: AsyncClientSession) -> None:
        done = await Passkey.guarded().delete_one(mine, session=session)
        if not done.deleted_count:
            raise NotFound.at("input.passkeyId")
        await note_account("second_factor.passkey_off", user.key, session)
        await forget_if_none(user.key, session)

    await in_transaction(work)


# --- signing in -------------------------------------------------------------------------------------------------------


async def begin_sign_in(*, origin: str, settings: Settings) -> str:
    """The browser's options, as JSON; they are the same for everybody but for the challenge. Raises RATE_LIMITED."""
    site = _site(origin, settings)
    await take(BEGIN_BY_ADDRESS, network_of(current_scope().address))
    challenge = await _challenge(ChallengePurpose.SIGN_IN, site, None)
    return sign_in_options(site, challenge=challenge)


async def prove(credential: str, *, origin: str, settings: Settings) -> User:
    """Whose passkey answered. Raises UNAUTHENTICATED with one text whatever was wrong, RATE_LIMITED."""
    site, address = _site(origin, settings), network_of(current_scope().address)
    taken = await take(LOGIN_BY_ADDRESS, address)
    try:
        user = await _proven(Assertion.read(credential), site)
    except BadPasskey:
        user = None
    if user is None or user.status is not UserStatus.ACTIVE:
        raise Unauthenticated(REFUSED)
    await refund(LOGIN_BY_ADDRESS, address, taken)
    return user


async def _proven(answer: Assertion, site: Site) -> User | None:
    if not await _use_up(answer.challenge, ChallengePurpose.SIGN_IN, site, None):
        return None
    passkey = await Passkey.find_one({"credential_id": Binary(answer.credential_id)})
    if passkey is None or answer.user_handle != passkey.user_id.binary:
        return None
    count = answer.verified(site, public_key=passkey.public_key, sign_count=passkey.sign_count)
    done = await Passkey.guarded().update_one(
        {"_id": passkey.id, "sign_count": passkey.sign_count}, {"$set": {"sign_count": count, "last_used_at": now()}}
    )
    return await User.get(passkey.user_id) if done.matched_count else None
