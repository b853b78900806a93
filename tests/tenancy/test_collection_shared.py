"""The guard on patients-like documents, which several clinics may share."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bson import ObjectId
from pymongo import InsertOne, UpdateOne

from app.errors import NotFound, TenantGuardRefused
from app.tenancy.kinds import HIDDEN_FIELDS
from models.base import SharedDocument
from tests.fixtures.documents import Person, Remark
from tests.fixtures.guard import Clinics, clinic

HIDDEN_FILTERS: list[dict[str, Any]] = [
    {"tenant_ids": ObjectId()},
    {"tenant_ids": {"$size": 2}},
    {"tenant_ids.1": {"$exists": True}},
    {"$or": [{"name": "x"}, {"$nor": [{"tenant_ids": {"$size": 1}}]}]},
    {"archived_in": {"$exists": True}},
    {"archived_in": {"$ne": []}},
    {"archived_in": ObjectId()},
    {"archived_in": {"$in": [ObjectId()]}},
    {"$expr": {"$gt": [{"$size": "$tenant_ids"}, 1]}},
    {"$expr": {"$in": [ObjectId(), "$$ROOT.tenant_ids"]}},
    {"$expr": {"$let": {"vars": {"d": "$$ROOT"}, "in": {"$gt": [{"$size": "$$d.tenant_ids"}, 1]}}}},
    {"$expr": {"$gt": [{"$size": {"$getField": {"$concat": ["tenant", "_ids"]}}}, 1]}},
    {"$expr": {"$gt": [{"$size": "$$CURRENT.archived_in"}, 1]}},
    {"$jsonSchema": {"patternProperties": {"^tenant": {"minItems": 2}}}},
    {"$jsonSchema": {"properties": {"tenant_ids": {"minItems": 2}}}},
]


async def shared(clinics: Clinics) -> ObjectId:
    """One person of clinic a, shared with b."""
    with clinics.at_a():
        made = await Person(name="Shared").insert()
        assert made.id is not None
        await Person.guarded().grant(made.id, clinics.b.id)
    return made.id


async def stored(clinics: Clinics, key: Any) -> dict[str, Any]:
    found = await clinics.raw(Person).find_one({"_id": key})
    assert found is not None
    return found


async def test_an_insert_belongs_to_the_clinic_alone(clinics: Clinics) -> None:
    with clinics.at_a():
        made = await Person(name="New").insert()
        assert made.id is not None
        more = await Person.guarded().insert_one({"name": "Newer"})
        await Person.guarded().bulk_write([InsertOne({"_id": 7, "name": "Bulk"})])
    for key in (made.id, more.inserted_id, 7):
        assert (await stored(clinics, key))["tenant_ids"] == [clinics.a.id]


async def test_an_insert_may_not_say_whose_it_is(clinics: Clinics) -> None:
    with clinics.at_a():
        rows: list[dict[str, Any]] = [
            {"tenant_ids": [clinics.b.id]},
            {"tenant_ids": [clinics.a.id]},
            {"archived_in": []},
        ]
        for row in rows:
            with pytest.raises(TenantGuardRefused):
                await Person.guarded().insert_one(row)
            with pytest.raises(TenantGuardRefused):
                await Person.guarded().insert_many([row])
            with pytest.raises(TenantGuardRefused):
                await Person.guarded().bulk_write([InsertOne(row)])


async def test_both_clinics_see_a_shared_document_and_others_do_not(clinics: Clinics) -> None:
    key = await shared(clinics)
    for tenant in (clinics.a, clinics.b):
        with clinics.at(tenant):
            assert await Person.get(key) is not None
            assert await Person.count() == 3 + 1
    with clinics.at(clinic("gamma")):
        assert await Person.get(key) is None


async def test_no_read_shows_the_other_clinics(clinics: Clinics) -> None:
    key = await shared(clinics)
    with clinics.at_b():
        await Person.guarded().archive(key)
    people = Person.guarded()
    with clinics.at_a():
        rows: list[Any] = [
            await people.find_one({"_id": key}),
            await people.find_one({"_id": key}, {}),
            await people.find_one({"_id": key}, {"name": 0}),
            await people.find_one({"_id": key}, {"_id": 0}),
            await people.find_one({"_id": key}, {"name": 1}),
            await people.find_one({"_id": key}, ["name"]),
            await people.find_one({"_id": key}, {"_id": 1}),
            *await people.find({"_id": key}).to_list(),
            *await (await people.aggregate([{"$match": {"_id": key}}])).to_list(),
            *await (await people.aggregate([{"$replaceRoot": {"newRoot": {"all": "$$ROOT"}}}])).to_list(),
            *await (await people.aggregate([{"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}])).to_list(),
            *await (await people.aggregate([{"$project": {"all": {"$objectToArray": "$$ROOT"}}}])).to_list(),
            await people.find_one_and_update({"_id": key}, {"$set": {"phone": "1"}}),
            await people.find_one_and_update({"_id": key}, {"$set": {"phone": "2"}}, return_document=True),
            *await Person.rows({"_id": key}),
            await people.find_one_and_delete({"_id": key}),
        ]
    assert all(row is not None for row in rows)
    for hidden in (*HIDDEN_FIELDS, str(clinics.b.id)):
        assert hidden not in repr(rows)


@pytest.mark.parametrize("criteria", HIDDEN_FILTERS)
async def test_a_filter_cannot_ask_about_the_other_clinics(clinics: Clinics, criteria: Any) -> None:
    people = Person.guarded()
    with clinics.at_a():
        for call in (
            people.find_one(criteria),
            people.count_documents(criteria),
            people.distinct("name", criteria),
            people.update_many(criteria, {"$set": {"name": "x"}}),
            people.delete_many(criteria),
            people.find_one_and_update(criteria, {"$set": {"name": "x"}}),
            people.find_one_and_delete(criteria),
            people.aggregate([{"$match": criteria}]),
            people.aggregate([{"$match": {}}, {"$match": criteria}]),
        ):
            with pytest.raises(TenantGuardRefused):
                await call


@pytest.mark.parametrize(
    "projection",
    [
        {"tenant_ids": 1},
        {"tenant_ids": 0},
        ["archived_in"],
        {"tenant_ids.0": 1},
        {"x": "$tenant_ids"},
        {"x": "$$ROOT"},
        {"tags": {"$slice": 1}},
    ],
)
async def test_a_projection_cannot_show_the_other_clinics(clinics: Clinics, projection: Any) -> None:
    with clinics.at_a():
        with pytest.raises(TenantGuardRefused):
            Person.guarded().find({}, projection)
        with pytest.raises(TenantGuardRefused):
            await Person.guarded().find_one_and_update({}, {"$set": {"name": "x"}}, projection)


@pytest.mark.parametrize("sort", [[("tenant_ids", 1)], "archived_in", {"tenant_ids.0": -1}, ["tenant_ids"]])
async def test_a_sort_cannot_tell_the_other_clinics(clinics: Clinics, sort: Any) -> None:
    with clinics.at_a():
        with pytest.raises(TenantGuardRefused):
            Person.guarded().find({}, sort=sort)
        with pytest.raises(TenantGuardRefused):
            await Person.guarded().find_one_and_update({}, {"$set": {"name": "x"}}, sort=sort)


async def test_distinct_cannot_list_the_other_clinics(clinics: Clinics) -> None:
    with clinics.at_a():
        for key in ("tenant_ids", "archived_in", "tenant_ids.0"):
            with pytest.raises(TenantGuardRefused):
                await Person.guarded().distinct(key)


@pytest.mark.parametrize(
    "update",
    [
        {"$set": {"tenant_ids": []}},
        {"$set": {"archived_in": []}},
        {"$addToSet": {"tenant_ids": ObjectId()}},
        {"$pull": {"tenant_ids": ObjectId()}},
        {"$unset": {"archived_in": ""}},
        {"$setOnInsert": {"tenant_ids": [ObjectId()]}},
        {"$rename": {"tenant_ids": "clinics"}},
        {"$rename": {"tags": "tenant_ids"}},
        {"$set": {"tenant_ids.$[]": 1}},
        [{"$set": {"tags": "$tenant_ids"}}],
        [{"$set": {"tags": "$$ROOT"}}],
        [{"$set": {"tags": {"$getField": "tenant_ids"}}}],
        [{"$set": {"tenant_ids": []}}],
        [{"$unset": "tenant_ids"}],
        [{"$unset": ["archived_in"]}],
        [{"$replaceWith": "$$ROOT"}],
    ],
)
async def test_an_update_neither_changes_nor_copies_whose_it_is(clinics: Clinics, update: Any) -> None:
    before = await clinics.stored(Person, clinics.a)
    with clinics.at_a():
        with pytest.raises(TenantGuardRefused):
            await Person.guarded().update_many({}, update)
        with pytest.raises(TenantGuardRefused):
            await Person.guarded().find_one_and_update({}, update)
        with pytest.raises(TenantGuardRefused):
            await Person.guarded().bulk_write([UpdateOne({}, update)])
    assert await clinics.stored(Person, clinics.a) == before


async def test_what_a_person_typed_is_never_taken_for_an_expression(clinics: Clinics) -> None:
    with clinics.at_a():
        for name in ("$tenant_ids", "$$ROOT", "tenant_ids"):
            made = await Person(name=name).insert()
            await made.set({"phone": name})
            assert await Person.find_one({"name": name}) is not None


async def test_a_shared_document_is_never_replaced(clinics: Clinics) -> None:
    key = await shared(clinics)
    with clinics.at_a():
        person = await Person.get(key)
        assert person is not None
        with pytest.raises(TenantGuardRefused):
            await person.replace()


async def test_save_keeps_the_other_clinics(clinics: Clinics) -> None:
    key = await shared(clinics)
    with clinics.at_b():
        person = await Person.get(key)
        assert person is not None
        person.name = "Renamed"
        await person.save()
    assert (await stored(clinics, key))["tenant_ids"] == [clinics.a.id, clinics.b.id]


async def test_an_upsert_belongs_to_the_clinic(clinics: Clinics) -> None:
    with clinics.at_a():
        await Person(name="Saved").save()
        await Person.guarded().update_one({"name": "Upserted"}, {"$set": {"phone": "1"}}, upsert=True)
        with pytest.raises(TenantGuardRefused):
            await Person.guarded().update_one({"name": "x"}, [{"$set": {"phone": "1"}}], upsert=True)
    for name in ("Saved", "Upserted"):
        found = await clinics.raw(Person).find_one({"name": name})
        assert found is not None
        assert found["tenant_ids"] == [clinics.a.id]


async def test_saving_over_a_foreign_id_says_not_found(clinics: Clinics) -> None:
    foreign = (await clinics.stored(Person, clinics.b))[0]
    with clinics.at_a(), pytest.raises(NotFound):
        await Person(id=foreign["_id"], name="stolen").save()
    assert await stored(clinics, foreign["_id"]) == foreign


async def test_only_a_clinic_that_has_it_shares_archives_or_leaves(clinics: Clinics) -> None:
    foreign = (await clinics.stored(Person, clinics.b))[0]
    people = Person.guarded()
    with clinics.at_a():
        for call in (
            people.grant(foreign["_id"], clinics.a.id),
            people.archive(foreign["_id"]),
            people.restore(foreign["_id"]),
            people.leave(foreign["_id"]),
        ):
            with pytest.raises(NotFound):
                await call
    assert await stored(clinics, foreign["_id"]) == foreign


async def test_archiving_is_each_clinics_own(clinics: Clinics) -> None:
    key = await shared(clinics)
    with clinics.at_a():
        await Person.guarded().archive(key)
        assert await Person.find({"_id": key}, SharedDocument.active_here()).count() == 0
        assert await Person.find({"_id": key}, Person.archived_here()).count() == 1
    with clinics.at_b():
        assert await Person.find({"_id": key}, Person.active_here()).count() == 1
        assert await Person.find({"_id": key}, Person.archived_here()).count() == 0
    with clinics.at_a():
        await Person.guarded().restore(key)
        assert await Person.find({"_id": key}, Person.active_here()).count() == 1


async def test_the_archive_filters_work_in_an_aggregation(clinics: Clinics) -> None:
    key = await shared(clinics)
    with clinics.at_a():
        await Person.guarded().archive(key)
        stages = [{"$match": {"$and": [{"name": "Shared"}, Person.archived_here()]}}]
        assert len(await Person.aggregate(stages).to_list()) == 1


async def test_the_last_clinic_that_leaves_takes_the_document_along(clinics: Clinics) -> None:
    key = await shared(clinics)
    with clinics.at_a():
        await Person.guarded().archive(key)
        assert await Person.guarded().leave(key) is False
        assert await Person.get(key) is None
    left = await stored(clinics, key)
    assert (left["tenant_ids"], left["archived_in"]) == ([clinics.b.id], [])
    with clinics.at_b():
        assert await Person.guarded().leave(key) is True
    assert await clinics.raw(Person).find_one({"_id": key}) is None


async def test_two_clinics_that_leave_at_once_lose_nothing_and_leave_nothing(clinics: Clinics) -> None:
    async def leave(tenant: Any, key: ObjectId) -> bool:
        with clinics.at(tenant):
            return await Person.guarded().leave(key)

    for _ in range(20):
        key = await shared(clinics)
        outcome = await asyncio.gather(leave(clinics.a, key), leave(clinics.b, key))
        assert sorted(outcome) == [False, True]
        assert await clinics.raw(Person).find_one({"_id": key}) is None


async def test_many_are_left_by_two_commands_and_nobody_elses_are_touched(clinics: Clinics) -> None:
    both = [await shared(clinics) for _ in range(3)]
    with clinics.at_a():
        alone = [(await Person(name="Mine").insert()).key for _ in range(3)]
        await Person.guarded().archive(both[0])
    with clinics.at_b():
        foreign = (await Person(name="Theirs").insert()).key
    with clinics.at_a():
        assert await Person.guarded().leave_all([*both, *alone, foreign]) == 6
        assert await Person.guarded().leave_all([*both, *alone, foreign]) == 0
    for key in both:
        left = await stored(clinics, key)
        assert (left["tenant_ids"], left.get("archived_in", [])) == ([clinics.b.id], [])
    assert await clinics.raw(Person).count_documents({"_id": {"$in": alone}}) == 0
    assert (await stored(clinics, foreign))["tenant_ids"] == [clinics.b.id]


async def test_two_clinics_that_leave_many_at_once_leave_nothing(clinics: Clinics) -> None:
    async def leave(tenant: Any, keys: list[ObjectId]) -> None:
        with clinics.at(tenant):
            while await Person.rows({"_id": {"$in": keys}}, projection={"_id": 1}):
                await Person.guarded().leave_all(keys)

    keys = [await shared(clinics) for _ in range(30)]
    await asyncio.gather(leave(clinics.a, keys), leave(clinics.b, keys))
    assert await clinics.raw(Person).count_documents({"_id": {"$in": keys}}) == 0


async def test_tenant_documents_have_no_sharing(clinics: Clinics) -> None:
    with clinics.at_a(), pytest.raises(TenantGuardRefused):
        Remark.guarded().grant  # noqa: B018
