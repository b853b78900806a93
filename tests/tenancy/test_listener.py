"""The wall: what reaches the wire without its tenant is refused, whoever sent it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bson import ObjectId
from pymongo import DeleteOne, InsertOne, UpdateOne

from app.errors import TenantWallBroken
from app.tenancy.crossing import system_scope
from app.tenancy.listener import Verdict
from app.tenancy.pipelines import busy_claims_pipeline
from tests.fixtures.documents import Badge, Gadget, Person, Remark
from tests.fixtures.guard import Clinics

LOOKUP = {"localField": "label", "foreignField": "label", "as": "joined"}


def raw(clinics: Clinics, name: str = "test_gadgets") -> Any:
    """The driver's own collection, behind the wall but without the guard."""
    return clinics.database[name]


def unheld(clinics: Clinics) -> list[Any]:
    """Calls that a bug could make, none of which is held to its clinic."""
    gadgets, people, badges = raw(clinics), raw(clinics, "test_people"), raw(clinics, "test_badges")
    foreign = {"tenant_id": clinics.b.id}
    own = {"tenant_id": clinics.a.id}
    return [
        lambda: gadgets.find_one({}),
        lambda: gadgets.find_one(foreign),
        lambda: gadgets.find_one({"$or": [own, foreign]}),
        lambda: gadgets.find_one({"tenant_id": {"$ne": clinics.b.id}}),
        lambda: gadgets.find_one({"tenant_id": {"$in": [clinics.a.id, clinics.b.id]}}),
        lambda: gadgets.find({}).to_list(),
        lambda: gadgets.count_documents({}),
        gadgets.estimated_document_count,
        lambda: gadgets.distinct("label"),
        lambda: gadgets.insert_one({"label": "x"}),
        lambda: gadgets.insert_one({"label": "x", **foreign}),
        lambda: gadgets.insert_many([{"label": "x", **own}, {"label": "y", **foreign}]),
        lambda: gadgets.update_one({}, {"$set": {"size": 1}}),
        lambda: gadgets.update_many(foreign, {"$set": {"size": 1}}),
        lambda: gadgets.replace_one({}, {"label": "x"}),
        lambda: gadgets.delete_one({}),
        lambda: gadgets.delete_many({}),
        lambda: gadgets.find_one_and_update({}, {"$set": {"size": 1}}),
        lambda: gadgets.find_one_and_delete({}),
        lambda: gadgets.bulk_write([UpdateOne(own, {"$set": {"size": 1}}), UpdateOne({}, {"$set": {"size": 1}})]),
        lambda: gadgets.bulk_write([DeleteOne({})]),
        lambda: gadgets.bulk_write([InsertOne({"label": "x"})]),
        lambda: gadgets.aggregate([]),
        lambda: gadgets.aggregate([{"$limit": 1}, {"$match": own}]),
        lambda: gadgets.aggregate([{"$match": own}, {"$lookup": {"from": "test_remarks", **LOOKUP}}]),
        lambda: gadgets.aggregate(
            [{"$match": own}, {"$lookup": {"from": "test_remarks", **LOOKUP, "pipeline": [{"$match": foreign}]}}]
        ),
        lambda: gadgets.aggregate([{"$match": own}, {"$unionWith": "test_remarks"}]),
        lambda: gadgets.aggregate([{"$match": own}, {"$facet": {"f": [{"$unionWith": {"coll": "test_people"}}]}}]),
        lambda: gadgets.aggregate(
            [
                {"$match": own},
                {
                    "$graphLookup": {
                        "from": "test_gadgets",
                        "startWith": "$label",
                        "connectFromField": "label",
                        "connectToField": "label",
                        "as": "x",
                    }
                },
            ]
        ),
        lambda: gadgets.aggregate([{"$match": own}, {"$out": "stolen"}]),
        gadgets.watch,
        clinics.database.watch,
        lambda: badges.aggregate([{"$lookup": {"from": "test_gadgets", **LOOKUP}}]),
        lambda: badges.aggregate([{"$merge": "test_gadgets"}]),
        lambda: people.find_one({"tenant_ids": clinics.a.id}),
        lambda: people.find_one({"tenant_ids": {"$elemMatch": {"$eq": clinics.b.id}}}),
        lambda: people.insert_one({"name": "x", "tenant_ids": [clinics.a.id, clinics.b.id]}),
        gadgets.drop,
        lambda: gadgets.rename("elsewhere"),
        lambda: gadgets.create_index("label"),
        gadgets.index_information,
        lambda: clinics.database.command("explain", {"find": "test_gadgets", "filter": {}}),
        lambda: clinics.database.command("collStats", "test_gadgets"),
        lambda: clinics.database.command("validate", "test_gadgets"),
        lambda: clinics.database.command("collMod", "test_gadgets", validator={}),
        lambda: clinics.client.drop_database(clinics.database.name),
        lambda: gadgets.aggregate([*busy_claims_pipeline("a", "b")]),
        lambda: raw(clinics, "appointments").aggregate([*busy_claims_pipeline("a", "b"), {"$limit": 1}]),
        lambda: raw(clinics, "appointments").aggregate([*busy_claims_pipeline("a", "b")[:2]]),
    ]


async def settle(call: Any) -> None:
    outcome = call()
    if asyncio.iscoroutine(outcome):
        outcome = await outcome
    if hasattr(outcome, "__aenter__"):
        async with outcome:
            pass


@pytest.mark.parametrize("number", range(49))
async def test_a_command_that_is_not_held_to_its_clinic_is_refused(clinics: Clinics, number: int) -> None:
    calls = unheld(clinics)
    assert len(calls) == 49
    before = [await clinics.stored(document, clinics.b) for document in (Gadget, Person, Remark)]
    with clinics.at_a(), pytest.raises(TenantWallBroken):
        await settle(calls[number])
    with pytest.raises(TenantWallBroken):
        await settle(calls[number])
    assert [await clinics.stored(document, clinics.b) for document in (Gadget, Person, Remark)] == before


