"""What a clinic asks of the sessions that enter it. A change holds at once, also for sessions that are open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import InvalidState, NotFound
from app.services.audit import record
from app.services.changes import another_version, checked
from app.tenancy.scope import current_scope
from models import Membership, Tenant
from models.tenant import SecurityPolicy
from models.user import MembershipStatus
from models.values import now

Row = dict[str, Any]


async def security_policy() -> Row:
    """The policy of the clinic in scope, with its `version` and `people_without_second_factor`."""
    tenant = await Tenant.get(current_scope().tenant_id)
    if tenant is None:
        raise NotFound
    return await _shown(tenant)


async def _shown(tenant: Tenant) -> Row:
    lacking = await people_without_second_factor()
    return {**tenant.security.model_dump(), "version": tenant.version, "people_without_second_factor": lacking}


async def people_without_second_factor() -> int:
    """How many of those who may enter the clinic in scope have neither an authenticator app nor a passkey."""
    cursor = await Membership.guarded().aggregate(
        [
            {"$match": {"clinic_id": current_scope().tenant_id, "status": MembershipStatus.ACTIVE.value}},
            _joined("second_factors", {"confirmed_at": {"$ne": None}}, "apps"),
            _joined("passkeys", {}, "passkeys"),
            {"$match": {"apps": {"$eq": []}, "passkeys": {"$eq": []}}},
            {"$count": "people"},
        ]
    )
    rows: list[Row] = await cursor.to_list()
    return int(rows[0]["people"]) if rows else 0


def _joined(name: str, where: Mapping[str, Any], part: str) -> Row:
    pipeline = [{"$match": where}, {"$limit": 1}, {"$project": {"_id": 1}}]
    return {
        "$lookup": {"from": name, "localField": "user_id", "foreignField": "user_id", "pipeline": pipeline, "as": part}
    }


async def change_security_policy(version: int, changes: Mapping[str, Any]) -> Row:
    """Applies checked changes. Raises CONFLICT at `input.version` when the clinic has another version by now.

    Raises INVALID_STATE when somebody would ask for a second factor that their own session has not: they would lock
    themselves out, and perhaps everybody.
    """
    values = checked(SecurityPolicy, changes)
    if values.get("second_factor_required") and not current_scope().signed_in.second_factor:
        raise InvalidState("Enrol a second factor yourself first, or sign in with yours.")

    async def work(session: AsyncClientSession) -> Tenant:
        row = await Tenant.guarded().find_one_and_update(
            {"_id": current_scope().tenant_id, "version": version},
            {
                "$set": {f"security.{name}": value for name, value in values.items()} | {"updated_at": now()},
                "$inc": {"version": 1},
            },
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        if row is None:
            raise another_version()
        await record("security_policy.change", session=session)
        return Tenant.model_validate(row)

    return await _shown(await in_transaction(work))
