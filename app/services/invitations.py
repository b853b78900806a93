"""Inviting people to work at a clinic. What they do with an invitation is `joining`'s.

A link is good once, for 7 days, for the address that it was mailed to, on the host of the clinic that sent it. Its
secret is stored as a hash, and the invitation belongs to the clinic, so elsewhere it does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.auth.links import digest, new_secret
from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import Conflict, FieldError, InvalidState, NotFound, ValidationFailed
from app.services.audit import record
from app.services.changes import Row, build, row_of
from app.services.letters import letter_of
from app.services.mailing import front_url, language_of, unknown_link
from app.services.memberships import require_fitting, require_grantable
from app.services.outbox import enqueue_mail
from app.services.rate_limits import Limit, take
from app.tenancy.scope import TenantRef, current_scope, scope_or_none
from models import Invitation, Membership, Role, Staff, User
from models.invitation import InvitationStatus
from models.user import MembershipStatus
from models.values import now

LASTS = timedelta(days=7)
PER_CLINIC = Limit("invitations", 200, timedelta(days=1))
PER_ADDRESS = Limit("invitations-address", 20, timedelta(hours=1))
"""Nobody's mailbox is filled in a clinic's name, nor is the clinic's name used up for mail to the world."""

OPEN = InvitationStatus.OPEN.value


async def invite(values: Mapping[str, Any], settings: Settings) -> Row:
    """Invites an address: `email, name, kind, role_id`, maybe `staff_id`; answers with the invitation's row.

    An open invitation of the same address is replaced. Raises NOT_FOUND at the role or the profile, FORBIDDEN for
    what the actor may not give, VALIDATION_FAILED for an address of a domain that the clinic does not invite,
    INVALID_STATE for somebody who works here already or a profile that is not free.
    """
    secret = new_secret()
    bare = {**values, "token_hash": digest(secret), "expires_at": now() + LASTS, "id": ObjectId()}
    invitation: Invitation = build(Invitation, {**bare, "invited_by": current_scope().signed_in.user_id})
    if allowed := allowed_domains(invitation.email):
        raise ValidationFailed.at("input.email", f"must be of: {', '.join(sorted(allowed))}")

    async def work(session: AsyncClientSession) -> None:
        await _check_parts(invitation, session)
        await Invitation.guarded().update_many(
            {"email": invitation.email, "status": OPEN},
            {"$set": {"status": InvitationStatus.REVOKED.value}},
            session=session,
        )
        await invitation.insert(session=session)
        await _mail(invitation, secret, settings, session)
        await record("invitation.send", subject=invitation, session=session)

    await _check_parts(invitation, None)  # what is refused anyway uses no try up
    await _limited(invitation.email)
    try:
        await in_transaction(work)
    except DuplicateKeyError:
        raise Conflict("Somebody else invited the same address just now.") from None
    return row_of(invitation)


def allowed_domains(email: str) -> tuple[str, ...] | None:
    """The domains that the clinic invites, when the address is of none of them; None when it may be invited."""
    tenant = current_scope().tenant
    allowed = tenant.policy.email_domains if tenant else ()
    return allowed if allowed and email.rpartition("@")[2] not in allowed else None


async def _check_parts(invitation: Invitation, session: AsyncClientSession | None) -> None:
    role = await Role.find_one({"_id": invitation.role_id}, session=session)
    missing = [] if role else [FieldError("input.roleId", "Not found.")]
    staff = await Staff.find_one({"_id": invitation.staff_id}, session=session) if invitation.staff_id else None
    if invitation.staff_id and staff is None:
        missing.append(FieldError("input.staffId", "Not found."))
    if missing or role is None:
        raise NotFound(fields=missing)
    await require_grantable(role, session)
    await require_fitting(role, staff.kind if staff else invitation.kind, session)
    if staff is not None and (staff.user_id is not None or staff.archived_at is not None):
        raise InvalidState("The profile is archived, or belongs to somebody already.")
    if await _works_here(invitation.email, session):
        raise InvalidState("Somebody with this address works here already.")


async def _works_here(email: str, session: AsyncClientSession | None) -> bool:
    user = await User.guarded().find_one({"email": email}, {"_id": 1}, session=session)
    if user is None:
        return False
    here = {"user_id": user["_id"], "clinic_id": current_scope().tenant_id}
    states = [MembershipStatus.ACTIVE.value, MembershipStatus.DISABLED.value]
    found = await Membership.guarded().find_one({**here, "status": {"$in": states}}, {"_id": 1}, session=session)
    return found is not None


async def _limited(email: str) -> None:
    await take(PER_ADDRESS, email)
    await take(PER_CLINIC, "all")


async def _mail(invitation: Invitation, secret: str, settings: Settings, session: AsyncClientSession) -> None:
    tenant = inviting_clinic()
    letter = letter_of(
        "invitation",
        await language_of(tenant, session),
        clinic=tenant.name,
        name=invitation.name,
        url=front_url(settings, tenant, "invitation", secret),
    )
    await enqueue_mail(
        letter,
        to=invitation.email,
        kind="invitation",
        tenant=tenant,
        settings=settings,
        session=session,
        lasts=invitation.expires_at - now(),
    )


def inviting_clinic() -> TenantRef:
    """The clinic in scope. Raises NOT_FOUND on the system's own host, which has no invitations."""
    scope = scope_or_none()
    if scope is None or scope.tenant is None:
        raise unknown_link()
    return scope.tenant


async def revoke(invitation_id: ObjectId) -> Row:
    """Takes an open invitation back; its link is dead at once. Raises INVALID_STATE when it is not open."""

    async def work(session: AsyncClientSession) -> Row:
        row = await _change_open(invitation_id, {"status": InvitationStatus.REVOKED.value}, session)
        await record("invitation.revoke", subject=Invitation.model_validate(row), session=session)
        return row

    return await in_transaction(work)


async def resend(invitation_id: ObjectId, settings: Settings) -> Row:
    """Mails an open invitation again, under a new link that holds for 7 days; the former link is dead.

    Raises INVALID_STATE when it is not open, FORBIDDEN when the actor may not give its role.
    """
    secret = new_secret()

    async def work(session: AsyncClientSession) -> Row:
        moment = now()
        fresh = {"token_hash": digest(secret), "sent_at": moment, "expires_at": moment + LASTS}
        by = {"invited_by": current_scope().signed_in.user_id}
        row = await _change_open(invitation_id, {**fresh, **by}, session)
        invitation = Invitation.model_validate(row)
        role = await Role.find_one({"_id": invitation.role_id}, session=session)
        if role is None:
            raise void()
        await require_grantable(role, session)
        await _mail(invitation, secret, settings, session)
        await record("invitation.resend", subject=invitation, session=session)
        return row

    rows = await Invitation.rows({"_id": invitation_id}, projection={"email": 1}, limit=1)
    if not rows:
        raise NotFound.at("input.id")
    await _limited(rows[0]["email"])
    return await in_transaction(work)


async def _change_open(invitation_id: ObjectId, values: Row, session: AsyncClientSession) -> Row:
    stored = await Invitation.guarded().find_one_and_update(
        {"_id": invitation_id, "status": OPEN},
        {"$set": values},
        return_document=ReturnDocument.AFTER,
        session=session,
    )
    if stored is not None:
        return stored
    if await Invitation.guarded().find_one({"_id": invitation_id}, {"_id": 1}, session=session) is None:
        raise NotFound.at("input.id")
    raise InvalidState("The invitation is no longer open.")


def void() -> InvalidState:
    return InvalidState("This invitation no longer holds. Ask the clinic for a new one.")
