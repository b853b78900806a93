"""Tells those who keep the stock that something runs low, once for each time that it falls."""

from __future__ import annotations

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.permissions import Permission
from app.services.talk import notifying
from app.tenancy.scope import current_scope
from models import Membership, RolePermission
from models.notification import NotificationKind
from models.user import MembershipStatus

MOST_TOLD = 100


async def tell_low(item_id: ObjectId, session: AsyncClientSession) -> None:
    """Tells everybody who may order: whoever took the last of it as well."""
    people = await _keepers(session)
    await notifying.tell(people, NotificationKind.STOCK_LOW, {"item_id": item_id}, session, actor_too=True)


async def _keepers(session: AsyncClientSession) -> set[ObjectId]:
    """Those whose role lets them manage the stock."""
    right = Permission.INVENTORY_MANAGE
    grants = {"resource": right.resource, "actions": right.action}
    roles = [row["role_id"] for row in await RolePermission.rows(grants, projection=["role_id"], session=session)]
    members = {
        "clinic_id": current_scope().tenant_id,
        "role_id": {"$in": roles},
        "status": MembershipStatus.ACTIVE.value,
    }
    rows = await Membership.rows(members, projection=["user_id"], sort=[("_id", 1)], limit=MOST_TOLD, session=session)
    return {row["user_id"] for row in rows}
