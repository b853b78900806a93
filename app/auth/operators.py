"""What somebody who runs the system may do: above the clinics on the root host, and at a clinic by a timed entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.permissions import PLATFORM_ROLES, Permission, PlatformRight, PlatformRole
from app.tenancy.scope import Actor, Scope
from models import Operator, OperatorEntry
from models.values import now

ROLE = "operator"
"""What an operator's role at a clinic is called. It is no role of the clinic's, and no membership stands behind it."""

SET_UP = frozenset(
    {
        Permission.SETTINGS_READ,
        Permission.STAFF_READ,
        Permission.ROLE_READ,
        Permission.ROOM_READ,
        Permission.SERVICE_READ,
        Permission.SPECIALIZATION_READ,
        Permission.SUBSCRIPTION_READ,
    }
)
"""What any entry permits: to see how the clinic is set up. None of it changes anything, none tells of a patient: the
audit log is not among it, for what reviewers of emergencies write stands there."""

PATIENT_DATA = frozenset({Permission.PATIENT_READ, Permission.APPOINTMENT_READ})
"""What an entry for patients' data permits beside that. Visits, prescriptions, results, documents, payments and
messages stay closed to operators, whatever the reason."""

MAY_ENTER = [role.value for role, rights in PLATFORM_ROLES.items() if PlatformRight.TENANT_ENTER in rights]


async def with_office(scope: Scope) -> Scope:
    """The scope of somebody just identified, with what they are to the system, if anything.

    On the root host that is their platform role; at a clinic an open entry of this very session. Read live, so a role
    that is taken away or an entry that has ended holds from the next request on, in every process. Members of the
    clinic need no entry, and none is looked for.
    """
    actor = scope.actor
    if actor is None or (scope.tenant is not None and actor.membership_id is not None):
        return scope
    if scope.tenant is None:
        role = await _role_of(actor.user_id)
        return scope if role is None else replace(scope, actor=replace(actor, platform_role=role))
    entry = await _open_entry(actor, scope.tenant.id)
    return scope if entry is None else replace(scope, actor=entered(actor, entry), mismatch=False)


def entered(actor: Actor, entry: Mapping[str, Any]) -> Actor:
    """The actor as they are at the entry's clinic: without any right above the clinics."""
    permissions = SET_UP | PATIENT_DATA if entry["patient_data"] else SET_UP
    return replace(actor, role=ROLE, permissions=permissions, platform_role=None, entry_id=entry["_id"])


async def _role_of(user_id: ObjectId) -> PlatformRole | None:
    row = await Operator.guarded().find_one({"user_id": user_id}, {"role": 1})
    return PlatformRole(row["role"]) if row else None


async def _open_entry(actor: Actor, clinic_id: ObjectId) -> dict[str, Any] | None:
    """The entry of this session that is open now, while its owner still has a role that may enter."""
    cursor = await OperatorEntry.guarded().aggregate(
        [
            {
                "$match": {
                    "session_id": actor.session_id,
                    "clinic_id": clinic_id,
                    "user_id": actor.user_id,
                    "ended_at": None,
                    "until": {"$gt": now()},
                }
            },
            {
                "$lookup": {
                    "from": Operator.guarded_name(),
                    "localField": "user_id",
                    "foreignField": "user_id",
                    "pipeline": [{"$match": {"role": {"$in": MAY_ENTER}}}, {"$project": {"_id": 1}}],
                    "as": "operators",
                }
            },
            {"$match": {"operators": {"$ne": []}}},
            {"$project": {"patient_data": 1}},
            {"$limit": 1},
        ]
    )
    rows: list[dict[str, Any]] = await cursor.to_list()
    return rows[0] if rows else None


async def end_entries(where: Mapping[str, Any], *, session: AsyncClientSession | None = None) -> int:
    """Ends the open entries that match, such as those of a session or of a person; how many there were."""
    moment = now()
    done = await OperatorEntry.guarded().update_many(
        {**where, "ended_at": None, "until": {"$gt": moment}}, {"$set": {"ended_at": moment}}, session=session
    )
    return done.modified_count
