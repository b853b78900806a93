"""What a clinic that was opened before gets of the roles and rights that a new one has, and what stays its own."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId

from app.db.migrations import m0003_seeded_roles as step
from app.db.migrations.running import all_places, migrate
from app.permissions import ROLES, Permission
from app.tenancy.scope import Database
from models import Role, RolePermission
from models.values import now
from tests.db.migrations.places import Place

SEEDED = {spec.name: spec.permissions for spec in ROLES}
OLD = {"patient": ["read"], "visit": ["read", "write"]}
"""What every role of a clinic from before permits."""


async def role(place: Place, clinic: str, name: str, **values: Any) -> ObjectId:
    """A role as a clinic from before has it, and somebody who has it."""
    id, tenant, database = ObjectId(), place.clinics[clinic], home(place, clinic)
    told = {"_id": id, "tenant_id": tenant, "name": name, "level": 50, "system": True, "version": 1, **values}
    await database[Role.guarded_name()].insert_one({**told, "created_at": now(), "updated_at": now()})
    of = {"tenant_id": tenant, "role_id": id}
    await database[RolePermission.guarded_name()].insert_many(
        [{**of, "resource": resource, "actions": actions} for resource, actions in OLD.items()]
    )
    member = {"clinic_id": tenant, "role_id": id, "user_id": ObjectId(), "version": 1}
    await place.shared["memberships"].insert_one(member)
    return id


def home(place: Place, clinic: str) -> Database:
    return place.shared if clinic == "pool" else place.own(clinic)


async def permitted(place: Place, clinic: str) -> dict[str, frozenset[Permission]]:
    """What each role of the clinic permits, by its name."""
    database, of = home(place, clinic), {"tenant_id": place.clinics[clinic]}
    found = {}
    async for row in database[Role.guarded_name()].find(of):
        rows = await database[RolePermission.guarded_name()].find({**of, "role_id": row["_id"]}).to_list()
        found[row["name"]] = frozenset[Permission]().union(
            *(RolePermission.model_construct(**one).rights() for one in rows)
        )
    return found


async def members(place: Place, role_id: ObjectId) -> int:
    row = await place.shared["memberships"].find_one({"role_id": role_id})
    assert row is not None
    return int(row["version"])


@pytest.mark.parametrize("clinic", ["pool", "one"])
async def test_a_clinic_from_before_gets_what_a_new_one_has(place: Place, clinic: str) -> None:
    """In the shared database and in one of its own."""
    ids = [await role(place, clinic, name) for name in ("admin", "doctor", "nurse", "receptionist")]
    await place.forget("admins_rights")
    await place.forget("seeded_roles")

    reports = await migrate(place.client, place.settings)

    done = sum(one.steps.get("seeded_roles", 0) for one in reports)
    assert done == 3 + 2, "rights for three, and two that were not there"
    now_permitted = await permitted(place, clinic)
    assert now_permitted.keys() == SEEDED.keys()
    for name, rights in now_permitted.items():
        assert rights >= SEEDED[name], name
    assert now_permitted["pharmacist"] == SEEDED["pharmacist"]
    assert await members(place, ids[-1]) == 2, "each process reads the role anew"
    assert not any(one.is_behind for one in await migrate(place.client, place.settings))


async def test_a_new_role_is_stored_as_a_new_clinics_is(place: Place) -> None:
    await role(place, "one", "admin")
    await place.forget("seeded_roles")
    await migrate(place.client, place.settings)

    row = await place.own("one")[Role.guarded_name()].find_one({"name": "pharmacist"})
    assert row is not None
    [spec] = [one for one in ROLES if one.name == "pharmacist"]
    assert (row["level"], row["description"], row["system"]) == (spec.level, spec.description, True)
    assert row.keys() | {"revision_id"} == {*Role.model_fields, "_id", "revision_id"} - {"id"}
    Role.model_validate(row)


async def test_what_a_clinic_shaped_for_itself_stays(place: Place) -> None:
    await role(place, "one", "admin")
    shaped = await role(place, "one", "doctor", version=2)
    await role(place, "one", "pharmacist", system=False)
    before = {name: (await permitted(place, "one"))[name] for name in ("doctor", "pharmacist")}
    await place.forget("seeded_roles")

    await migrate(place.client, place.settings)

    after = await permitted(place, "one")
    assert {name: after[name] for name in before} == before
    assert await members(place, shaped) == 1
    assert after["nurse"] == SEEDED["nurse"]


async def test_what_was_cut_off_before_its_rights_is_finished(place: Place) -> None:
    await role(place, "one", "admin")
    await role(place, "one", "accountant")
    await place.own("one")[RolePermission.guarded_name()].delete_many({})
    [found] = [one for one in await all_places(place.client, place.settings) if one.name == "one"]
    site = await found.site()

    assert await step.pending(site) == len(SEEDED) - 1
    assert await step.seeded_roles(site) == len(SEEDED) - 1
    assert (await permitted(place, "one"))["accountant"] == SEEDED["accountant"]
    assert (await step.pending(site), await step.seeded_roles(site)) == (0, 0)


async def test_a_place_without_clinics_has_nothing_to_do(place: Place) -> None:
    for site in [await one.site() for one in await all_places(place.client, place.settings)]:
        assert (await step.pending(site), await step.seeded_roles(site)) == (0, 0)
