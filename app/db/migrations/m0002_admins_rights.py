"""The admin's role has every right that there is: those that came since a clinic was opened, nobody could grant there.

The admin's role cannot be changed by anybody, so whatever it lacks is what a release has added. A later release that
adds rights adds a step that calls `admins_rights` under a number of its own.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any

from bson import ObjectId
from pymongo import UpdateOne

from app.db.migrations.step import Migration, Site
from app.permissions import ADMIN, ROLES, by_resource
from models.access import Role, RolePermission
from models.user import Membership

Row = dict[str, Any]
Rights = Mapping[str, Sequence[str]]
"""Resource → actions."""
WANTED: Rights = next(by_resource(spec.permissions) for spec in ROLES if spec.name == ADMIN)


async def lacks(site: Site, role_id: ObjectId, wanted: Rights) -> Rights:
    """What of the rights wanted a role has not."""
    granted = site.database[RolePermission.guarded_name()].find({"role_id": role_id}, {"resource": 1, "actions": 1})
    held = {row["resource"]: set(row["actions"]) async for row in granted}
    return {
        resource: sorted(missing)
        for resource, actions in wanted.items()
        if (missing := {*map(str, actions)} - held.get(resource, set()))
    }


async def grant(site: Site, role: Row, rights: Rights) -> None:
    """Adds rights to a role (a row with `_id, tenant_id`), and lets every process read it anew."""
    await site.database[RolePermission.guarded_name()].bulk_write(list(_grants(role, rights)))
    members = {"clinic_id": role["tenant_id"], "role_id": role["_id"]}
    await site.platform[Membership.guarded_name()].update_many(members, {"$inc": {"version": 1}})


def _grants(role: Row, rights: Rights) -> Iterable[UpdateOne]:
    for resource, actions in rights.items():
        of = {"tenant_id": role["tenant_id"], "role_id": role["_id"], "resource": resource}
        yield UpdateOne(of, {"$addToSet": {"actions": {"$each": [*actions]}}}, upsert=True)


async def _lacking(site: Site) -> AsyncIterator[tuple[Row, Rights]]:
    """Each admin's role that lacks something, with what it lacks."""
    roles = site.database[Role.guarded_name()].find({"name": ADMIN, "system": True}, {"tenant_id": 1})
    async for role in roles:
        if missing := await lacks(site, role["_id"], WANTED):
            yield role, missing


async def admins_rights(site: Site) -> int:
    """Grants what is lacking; how many roles lacked anything."""
    changed = 0
    async for role, missing in _lacking(site):
        await grant(site, role, missing)
        changed += 1
    return changed


async def pending(site: Site) -> int:
    """How many admins' roles lack something."""
    return len([role async for role, _ in _lacking(site)])


MIGRATION = Migration(2, "admins_rights", admins_rights, pending)
