"""Numbered steps over the shared database and clinics' own: each once, each database by itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from bson import ObjectId

from app.db import schema
from app.db.migrations import MIGRATIONS, running
from app.db.migrations.lease import held
from app.db.migrations.running import BUSY, all_places, is_behind, migrate, migrate_site, shared_is_migrated
from app.db.migrations.step import Migration, Order, Runs, Site
from app.db.schema import STATE, apply_schema
from app.permissions import ADMIN, Permission
from app.tenancy.scope import Database
from models import Role, RolePermission
from models.access import RolePermission as Granted
from models.values import now
from tests.db.migrations.places import Place


@dataclass(slots=True)
class Steps:
    """Steps of this test's own: where each ran, in order."""

    ran: list[tuple[str, str]] = field(default_factory=list)

    def step(self, number: int, name: str, *, broken_at: str | None = None, **more: Any) -> Migration:
        async def run(site: Site) -> int:
            if site.name == broken_at:
                raise ValueError("this database is spoiled")
            self.ran.append((site.name, name))
            done = await site.database["rooms"].update_many({"label": {"$exists": False}}, {"$set": {"label": name}})
            return done.modified_count

        async def pending(site: Site) -> int:
            return await site.database["rooms"].count_documents({"label": {"$exists": False}})

        return Migration(number, name, run, pending, **more)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps()


def use(monkeypatch: pytest.MonkeyPatch, *more: Migration) -> None:
    monkeypatch.setattr(running, "MIGRATIONS", (*MIGRATIONS, *more))


async def test_a_new_database_has_nothing_to_migrate(place: Place) -> None:
    reports = await migrate(place.client, place.settings)
    assert [one.site for one in reports] == ["shared", "one", "two"]
    assert not any(one.is_behind for one in reports)
    recorded = await place.shared[STATE].distinct("_id")
    assert {step.number for step in MIGRATIONS} <= set(recorded)


async def test_a_step_runs_once_in_each_database_and_is_recorded_there(
    place: Place, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, steps.step(901, "everywhere"), steps.step(902, "shared_only", runs=Runs.SHARED))

    first = await migrate(place.client, place.settings)
    again = await migrate(place.client, place.settings)

    assert sorted(steps.ran) == [
        ("one", "everywhere"),
        ("shared", "everywhere"),
        ("shared", "shared_only"),
        ("two", "everywhere"),
    ]
    assert {one.site: one.steps["everywhere"] for one in first} == {"shared": 1, "one": 1, "two": 1}
    assert not any(one.is_behind for one in again)
    row = await place.own("one")[STATE].find_one({"_id": 901})
    assert row is not None
    assert (row["name"], row["changed"], row["tries"]) == ("everywhere", 1, 1)
    assert row["started_at"] <= row["ended_at"]


async def test_a_dry_run_tells_and_changes_nothing(place: Place, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, steps.step(901, "everywhere"))
    await place.own("two")["rooms"].drop_indexes()
    await place.own("two")[STATE].update_one({"_id": "schema"}, {"$set": {"fingerprint": "old"}})

    reports = {one.site: one for one in await migrate(place.client, place.settings, dry=True)}

    assert steps.ran == []
    assert [one.steps for one in reports.values()] == [{"everywhere": 1}] * 3
    assert any("rooms: missing index" in one for one in reports["two"].schema)
    assert await place.own("one")["rooms"].count_documents({"label": "everywhere"}) == 0


async def test_one_that_fails_stops_no_other_and_is_taken_up_again(
    place: Place, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, steps.step(901, "first", broken_at="one"), steps.step(902, "second"))

    reports = {one.site: one for one in await migrate(place.client, place.settings)}

    assert reports["one"].failed == "ValueError: this database is spoiled"
    assert ("two", "second") in steps.ran
    assert ("one", "second") not in steps.ran, "steps keep their order"
    assert await place.own("one")[STATE].count_documents({"_id": 901, "ended_at": None}) == 1
    use(monkeypatch, steps.step(901, "first"), steps.step(902, "second"))
    steps.ran.clear()
    [report] = [one for one in await migrate(place.client, place.settings) if one.is_behind]
    assert (report.site, report.failed) == ("one", None)
    assert steps.ran == [("one", "first"), ("one", "second")]


