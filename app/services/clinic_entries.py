"""Timed, reasoned entries of those who run the system into a clinic, of which the clinic sees every one."""

from __future__ import annotations

import re
from datetime import timedelta

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.auth.operators import end_entries, entered
from app.db.transactions import in_transaction
from app.errors import Conflict, Forbidden, InvalidState, NotFound, ValidationFailed
from app.services.audit import record
from app.services.changes import row_of
from app.services.platform_log import note_act, reason_of
from app.services.second_factors import factors_of
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Actor, current_scope, forget_actor
from models import Membership, OperatorEntry, Tenant
from models.tenant import TenantStatus
from models.user import MembershipStatus
from models.values import now

MOST_MINUTES = 60
TICKET = re.compile(r"(?<![A-Za-z0-9])(?:#\d{1,10}|[A-Z][A-Z0-9]{1,9}-\d{1,10})(?![A-Za-z0-9])")
"""The number of a request by which the clinic asked for help, such as `#1234` or `SUP-1234`."""


async def enter(
    tenant_id: ObjectId, reason: str, minutes: int, *, patient_data: bool, production: bool
) -> OperatorEntry:
    """Lets this session onto the clinic's host for a time, with the few rights of an operator there.

    Noted in the platform's audit and in the clinic's own, in the transaction that stores the entry. An entry of the
    session that is open there already ends. Raises VALIDATION_FAILED at `input.reason` or `input.minutes`, NOT_FOUND
    at `input.tenantId`, INVALID_STATE for a clinic that does not answer or where the person works, FORBIDDEN without
    the second factor.
    """
    actor = current_scope().signed_in
    said = _checked(reason, minutes, patient_data)
    if not actor.second_factor and (production or (await factors_of(actor.user_id)).methods):
        raise Forbidden("Sign in with your second factor to enter a clinic.")
    tenant = await _clinic(tenant_id, actor)
    entry = OperatorEntry(
        id=ObjectId(),
        user_id=actor.user_id,
        operator_name=actor.name,
        session_id=actor.session_id,
        clinic_id=tenant.key,
        reason=said,
        patient_data=patient_data,
        until=now() + timedelta(minutes=minutes),
        address=current_scope().address,
    )
    try:
        await in_transaction(lambda session: _open(entry, tenant, actor, session))
    except DuplicateKeyError:  # the same session entered at this very moment
        raise Conflict("You have just entered this clinic.") from None
    return entry


def _checked(reason: str, minutes: int, patient_data: bool) -> str:
    said = reason_of(reason)
    if not 1 <= minutes <= MOST_MINUTES:
        raise ValidationFailed.at("input.minutes", f"must be from 1 to {MOST_MINUTES}")
    if patient_data and not TICKET.search(said):
        raise ValidationFailed.at("input.reason", "must name a ticket, such as #1234 or SUP-1234, for patients' data")
    return said


async def _clinic(tenant_id: ObjectId, actor: Actor) -> Tenant:
    tenant: Tenant | None = await Tenant.find_one({"_id": tenant_id})
    if tenant is None:
        raise NotFound.at("input.tenantId")
    if tenant.status is not TenantStatus.ACTIVE:
        raise InvalidState("This clinic does not answer at present.")
    member = {"user_id": actor.user_id, "clinic_id": tenant_id, "status": MembershipStatus.ACTIVE.value}
    if await Membership.guarded().find_one(member, {"_id": 1}) is not None:
        raise InvalidState("You work at this clinic: sign in there.")
    return tenant


async def _open(entry: OperatorEntry, tenant: Tenant, actor: Actor, session: AsyncClientSession) -> None:
    what = "clinic.enter.patient_data" if entry.patient_data else "clinic.enter"
    await note_act(what, entry.reason, clinic_id=tenant.key, subject=entry, session=session)
    await OperatorEntry.guarded().update_many(
        {"session_id": entry.session_id, "clinic_id": tenant.key, "ended_at": None},
        [{"$set": {"ended_at": {"$min": ["$until", now()]}}}],
        session=session,
    )
    await entry.insert(session=session)
    async with tenant_scope(tenant, actor=entered(actor, row_of(entry))):
        await record("operator.enter", subject=entry, session=session)


async def leave() -> bool:
    """Ends this session's entry at the host's clinic, or on the root host all of them; False when there was none.

    What follows in the same request at the clinic runs as nobody.
    """
    scope = current_scope()
    actor = scope.signed_in
    here = {"clinic_id": scope.tenant.id} if scope.tenant else {}
    entries = await OperatorEntry.find(
        {"session_id": actor.session_id, "ended_at": None, "until": {"$gt": now()}, **here}
    ).to_list()
    for entry in entries:
        await _leave(entry, actor)
    if actor.entry_id is not None:
        forget_actor()
    return bool(entries)


async def _leave(entry: OperatorEntry, actor: Actor) -> None:
    async def work(session: AsyncClientSession) -> None:
        ended = await end_entries({"_id": entry.key}, session=session)
        tenant = await Tenant.find_one({"_id": entry.clinic_id}, session=session)
        if ended and tenant is not None:
            async with tenant_scope(tenant, actor=entered(actor, row_of(entry))):
                await record("operator.leave", subject=entry, session=session)

    await in_transaction(work)
