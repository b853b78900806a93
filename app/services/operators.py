"""Who runs the system: granting, changing and revoking their roles, and disabling a person everywhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.auth.operators import end_entries
from app.auth.sessions import end_all_sessions
from app.db.transactions import in_transaction
from app.errors import InvalidState, NotFound, ValidationFailed
from app.permissions import PlatformRole
from app.services.changes import another_version
from app.services.platform_log import note_act, reason_of
from models import Operator, User
from models.user import UserStatus
from models.values import email_key, now

SUPER_ADMIN = PlatformRole.SUPER_ADMIN.value


async def grant(email: str, role: PlatformRole, reason: str) -> ObjectId:
    """Gives a known person a role above the clinics; the id of the new operator.

    Raises VALIDATION_FAILED at `input.email` when nobody who can sign in has that address, INVALID_STATE when they
    are an operator already.
    """
    said = reason_of(reason)
    user = await _person(email)
    if user.status is not UserStatus.ACTIVE:
        raise _nobody()
    return await make_operator(user, role, said)


async def make_operator(
    user: User,
    role: PlatformRole,
    reason: str,
    *,
    first: Callable[[AsyncClientSession], Awaitable[None]] | None = None,
) -> ObjectId:
    """Stores the person's role and the note of it; `first` is done before, in the same transaction."""
    operator = Operator(id=ObjectId(), user_id=user.key, role=role)

    async def work(session: AsyncClientSession) -> None:
        await note_act(f"operator.grant.{role.value}", reason, subject=user, session=session)
        if first is not None:
            await first(session)
        await operator.insert(session=session)

    try:
        await in_transaction(work)
    except DuplicateKeyError:
        raise InvalidState(f"{user.email} is an operator already.") from None
    return operator.key


async def change(operator_id: ObjectId, version: int, role: PlatformRole, reason: str) -> None:
    """Gives an operator another role; it holds from their next request on, and their entries into clinics end.

    Raises NOT_FOUND at `input.operatorId`, CONFLICT at `input.version`, INVALID_STATE for the last super admin.
    """
    said = reason_of(reason)

    async def work(session: AsyncClientSession) -> None:
        operator = await _operator(operator_id, version, session)
        await note_act(f"operator.change.{role.value}", said, subject=operator, session=session)
        await _one_at_a_time(session)
        await Operator.change(operator_id, version, {"role": role.value}, session=session)
        await end_entries({"user_id": operator.user_id}, session=session)
        await _keep_a_super_admin(session)

    await in_transaction(work)


async def revoke(operator_id: ObjectId, version: int, reason: str) -> None:
    """Takes an operator's role away; it holds from their next request on. Raises as `change` does."""
    said = reason_of(reason)

    async def work(session: AsyncClientSession) -> None:
        operator = await _operator(operator_id, version, session)
        await note_act("operator.revoke", said, subject=operator, session=session)
        await _one_at_a_time(session)
        await Operator.guarded().delete_one({"_id": operator_id, "version": version}, session=session)
        await end_entries({"user_id": operator.user_id}, session=session)
        await _keep_a_super_admin(session)

    await in_transaction(work)


async def disable_user(email: str, reason: str) -> ObjectId:
    """Keeps a person out of everything, at every clinic, and ends all their sessions at once; their id.

    Raises VALIDATION_FAILED at `input.email` for an unknown address, INVALID_STATE for somebody disabled already and
    for the last super admin.
    """
    said, user = reason_of(reason), await _person(email)

    async def work(session: AsyncClientSession) -> None:
        await note_act("user.disable", said, subject=user, session=session)
        await _one_at_a_time(session)
        await _move(user, UserStatus.ACTIVE, UserStatus.DISABLED, session)
        await end_all_sessions(user.key, session=session)
        await _keep_a_super_admin(session)

    await in_transaction(work)
    return user.key


async def enable_user(email: str, reason: str) -> ObjectId:
    """Lets a disabled person sign in again; their id. Raises as `disable_user` does."""
    said, user = reason_of(reason), await _person(email)

    async def work(session: AsyncClientSession) -> None:
        await note_act("user.enable", said, subject=user, session=session)
        await _move(user, UserStatus.DISABLED, UserStatus.ACTIVE, session)

    await in_transaction(work)
    return user.key


async def _person(email: str) -> User:
    user: User | None = await User.find_one({"email": email_key(email)})
    if user is None:
        raise _nobody()
    return user


def _nobody() -> ValidationFailed:
    return ValidationFailed.at("input.email", "belongs to nobody who can sign in")


async def _move(user: User, before: UserStatus, after: UserStatus, session: AsyncClientSession) -> None:
    done = await User.guarded().update_one(
        {"_id": user.key, "status": before.value},
        {"$set": {"status": after.value, "updated_at": now()}, "$inc": {"version": 1}},
        session=session,
    )
    if not done.matched_count:
        raise InvalidState(f"This person is not {before.value}.")


async def _operator(operator_id: ObjectId, version: int, session: AsyncClientSession) -> Operator:
    operator: Operator | None = await Operator.find_one({"_id": operator_id}, session=session)
    if operator is None:
        raise NotFound.at("input.operatorId")
    if operator.version != version:
        raise another_version()
    return operator


async def _one_at_a_time(session: AsyncClientSession) -> None:
    """Lets no two transactions that take from the super admins commit side by side: each reads a snapshot, in which
    the other's victim is still there. Writing to the same documents makes them collide, and the later one starts over.
    """
    await Operator.guarded().update_many({"role": SUPER_ADMIN}, {"$set": {"updated_at": now()}}, session=session)


async def _keep_a_super_admin(session: AsyncClientSession) -> None:
    """Raises INVALID_STATE when nobody would be left who can sign in as super admin."""
    holders = await Operator.guarded().distinct("user_id", {"role": SUPER_ADMIN}, session=session)
    able = await User.guarded().count_documents(
        {"_id": {"$in": holders}, "status": UserStatus.ACTIVE.value}, session=session
    )
    if not able:
        raise InvalidState("The system needs at least one super admin.")
