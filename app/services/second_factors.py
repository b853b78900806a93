"""A person's second factors: an authenticator app and recovery codes, checked at sign-in, turned on and off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.auth.platform_secrets import place_of, unwrap_secret, wrap_secret
from app.auth.second_factor import (
    PURPOSE,
    is_totp,
    matching_step,
    new_recovery_codes,
    new_totp_secret,
    normal_code,
    otpauth_uri,
    qr_svg,
    recovery_digest,
)
from app.auth.sessions import SignedIn, renew_session
from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import InvalidState, NotFound, ValidationFailed
from app.integrations.kms import Masters
from app.services.people import note_account
from app.services.proof import proves
from app.services.rate_limits import Limit, give_back, refund, take
from app.tenancy.scope import current_scope
from models import Passkey, SecondFactor, Session, User
from models.values import now

Row = dict[str, Any]

CODES = Limit("second-factor", 10, timedelta(minutes=15), platform=True)
CODES_A_DAY = Limit("second-factor-day", 50, timedelta(days=1), platform=True)
"""Whoever gets to a code knows the password, so these keep nobody else out. 50 tries a day find one of the three codes
that are good at a time once in 18 years."""

TOTP, RECOVERY, PASSKEY = "totp", "recovery_code", "passkey"


@dataclass(frozen=True, slots=True)
class TotpSetup:
    """What an authenticator app needs to know, once: as an address, and as the picture of it."""

    uri: str
    qr_svg: str


@dataclass(frozen=True, slots=True)
class Factors:
    """What a person has beside their password."""

    confirmed_at: Any = None
    recovery_codes: int = 0
    passkeys: int = 0

    @property
    def methods(self) -> tuple[str, ...]:
        """What may come with the password, or in its place; none for somebody who has no second factor."""
        own = [TOTP] * bool(self.confirmed_at) + [PASSKEY] * bool(self.passkeys)
        return tuple(own + [RECOVERY] * bool(own and self.recovery_codes))


async def factors_of(user_id: ObjectId, *, session: AsyncClientSession | None = None) -> Factors:
    """What the person has now."""
    row = await SecondFactor.guarded().find_one(
        {"user_id": user_id}, {"confirmed_at": 1, "recovery": 1}, session=session
    )
    passkeys = await Passkey.guarded().count_documents({"user_id": user_id}, session=session)
    row = row or {}
    return Factors(row.get("confirmed_at"), len(row.get("recovery", ())), passkeys)


async def own_factors() -> Factors:
    """What the signed-in person has now."""
    return await factors_of(current_scope().signed_in.user_id)


# --- codes ------------------------------------------------------------------------------------------------------------


async def accepts(user_id: ObjectId, code: str, settings: Settings) -> bool:
    """Whether this is a code of the person's, by their app or a recovery code. A right one is used up by the answer.

    Raises RATE_LIMITED after too many wrong ones.
    """
    key = str(user_id)
    await take(CODES, key)
    taken = await take(CODES_A_DAY, key)
    normal = normal_code(code)
    right = await (_use_totp(user_id, normal, settings) if is_totp(normal) else _use_recovery(user_id, normal))
    if right:
        await give_back(CODES, key)
        await refund(CODES_A_DAY, key, taken)
    return right


async def _use_totp(user_id: ObjectId, code: str, settings: Settings) -> bool:
    row = await SecondFactor.guarded().find_one({"user_id": user_id, "confirmed_at": {"$ne": None}})
    step = await _step_of(row, code, settings) if row else None
    if row is None or step is None:
        return False
    done = await SecondFactor.guarded().update_one(
        {"_id": row["_id"], "wrapped": row["wrapped"], "last_step": {"$lt": step}}, {"$set": {"last_step": step}}
    )
    return bool(done.matched_count)  # of two with the same code, one was first


async def _step_of(row: Row, code: str, settings: Settings) -> int | None:
    secret = await unwrap_secret(row["provider"], row["wrapped"], PURPOSE, row["user_id"], settings)
    return matching_step(secret, code, now())


async def _use_recovery(user_id: ObjectId, code: str) -> bool:
    used = recovery_digest(user_id, code)
    done = await SecondFactor.guarded().update_one(
        {"user_id": user_id, "recovery": used}, {"$pull": {"recovery": used}}
    )
    return bool(done.modified_count)


# --- turning on and off -----------------------------------------------------------------------------------------------


async def require_password(password: str) -> User:
    """The signed-in person, who just gave their password. Raises VALIDATION_FAILED at `input.password`."""
    user = await User.get(current_scope().signed_in.user_id)
    if user is None:
        raise NotFound
    if not await proves(user.email, user.password_hash, password):
        raise ValidationFailed.at("input.password", "is wrong")
    return user


async def begin_totp(password: str, settings: Settings) -> TotpSetup:
    """Makes a secret for the person's app. It counts for nothing before `confirm_totp`; a former one is forgotten.

    Raises VALIDATION_FAILED at `input.password`, INVALID_STATE when an app is in use already.
    """
    user = await require_password(password)
    secret = new_totp_secret()
    provider, wrapped = await wrap_secret(secret, PURPOSE, user.key, settings)
    try:
        await SecondFactor.guarded().update_one(
            {"user_id": user.key, "confirmed_at": None},
            {
                "$set": {"wrapped": wrapped, "provider": provider, "last_step": 0},
                "$setOnInsert": {"recovery": [], "created_at": now()},
            },
            upsert=True,
        )
    except DuplicateKeyError:
        raise InvalidState("An authenticator app is in use. Turn it off first.") from None
    uri = otpauth_uri(secret, user.email)
    return TotpSetup(uri, qr_svg(uri))


async def confirm_totp(code: str, settings: Settings) -> tuple[list[str], SignedIn]:
    """Turns the app on once it shows the right code; gives the recovery codes, and this session under a new name.

    Other sessions end: they were opened with less. Raises INVALID_STATE when nothing was begun, VALIDATION_FAILED at
    `input.code`, RATE_LIMITED.
    """
    actor = current_scope().signed_in
    await take(CODES, str(actor.user_id))
    row = await SecondFactor.guarded().find_one({"user_id": actor.user_id, "confirmed_at": None})
    if row is None or row.get("wrapped") is None:
        raise InvalidState("Call beginTotp first.")
    normal = normal_code(code)
    step = await _step_of(row, normal, settings) if is_totp(normal) else None
    if step is None:
        raise ValidationFailed.at("input.code", "is wrong")
    codes = new_recovery_codes()

    async def work(session: AsyncClientSession) -> SignedIn:
        done = await SecondFactor.guarded().update_one(
            {"_id": row["_id"], "confirmed_at": None, "wrapped": row["wrapped"]},
            {"$set": {"confirmed_at": now(), "last_step": step, "recovery": _digests(actor.user_id, codes)}},
            session=session,
        )
        if not done.matched_count:
            raise InvalidState("It was begun anew, or turned on, in the meantime.")
        await note_account("second_factor.totp_on", actor.user_id, session)
        return await renew_session(actor.session_id, settings, session=session)

    return codes, await in_transaction(work)


async def disable_totp(password: str, code: str, settings: Settings) -> None:
    """Turns the app off. Raises VALIDATION_FAILED at `input.password` or `input.code`, INVALID_STATE when it is off."""
    user = await require_password(password)
    if not (await factors_of(user.key)).confirmed_at:
        raise InvalidState("No authenticator app is in use.")
    if not await accepts(user.key, code, settings):
        raise ValidationFailed.at("input.code", "is wrong")

    async def work(session: AsyncClientSession) -> None:
        await SecondFactor.guarded().update_one(
            {"user_id": user.key},
            {"$set": {"wrapped": None, "provider": "", "confirmed_at": None, "last_step": 0}},
            session=session,
        )
        await note_account("second_factor.totp_off", user.key, session)
        await forget_if_none(user.key, session)

    await in_transaction(work)


async def forget_if_none(user_id: ObjectId, session: AsyncClientSession) -> None:
    """With the last second factor its recovery codes go, and no session counts as opened with one any longer."""
    if (await factors_of(user_id, session=session)).methods:
        return
    await SecondFactor.guarded().delete_one({"user_id": user_id}, session=session)
    await Session.guarded().update_many(
        {"user_id": user_id, "second_factor_at": {"$ne": None}}, {"$set": {"second_factor_at": None}}, session=session
    )


async def regenerate_recovery_codes(password: str) -> list[str]:
    """Ten new recovery codes; the former ones are void. Raises VALIDATION_FAILED at `input.password`, INVALID_STATE."""
    user = await require_password(password)
    codes = new_recovery_codes()

    async def work(session: AsyncClientSession) -> None:
        if not (await factors_of(user.key, session=session)).methods:
            raise InvalidState("There is no second factor that they could stand in for.")
        await set_recovery_codes(user.key, codes, session)
        await note_account("second_factor.recovery_codes", user.key, session)

    await in_transaction(work)
    return codes


async def set_recovery_codes(user_id: ObjectId, codes: Sequence[str], session: AsyncClientSession) -> None:
    """Replaces the person's recovery codes."""
    await SecondFactor.guarded().update_one(
        {"user_id": user_id},
        {
            "$set": {"recovery": _digests(user_id, codes)},
            "$setOnInsert": {
                "wrapped": None,
                "provider": "",
                "confirmed_at": None,
                "last_step": 0,
                "created_at": now(),
            },
        },
        upsert=True,
        session=session,
    )


def _digests(user_id: ObjectId, codes: Sequence[str]) -> list[str]:
    return [recovery_digest(user_id, code) for code in codes]


# --- keys -------------------------------------------------------------------------------------------------------------


async def apps_under_former_keys(masters: Masters) -> list[Row]:
    """The stored rows whose secret is encrypted by another master than the present one."""
    present = masters.present.provider
    return await SecondFactor.rows({"wrapped": {"$ne": None}, "provider": {"$ne": present}})


async def rewrap_app(masters: Masters, row: Row) -> bool:
    """Encrypts one secret by the present master. False when it was changed meanwhile. Raises `KeyRefused`."""
    place = place_of(PURPOSE, row["user_id"])
    secret = await masters.unwrap(row["provider"], row["wrapped"], place)
    provider, wrapped = await masters.wrap(secret, place)
    done = await SecondFactor.guarded().update_one(
        {"_id": row["_id"], "wrapped": row["wrapped"]}, {"$set": {"provider": provider, "wrapped": wrapped}}
    )
    return bool(done.matched_count)
