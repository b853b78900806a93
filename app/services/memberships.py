"""Who works where, and in which role."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import Forbidden, InvalidState, NotFound, TenantNotFound
from app.permissions import ADMIN, REPRESENTATIVE, Permission
from app.services.audit import record
from app.services.subscription.seats import take_seat
from app.tenancy.scope import Scope, current_scope, forget_actor
from models import Invitation, Membership, Role, RolePermission, Session, Staff, Tenant, User
from models.invitation import InvitationStatus
from models.staff import StaffKind
from models.tenant import TenantStatus
from models.user import MembershipStatus, UserStatus
from models.values import now

Row = dict[str, Any]
MOST_CLINICS = 200
_ACTIVE = MembershipStatus.ACTIVE.value
_DISABLED = MembershipStatus.DISABLED.value
_REMOVED = MembershipStatus.REMOVED.value


async def clinics_of(scope: Scope) -> list[Row]:
    """The active clinics where the signed-in person works, by name: `clinic_id, role, entered, current`."""
    actor = scope.signed_in
    memberships = await Membership.rows(
        {"user_id": actor.user_id, "status": _ACTIVE}, projection={"clinic_id": 1, "role": 1}, limit=MOST_CLINICS
    )
    roles = {row["clinic_id"]: row["role"] for row in memberships}
    tenants = await Tenant.rows(
        {"_id": {"$in": list(roles)}, "status": TenantStatus.ACTIVE.value}, projection={"name": 1}
    )
    session = await Session.rows({"_id": actor.session_id}, projection={"clinic_ids": 1})
    entered = set(session[0]["clinic_ids"]) if session else set()
    current = scope.tenant.id if scope.tenant else None
    return [
        {
            "clinic_id": tenant["_id"],
            "role": roles[tenant["_id"]],
            "entered": tenant["_id"] in entered,
            "current": tenant["_id"] == current,
        }
        for tenant in sorted(tenants, key=lambda row: (row["name"].casefold(), row["_id"]))
    ]


async def change_role(staff_id: ObjectId, role_id: ObjectId) -> None:
    """Gives a person who works here another role; it holds from their next request on.

    Nobody gives or takes a level above their own, nobody gives a right that they lack, and the last admin stays one.
    """

    async def work(session: AsyncClientSession) -> None:
        role = await Role.find_one({"_id": role_id}, session=session)
        if role is None:
            raise NotFound.at("input.roleId")
        membership = await _membership_of(staff_id, session)
        await require_grantable(role, session)
        await require_fitting_profile(role, staff_id, session)
        await one_at_a_time(session)
        await _set(membership, {"role_id": role.id, "role": role.name}, session)
        await _keep_an_admin(session)
        await record("membership.change_role", subject=membership, session=session)

    await in_transaction(work)


async def remove(staff_id: ObjectId) -> None:
    """Ends a person's access to this clinic; it holds from their next request on. Their profile stays.

    An invitation of their address that is still open is void: else they would let themselves in again.
    """
    await _move(staff_id, (_ACTIVE, _DISABLED), _REMOVED, "membership.remove")


async def disable(staff_id: ObjectId) -> None:
    """Takes a person's access away for the time being; it holds from their next request on."""
    await _move(staff_id, (_ACTIVE,), _DISABLED, "membership.disable")


async def enable(staff_id: ObjectId) -> None:
    """Gives somebody disabled their access back. Raises as `change_role` does: it gives them all that their role gives.

    Raises INVALID_STATE when their role was deleted meanwhile, QUOTA_EXCEEDED when the plan has no seat left.
    """

    async def work(session: AsyncClientSession) -> None:
        membership = await _membership_of(staff_id, session, (_DISABLED,))
        await one_at_a_time(session)
        role = await Role.find_one({"_id": membership.role_id}, session=session)
        if role is None:
            raise InvalidState("Their role is gone. Remove them and invite them again.")
        await require_grantable(role, session)
        await require_fitting_profile(role, staff_id, session)
        await take_seat(session)
        await _set(membership, {"status": _ACTIVE}, session)
        await record("membership.enable", subject=membership, session=session)

    await in_transaction(work)


async def leave() -> None:
    """Ends the actor's own access to this clinic; what follows in the same request runs as nobody.

    Raises FORBIDDEN for somebody who does not work here, INVALID_STATE for the last admin.
    """
    scope = current_scope()
    actor = scope.signed_in
    if scope.tenant is None:
        raise TenantNotFound("Call this on the host of the clinic to leave.")

    async def work(session: AsyncClientSession) -> None:
        found = await Membership.find_one(
            {"_id": actor.membership_id, "clinic_id": scope.tenant_id, "status": _ACTIVE}, session=session
        )
        if found is None:
            raise Forbidden("You do not work at this clinic.")
        await one_at_a_time(session)
        await _set(found, {"status": _REMOVED}, session)
        await _keep_an_admin(session)
        await record("membership.leave", subject=found, session=session)

    await in_transaction(work)
    forget_actor()


