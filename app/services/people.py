"""Bringing a person and a clinic together: their profile, their membership, and the time that is booked with them."""

from __future__ import annotations

from typing import Any

from beanie import PydanticObjectId
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import InvalidState
from app.permissions import Permission
from app.services.memberships import require_fitting_profile
from app.services.scheduling.rekey import link_claims
from app.services.subscription.seats import take_seat
from app.tenancy.scope import current_scope
from models import Membership, PlatformAudit, Role, RolePermission, Staff, User
from models.staff import StaffKind
from models.user import MembershipStatus
from models.values import now, search_key


async def employ(
    user: User, role: Role, *, kind: StaffKind, staff_id: ObjectId | None, session: AsyncClientSession
) -> Membership:
    """Gives the person a profile and a membership in the role at the clinic in scope, in the session's transaction.

    The transaction must have written to the clinic (`memberships.one_at_a_time`): the plan's seats are counted in it.
    With `staff_id` they take that profile over, and what is booked with it counts as their own time from then on; else
    they go on with the profile that they had here, or get a new one. Raises INVALID_STATE when they work here
    already, when the profile is not free, or when they are booked elsewhere at a time that is booked with it, and
    QUOTA_EXCEEDED when the plan has no seat left.
    """
    held = await Membership.find_one({"user_id": user.key, "clinic_id": current_scope().tenant_id}, session=session)
    if held is not None and held.status is not MembershipStatus.REMOVED:
        raise InvalidState("This person works here already.")
    own = await Staff.find_one({"user_id": user.key}, session=session)
    staff = await _profile(user, own, kind, staff_id, session)
    await require_fitting_profile(role, staff, session)
    await take_seat(session)
    values: dict[str, Any] = {
        "role_id": role.key,
        "role": role.name,
        "staff_id": staff,
        "status": MembershipStatus.ACTIVE.value,
    }
    if held is not None:
        return await Membership.change(held.key, held.version, values, session=session)
    here = PydanticObjectId(current_scope().tenant_id)
    membership = Membership(user_id=user.key, clinic_id=here, **values)
    await membership.insert(session=session)
    return membership


async def _profile(
    user: User, own: Staff | None, kind: StaffKind, staff_id: ObjectId | None, session: AsyncClientSession
) -> ObjectId:
    if own is not None:
        if staff_id not in (None, own.key):
            raise InvalidState("This person has another profile here already.")
        if own.archived_at is not None:
            await Staff.change(own.key, own.version, {}, unset=["archived_at"], session=session)
        return own.key
    if staff_id is not None:
        await _take_over(staff_id, user, session)
        return staff_id
    staff = Staff(kind=kind, name=user.name, name_key=search_key(user.name), user_id=user.key, email=user.email)
    await staff.insert(session=session)
    return staff.key


async def _take_over(staff_id: ObjectId, user: User, session: AsyncClientSession) -> None:
    done = await Staff.guarded().update_one(
        {"_id": staff_id, "user_id": None, "archived_at": None},
        {"$set": {"user_id": user.key, "updated_at": now()}, "$inc": {"version": 1}},
        session=session,
    )
    if not done.matched_count:
        raise InvalidState("The profile is archived, or belongs to somebody already.")
    await link_claims(staff_id, user.key, session)


async def rights_at(role_id: ObjectId, session: AsyncClientSession) -> frozenset[Permission]:
    """What a role of the clinic in scope permits at this moment."""
    documents = await RolePermission.find({"role_id": role_id}, session=session).to_list()
    return frozenset[Permission]().union(*(document.rights() for document in documents))


async def note_account(action: str, user_id: ObjectId | None, session: AsyncClientSession) -> None:
    """Notes an act on somebody's own account, which belongs to no clinic, in the platform's audit. None: nobody's."""
    scope = current_scope()
    await PlatformAudit(
        actor=str(user_id) if user_id else "unknown",
        action=action,
        reason="their own account",
        request_id=scope.request_id,
        address=scope.address,
    ).insert(session=session)