async def test_only_so_many_are_worked_on_at_a_time(
    place: Place, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, most = 0, 0

    async def run(site: Site) -> int:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        for _ in range(20):
            await site.database["rooms"].find_one({})
        at_work -= 1
        return 0

    use(monkeypatch, Migration(901, "slow", run, run))
    await migrate(place.client, place.settings, parallel=1)
    assert most == 1


async def test_a_database_where_another_run_is_at_work_is_left_to_it(
    place: Place, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, steps.step(901, "everywhere"))
    async with held(place.own("one"), STATE):
        reports = {one.site: one.failed for one in await migrate(place.client, place.settings)}
    assert reports == {"shared": None, "one": BUSY, "two": None}
    await migrate(place.client, place.settings)
    assert ("one", "everywhere") in steps.ran


async def test_the_lock_of_a_killed_run_ends(place: Place, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, steps.step(901, "everywhere"))
    await place.own("one")[STATE].insert_one({"_id": "lock", "holder": "killed", "lease_until": now()})
    reports = await migrate(place.client, place.settings, only=["one"])
    assert [(one.site, one.failed) for one in reports] == [("one", None)]


async def test_two_runs_at_once_do_each_step_once(place: Place, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, steps.step(901, "everywhere"))
    await asyncio.gather(*(migrate(place.client, place.settings) for _ in range(2)))
    assert sorted(steps.ran) == [("one", "everywhere"), ("shared", "everywhere"), ("two", "everywhere")]


async def test_a_step_may_make_room_for_an_index(place: Place, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    own = place.own("one")
    seen: list[bool] = []

    async def run(site: Site) -> int:
        if site.name == "one":
            seen.append("name" in await site.database["roles"].index_information())
        return 0

    use(monkeypatch, Migration(901, "before", run, run, order=Order.BEFORE_SCHEMA))
    await own["roles"].drop_index("name")
    await own[STATE].update_one({"_id": "schema"}, {"$set": {"fingerprint": "old"}})
    await migrate(place.client, place.settings)
    assert seen == [False]
    assert "name" in await own["roles"].index_information()


async def test_a_server_is_not_ready_before_the_shared_database_is_migrated(
    place: Place, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await shared_is_migrated(place.shared)
    use(monkeypatch, steps.step(901, "everywhere"))
    assert not await shared_is_migrated(place.shared)
    assert await is_behind(Site("one", place.own("one"), place.shared, place.clinics["one"]))
    await migrate(place.client, place.settings)
    assert await shared_is_migrated(place.shared)


# --- the steps themselves ---------------------------------------------------------------------------------------------


def test_numbers_are_given_once_and_in_order() -> None:
    numbers = [one.number for one in MIGRATIONS]
    assert numbers == sorted(set(numbers))
    assert len({one.name for one in MIGRATIONS}) == len(numbers)


async def test_clinics_from_before_say_where_they_live(place: Place) -> None:
    await place.shared["tenants"].update_one({"_id": place.clinics["pool"]}, {"$unset": {"placement": ""}})
    await place.forget("placements")

    reports = {one.site: one for one in await migrate(place.client, place.settings)}

    assert reports["shared"].steps["placements"] == 1
    row = await place.shared["tenants"].find_one({"_id": place.clinics["pool"]})
    assert row is not None
    assert row["placement"] == {"kind": "shared", "database": None, "cluster": None}
    one = await place.shared["tenants"].find_one({"subdomain": "one"})
    assert one is not None
    assert one["placement"]["database"] == place.own("one").name


async def test_admins_get_the_rights_that_came_since_their_clinic_was_opened(place: Place) -> None:
    for clinic, database in ((place.clinics["pool"], place.shared), (place.clinics["one"], place.own("one"))):
        role = ObjectId()
        names = {"tenant_id": clinic, "role_id": role}
        await database[Role.guarded_name()].insert_one(
            {"_id": role, "tenant_id": clinic, "name": ADMIN, "system": True}
        )
        await database[RolePermission.guarded_name()].insert_many(
            [{**names, "resource": "patient", "actions": ["read"]}, {**names, "resource": "gone", "actions": ["read"]}]
        )
        await place.shared["memberships"].insert_one({"clinic_id": clinic, "role_id": role, "version": 1})
    other = {"tenant_id": place.clinics["one"], "name": "nurse", "system": True, "_id": ObjectId()}
    await place.own("one")[Role.guarded_name()].insert_one(other)
    await place.forget("admins_rights")

    reports = {one.site: one for one in await migrate(place.client, place.settings)}

    assert [reports[name].steps["admins_rights"] for name in ("shared", "one", "two")] == [1, 1, 0]
    for clinic, database in ((place.clinics["pool"], place.shared), (place.clinics["one"], place.own("one"))):
        rows = await database[RolePermission.guarded_name()].find({"tenant_id": clinic}).to_list()
        held_now = frozenset[Permission]().union(*(Granted.model_construct(**row).rights() for row in rows))
        assert held_now == frozenset(Permission)
        member = await place.shared["memberships"].find_one({"clinic_id": clinic})
        assert member is not None
        assert member["version"] == 2, "each process reads the role anew"
    assert not any(one.is_behind for one in await migrate(place.client, place.settings))


async def test_the_sites_are_those_where_clinics_live_and_where_they_move_to(place: Place) -> None:
    target = {"kind": "own_database", "database": f"{place.shared.name}_{place.clinics['pool']}"}
    await place.shared["tenants"].update_one(
        {"_id": place.clinics["pool"]}, {"$set": {"move": {"stage": "copying", "target": target}}}
    )
    found = [await one.site() for one in await all_places(place.client, place.settings)]
    assert [one.name for one in found] == ["shared", "one", "pool", "two"]


async def test_a_killed_creation_is_finished(place: Place) -> None:
    clinic = ObjectId()
    database: Database = place.client[f"{place.shared.name}_{clinic}"]
    await database["rooms"].insert_one({"tenant_id": clinic})
    report = await migrate_site(Site("half", database, place.shared, clinic))
    assert report.failed is None
    assert (await apply_schema(database, tenant_id=clinic, check=True)).drift == []
    assert not await is_behind(replace(Site("half", database, place.shared, clinic)))
    assert schema.STATE in await database.list_collection_names()