async def _move(staff_id: ObjectId, before: Sequence[str], after: str, action: str) -> None:
    async def work(session: AsyncClientSession) -> None:
        membership = await _membership_of(staff_id, session, before)
        await one_at_a_time(session)
        await _set(membership, {"status": after}, session)
        if after == _REMOVED:
            await _void_invitations(membership.user_id, session)
        await _keep_an_admin(session)
        await record(action, subject=membership, session=session)

    await in_transaction(work)


async def _void_invitations(user_id: ObjectId, session: AsyncClientSession) -> None:
    user = await User.guarded().find_one({"_id": user_id}, {"email": 1}, session=session)
    await Invitation.guarded().update_many(
        {"email": user["email"] if user else None, "status": InvitationStatus.OPEN.value},
        {"$set": {"status": InvitationStatus.REVOKED.value}},
        session=session,
    )


async def _membership_of(
    staff_id: ObjectId, session: AsyncClientSession, states: Sequence[str] = (_ACTIVE,)
) -> Membership:
    """The membership in one of `states` behind a staff profile of this clinic, if its role is not above the actor's.

    Raises NOT_FOUND at `input.staffId`, or FORBIDDEN.
    """
    staff = await Staff.find_one({"_id": staff_id}, session=session)
    found = None
    if staff is not None and staff.user_id is not None:
        found = await Membership.find_one(
            {"user_id": staff.user_id, "clinic_id": current_scope().tenant_id, "status": {"$in": list(states)}},
            session=session,
        )
    if found is None:
        raise NotFound.at("input.staffId")
    present = await Role.find_one({"_id": found.role_id}, session=session)
    if present is not None:
        await require_level(present.level, session)
    return found


async def _set(membership: Membership, values: Row, session: AsyncClientSession) -> None:
    await Membership.get_pymongo_collection().update_one(
        {"_id": membership.id},
        {"$set": {**values, "updated_at": now()}, "$inc": {"version": 1}},
        session=session,
    )


async def one_at_a_time(session: AsyncClientSession) -> None:
    """Lets no two transactions about who may do what at this clinic commit side by side.

    Each reads a snapshot, so that alone would let two of them each remove the other's admin, or one delete the role
    that the other gives. Writing to the same document makes them collide; the later one starts over and sees more.
    """
    await Tenant.get_pymongo_collection().update_one(
        {"_id": current_scope().tenant_id}, {"$inc": {"version": 1}}, session=session
    )


async def _keep_an_admin(session: AsyncClientSession) -> None:
    """Raises INVALID_STATE when the change would leave the clinic without an admin who can sign in."""
    admins = await Membership.guarded().distinct(
        "user_id", {"clinic_id": current_scope().tenant_id, "role": ADMIN, "status": _ACTIVE}, session=session
    )
    able = {"_id": {"$in": admins}, "status": UserStatus.ACTIVE.value}
    if not await User.guarded().count_documents(able, limit=1, session=session):
        raise InvalidState("A clinic needs at least one admin.")


async def require_fitting(role: Role, kind: StaffKind, session: AsyncClientSession | None) -> None:
    """Raises INVALID_STATE when a medical representative would hold a role that permits more than theirs may."""
    if kind is not StaffKind.MEDICAL_REPRESENTATIVE:
        return
    documents = await RolePermission.find({"role_id": role.id}, session=session).to_list()
    given = frozenset[Permission]().union(*(document.rights() for document in documents))
    if not given <= REPRESENTATIVE.permissions:
        raise InvalidState("A medical representative can have only a role made for them: see createRepresentativeRole.")


async def require_fitting_profile(role: Role, staff_id: ObjectId, session: AsyncClientSession | None) -> None:
    """As `require_fitting`, for the person of a staff profile of this clinic."""
    staff = await Staff.find_one({"_id": staff_id}, session=session)
    if staff is not None:
        await require_fitting(role, staff.kind, session)


async def require_level(level: int, session: AsyncClientSession | None) -> None:
    """Raises FORBIDDEN when `level` is above that of the actor's own role."""
    own = await Role.find_one({"name": current_scope().signed_in.role}, session=session)
    if own is None or level > own.level:
        raise Forbidden("This role stands above yours.")


async def require_grantable(role: Role, session: AsyncClientSession | None) -> None:
    """Raises FORBIDDEN when the role's level or one of its rights is beyond the actor's own."""
    await require_level(role.level, session)
    documents = await RolePermission.find({"role_id": role.id}, session=session).to_list()
    given = frozenset[Permission]().union(*(document.rights() for document in documents))
    if not given <= current_scope().signed_in.permissions:
        raise Forbidden("This role permits more than yours.")


async def staff_with(role_id: ObjectId) -> list[ObjectId]:
    """The profiles at the clinic in scope of those who have access by that role, also when it is taken away for the
    time being."""
    asked = {"clinic_id": current_scope().tenant_id, "role_id": role_id}
    there = {"status": {"$ne": MembershipStatus.REMOVED.value}, "staff_id": {"$ne": None}}
    rows = await Membership.rows({**asked, **there}, projection={"staff_id": 1})
    return [row["staff_id"] for row in rows]
