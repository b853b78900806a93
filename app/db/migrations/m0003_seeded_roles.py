"""Clinics that were opened before get the roles that new ones have, and the rights that came for those they had.

A role that a clinic has changed is its own since: nothing is added to it, nor to one that it made under the name of a
role that came later. Whoever runs such a clinic grants by `updateRole` what is wanted
([52](docs/decisions/0052-a-role-that-a-clinic-changed-is-its-own.md)).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from app.db.migrations.m0002_admins_rights import Rights, Row, grant, lacks
from app.db.migrations.step import Migration, Site
from app.permissions import ADMIN, ROLES, RoleSpec, by_resource
from models.access import Role
from models.values import now

UNCHANGED = 1
"""The version of a role that nobody has changed."""
SEEDED = tuple(spec for spec in ROLES if spec.name != ADMIN)


async def _lacking(site: Site) -> AsyncIterator[tuple[Row, RoleSpec, Rights]]:
    """Each seeded role that lacks rights, with what it lacks; for one that is not there a row without `_id`."""
    async for clinic in _roles(site, {"name": ADMIN, "system": True}):
        of = {"tenant_id": clinic["tenant_id"]}
        there = {role["name"]: role async for role in _roles(site, of)}
        for spec in SEEDED:
            role, wanted = there.get(spec.name, of), by_resource(spec.permissions)
            if role is of:
                yield role, spec, wanted
            elif role.get("system") and role.get("version", UNCHANGED) == UNCHANGED:
                missing = await lacks(site, role["_id"], wanted)
                if missing:
                    yield role, spec, missing


def _roles(site: Site, where: Row) -> Any:
    return site.database[Role.guarded_name()].find(where, {"tenant_id": 1, "name": 1, "system": 1, "version": 1})


async def seeded_roles(site: Site) -> int:
    """Adds the roles and rights that are lacking; how many roles lacked anything. One that was cut off behind its
    role, before its rights, is there unchanged, and finished by the next."""
    changed = 0
    async for role, spec, missing in _lacking(site):
        with suppress(DuplicateKeyError):  # somebody made one of that name just now: it is theirs
            await grant(site, role if "_id" in role else await _added(site, role["tenant_id"], spec), missing)
            changed += 1
    return changed


async def _added(site: Site, tenant_id: ObjectId, spec: RoleSpec) -> Row:
    """A seeded role, stored for a clinic that has none of that name."""
    made = now()
    row: Row = {
        "_id": ObjectId(),
        "tenant_id": tenant_id,
        "version": UNCHANGED,
        "created_at": made,
        "updated_at": made,
        "name": spec.name,
        "level": spec.level,
        "description": spec.description,
        "system": True,
    }
    await site.database[Role.guarded_name()].insert_one(row)
    return row


async def pending(site: Site) -> int:
    """How many roles lack something, or are not there."""
    return len([spec async for _, spec, _ in _lacking(site)])


MIGRATION = Migration(3, "seeded_roles", seeded_roles, pending)
