"""Gives a clinic another admin, on the word of whoever runs the system."""

from __future__ import annotations

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import in_transaction
from app.errors import Conflict, InvalidState, NotFound
from app.permissions import ADMIN
from app.services.audit import record
from app.services.memberships import one_at_a_time
from app.services.onboarding import Added, AdminForm, admin_profile, known_person, membership_of, person
from app.services.subscription.seats import take_seat
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import current_scope
from models import Membership, Role, Staff, Tenant, User
from models.user import MembershipStatus


async def add_admin(tenant: Tenant, form: AdminForm) -> Added:
    """Makes the person an admin of the clinic: a new one, or a known one who proves it with the password.

    Raises VALIDATION_FAILED at `admin.email`, or INVALID_STATE when they are an admin there already.
    """
    return await _add(tenant, await person(form), form.name, form.phone)


async def add_known_admin(tenant: Tenant, email: str) -> Added:
    """Makes a known person an admin of the clinic without their password, which stays as it is.

    Raises VALIDATION_FAILED at `admin.email` when nobody active has this address, or INVALID_STATE as above.
    """
    user = await known_person(email)
    return await _add(tenant, user, user.name, None)


async def _add(tenant: Tenant, user: User, name: str, phone: str | None) -> Added:
    async def work(session: AsyncClientSession) -> Added:
        new = await User.guarded().find_one({"_id": user.id}, {"_id": 1}, session=session) is None
        if new:
            await user.insert(session=session)
        async with tenant_scope(tenant):
            await _employ(user, name, phone, session)
        return Added(user.email, new)

    try:
        return await in_transaction(work)
    except DuplicateKeyError:  # the address, or the membership, came up at this very moment
        raise Conflict("Somebody else did the same just now. Try again.") from None


async def _employ(user: User, name: str, phone: str | None, session: AsyncClientSession) -> None:
    """Within the clinic in scope: profile, membership in the admin's role, and the note in the audit."""
    role = await Role.find_one({"name": ADMIN}, session=session)
    if role is None:
        raise NotFound("The clinic has no admin role.")
    clinic_id = current_scope().tenant_id
    held = await Membership.guarded().find_one({"user_id": user.id, "clinic_id": clinic_id}, session=session)
    if held is not None and (held["role"], held["status"]) == (ADMIN, MembershipStatus.ACTIVE.value):
        raise InvalidState(f"{user.email} is an admin of this clinic already.")
    if held is None or held["status"] != MembershipStatus.ACTIVE.value:
        await one_at_a_time(session)
        await take_seat(session)
    staff = await Staff.find_one({"user_id": user.id}, session=session)
    staff = staff or await admin_profile(user, name, phone, session)
    wanted = membership_of(user, staff, role)
    if held is None:
        await wanted.insert(session=session)
    else:
        values = wanted.model_dump(include={"role_id", "role", "staff_id", "status"})
        wanted = await Membership.change(held["_id"], held["version"], values, session=session)
    await record("membership.add_admin", subject=wanted, session=session)