async def test_a_command_under_the_right_clinic_passes_whoever_sent_it(clinics: Clinics) -> None:
    with clinics.at_a():
        assert len(await raw(clinics).find({"tenant_id": clinics.a.id}).to_list()) == 3
        plan = await clinics.database.command(
            "explain", {"find": "test_gadgets", "filter": {"tenant_id": clinics.a.id}}
        )
    assert plan["ok"] == 1


async def test_a_command_that_the_wall_cannot_read_is_refused(clinics: Clinics) -> None:
    own = {"tenant_id": clinics.a.id}
    broken: list[Any] = [
        [{"$match": own, "$limit": 1}],
        [{"$match": own}, {"$graphLookup": {}}],
        [{"$match": own}, {"$facet": [1]}],
        [1, {"$match": own}],
    ]
    with clinics.at_a():
        for pipeline in broken:
            with pytest.raises(TenantWallBroken):
                await raw(clinics).aggregate(pipeline)


async def test_a_cursor_goes_on_only_under_its_clinic(clinics: Clinics) -> None:
    mine = {"tenant_id": clinics.a.id}
    with clinics.at_a():
        cursor = raw(clinics).find(mine, batch_size=1)
        await anext(cursor)
        piped = await raw(clinics).aggregate([{"$match": mine}], batchSize=1)
        await anext(piped)
    for reading in (cursor, piped):
        with clinics.at_b(), pytest.raises(TenantWallBroken):
            await anext(reading)
    with clinics.at_a():
        again = raw(clinics).find(mine, batch_size=1)
        assert len(await again.to_list()) == 3


async def test_a_clinic_with_its_own_database_is_served_from_there_only(clinics: Clinics) -> None:
    own = clinics.client[f"{clinics.database.name}_own"]
    with clinics.at(clinics.a, database=own):
        await Gadget(label="own").insert()
        assert [row["label"] for row in await Gadget.rows()] == ["own"]
        with pytest.raises(TenantWallBroken):
            await raw(clinics).find_one({"tenant_id": clinics.a.id})
    with clinics.at_a():
        assert await Gadget.count() == 3


async def test_administration_needs_a_system_scope(clinics: Clinics) -> None:
    async with system_scope("looking at indexes") as system:
        assert "label" in await system.raw(Gadget).index_information()
        assert await system.raw(Gadget).count_documents({}) == 6


async def test_platform_collections_are_not_the_walls_business(clinics: Clinics) -> None:
    await raw(clinics, "test_badges").insert_one({"code": "x"})
    assert await Badge.count() == 1


async def test_the_pool_is_as_good_as_new_after_refusals(clinics: Clinics) -> None:
    async def refused() -> None:
        with clinics.at_a(), pytest.raises(TenantWallBroken):
            await raw(clinics).find_one({})

    async def served() -> int:
        with clinics.at_a():
            return await Gadget.count()

    async def open_connections() -> int:
        status = await clinics.plain.command("serverStatus")
        return int(status["connections"]["current"])

    await asyncio.gather(*(served() for _ in range(50)))
    before = await open_connections()
    for _ in range(10):
        await asyncio.gather(*(refused() for _ in range(100)))
    assert await asyncio.gather(*(served() for _ in range(100))) == [3] * 100
    assert await open_connections() <= before + 100


async def test_a_refusal_inside_a_transaction_leaves_nothing(clinics: Clinics) -> None:
    with clinics.at_a():
        async with clinics.client.start_session() as session:
            await session.start_transaction()
            await Gadget(label="half").insert(session=session)
            with pytest.raises(TenantWallBroken):
                await raw(clinics).find_one({}, session=session)
            await session.abort_transaction()
        assert await Gadget.find_one({"label": "half"}) is None


async def test_recorders_see_each_command_with_its_verdict(clinics: Clinics) -> None:
    clinics.seen.clear()
    with clinics.at_a():
        await Gadget.find_one({})
        with pytest.raises(TenantWallBroken):
            await raw(clinics).find_one({})
    await Badge.find_one({})
    seen = [(event.command_name, verdict) for event, verdict in clinics.seen]
    assert seen == [("find", Verdict.HELD), ("find", Verdict.BROKEN), ("find", Verdict.NO_CLINIC_DATA)]


async def test_what_the_guard_sends_always_passes_the_wall(clinics: Clinics) -> None:
    clinics.seen.clear()
    with clinics.at_a():
        gadget = await Gadget(label="all").insert()
        await Gadget.insert_many([Gadget(label="m1"), Gadget(label="m2")])
        await gadget.set({"size": 3})
        await gadget.save()
        await gadget.replace()
        await Gadget.find({"size": 3}).update({"$inc": {"size": 1}})
        await Gadget.find({"label": "m1"}).delete()
        await Gadget.distinct("label")
        await Gadget.aggregate([{"$lookup": {"from": "test_people", "pipeline": [], "as": "p"}}]).to_list()
        await Gadget.find_all().count()
        await Gadget.guarded().bulk_write([UpdateOne({}, {"$set": {"size": 1}}), DeleteOne({"label": "m2"})])
        person = await Person(name="x").insert()
        assert person.id is not None
        await Person.guarded().grant(person.id, clinics.b.id)
        await Person.guarded().leave(person.id)
        assert await Gadget.guarded().find({}, batch_size=1).to_list()
        assert await Gadget.get(ObjectId()) is None
    assert [event.command_name for event, verdict in clinics.seen if verdict is not Verdict.HELD] == []
