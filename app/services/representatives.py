"""Medical representatives: people of other companies whom a clinic lets in, and who see nothing of patients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import Conflict, Forbidden
from app.permissions import REPRESENTATIVE, by_resource
from app.services import catalog
from app.services.audit import record
from app.services.changes import Row, row_of
from app.services.memberships import one_at_a_time, require_fitting, require_level
from app.tenancy.scope import current_scope
from models import Membership, Role, RolePermission, Staff
from models.staff import StaffKind
from models.user import MembershipStatus


async def create_role() -> Row:
    """The clinic's role for medical representatives, made when it is not there; its row.

    Raises FORBIDDEN for a right that the actor lacks, CONFLICT when the clinic gave the name to a role of its own.
    """
    if not REPRESENTATIVE.permissions <= current_scope().signed_in.permissions:
        raise Forbidden("This role permits more than yours.")

    async def work(session: AsyncClientSession) -> Row:
        await require_level(REPRESENTATIVE.level, session)
        await one_at_a_time(session)
        held = await Role.find_one({"name": REPRESENTATIVE.name}, session=session)
        if held is None:
            held = await _new_role(session)
        elif not held.system:
            raise Conflict(f"The clinic has a role of its own that is called {REPRESENTATIVE.name}. Rename it first.")
        return row_of(held)

    return await in_transaction(work)


async def _new_role(session: AsyncClientSession) -> Role:
    spec = REPRESENTATIVE
    role = Role(id=ObjectId(), name=spec.name, level=spec.level, description=spec.description, system=True)
    await role.insert(session=session)
    await RolePermission.insert_many(
        [
            RolePermission(role_id=role.key, resource=resource, actions=list(actions))
            for resource, actions in by_resource(spec.permissions).items()
        ],
        session=session,
    )
    await record("role.create", subject=role, session=session)
    return role


async def change_profile(staff_id: ObjectId, version: int, values: Mapping[str, Any]) -> Row:
    """Changes a staff profile as `catalog.change` does; with another kind, what its person may do follows at once.

    Raises INVALID_STATE when somebody would become a medical representative and keep a role that permits more.
    """
    if "kind" not in values:
        return await catalog.change(Staff, staff_id, version, values)

    async def work(session: AsyncClientSession) -> Row:
        await one_at_a_time(session)
        row = await catalog.change(Staff, staff_id, version, values, session=session)
        if row.get("user_id") is not None:
            await _follow(row, session)
        return row

    return await in_transaction(work)


async def _follow(staff: Row, session: AsyncClientSession) -> None:
    here = {"user_id": staff["user_id"], "clinic_id": current_scope().tenant_id}
    member = await Membership.find_one({**here, "status": {"$ne": MembershipStatus.REMOVED.value}}, session=session)
    role = await Role.find_one({"_id": member.role_id}, session=session) if member else None
    if role is not None:
        await require_fitting(role, StaffKind(staff["kind"]), session)
    await Membership.guarded().update_many(here, {"$inc": {"version": 1}}, session=session)


async def represents_here(user_id: ObjectId) -> bool:
    """Whether somebody may enter the clinic in scope as a medical representative."""
    profile = {"user_id": user_id, "kind": StaffKind.MEDICAL_REPRESENTATIVE.value, "archived_at": None}
    member = {"user_id": user_id, "clinic_id": current_scope().tenant_id, "status": MembershipStatus.ACTIVE.value}
    found = await Staff.guarded().find_one(profile, {"_id": 1})
    held = await Membership.guarded().find_one(member, {"_id": 1})
    return found is not None and held is not None
