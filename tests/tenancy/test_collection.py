"""The guard on documents that belong to one clinic."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import pytest
from beanie import BulkWriter, PydanticObjectId, UnionDoc, View, WriteRules
from bson import ObjectId
from pymongo import DeleteMany, InsertOne, ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import DuplicateKeyError, WriteError

from app.db.documents import init_documents
from app.errors import Conflict, NotFound, TenantGuardRefused, TenantScopeRequired
from models.base import PlatformDocument, TenantDocument
from tests.fixtures.documents import Badge, Gadget, Person, Remark
from tests.fixtures.guard import LABELS, Clinics


async def one(clinics: Clinics, tenant: Any, document: Any = Gadget) -> dict[str, Any]:
    return (await clinics.stored(document, tenant))[0]


# --- reading ------------------------------------------------------------------------------------------------------


async def test_no_operation_runs_without_a_clinic(clinics: Clinics) -> None:
    gadgets = Gadget.guarded()
    with pytest.raises(TenantScopeRequired):
        gadgets.find({})
    for call in (
        gadgets.find_one({}),
        gadgets.count_documents({}),
        gadgets.distinct("label"),
        gadgets.aggregate([]),
        gadgets.insert_one({}),
        gadgets.insert_many([{}]),
        gadgets.update_one({}, {"$set": {"size": 1}}),
        gadgets.update_many({}, {"$set": {"size": 1}}),
        gadgets.replace_one({}, {}),
        gadgets.delete_one({}),
        gadgets.delete_many({}),
        gadgets.find_one_and_update({}, {"$set": {"size": 1}}),
        gadgets.find_one_and_delete({}),
        gadgets.bulk_write([InsertOne({})]),
    ):
        with pytest.raises(TenantScopeRequired):
            await call


async def test_a_document_can_be_made_without_a_clinic_for_only_operations_need_one(clinics: Clinics) -> None:
    assert Gadget(label="loose").tenant_id is None


async def test_every_read_stays_in_the_clinic(clinics: Clinics) -> None:
    with clinics.at_a():
        assert await Gadget.count() == 3
        assert {gadget.tenant_id for gadget in await Gadget.find_all().to_list()} == {clinics.a.id}
        assert sorted(await Gadget.distinct("label")) == sorted(LABELS)
        assert len(await Gadget.distinct("_id")) == 3
        assert len(await Gadget.aggregate([{"$match": {}}]).to_list()) == 3
        assert await Gadget.find_all().sum(Gadget.size) == 3
        assert len(await Gadget.rows({}, projection={"label": 1}, sort=[("label", 1)], limit=2)) == 2


async def test_a_foreign_id_is_as_if_it_did_not_exist(clinics: Clinics) -> None:
    foreign = (await one(clinics, clinics.b))["_id"]
    before = await clinics.stored(Gadget, clinics.b)
    with clinics.at_a():
        assert await Gadget.get(foreign) is None
        assert await Gadget.find_one(Gadget.id == foreign) is None
        assert not await Gadget.find(Gadget.id == foreign).exists()
        assert (await Gadget.guarded().delete_one({"_id": foreign})).deleted_count == 0
        await Gadget.find_one({"_id": foreign}).delete()
        assert (await Gadget.find({"_id": foreign}).update({"$set": {"size": 9}})).matched_count == 0
        assert await Gadget.guarded().find_one_and_delete({"_id": foreign}) is None
    assert await clinics.stored(Gadget, clinics.b) == before


async def test_a_filter_by_the_other_tenant_finds_nothing(clinics: Clinics) -> None:
    with clinics.at_a():
        for criteria in (
            {"tenant_id": clinics.b.id},
            {"$or": [{"tenant_id": clinics.b.id}, {}]},
            {"$nor": [{"tenant_id": clinics.a.id}]},
            {"tenant_id": {"$ne": clinics.a.id}},
            {"$and": [{"tenant_id": clinics.b.id}]},
        ):
            found = await Gadget.rows(criteria)
            assert {row["tenant_id"] for row in found} <= {clinics.a.id}


@pytest.mark.parametrize(
    "criteria",
    [
        {"$where": "true"},
        {"$or": [{"$and": [{"$where": "true"}]}]},
        {"$expr": {"$function": {"body": "function() { return true }", "args": [], "lang": "js"}}},
        {"a": {"$elemMatch": {"$where": "1"}}},
        {"$query": {}, "$orderby": {}},
    ],
)
async def test_javascript_and_the_legacy_query_form_are_refused(clinics: Clinics, criteria: Any) -> None:
    with clinics.at_a():
        with pytest.raises(TenantGuardRefused):
            await Gadget.rows(criteria)
        with pytest.raises(TenantGuardRefused):
            await Gadget.guarded().delete_many(criteria)
        with pytest.raises(TenantGuardRefused):
            await Gadget.guarded().aggregate([{"$match": criteria}])


async def test_a_filter_must_be_a_mapping(clinics: Clinics) -> None:
    with clinics.at_a(), pytest.raises(TenantGuardRefused):
        await Gadget.guarded().find_one(ObjectId())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    ["watch", "estimated_document_count", "database", "drop", "rename", "with_options", "aggregate_raw_batches",
     "find_raw_batches", "find_one_and_replace", "create_index", "list_indexes", "codec_options"],
)  # fmt: skip
async def test_unknown_operations_are_refused_by_name(clinics: Clinics, name: str) -> None:
    with pytest.raises(TenantScopeRequired):
        getattr(Gadget.guarded(), name)
    with clinics.at_a(), pytest.raises(TenantGuardRefused):
        getattr(Gadget.guarded(), name)
    if name != "estimated_document_count":
        with pytest.raises(TenantGuardRefused):
            getattr(Badge.guarded(), name)


async def test_a_subcollection_cannot_be_reached(clinics: Clinics) -> None:
    collection: Any = Gadget.guarded()
    with clinics.at_a():
        with pytest.raises(TypeError):
            collection["other"]
        with pytest.raises(TenantGuardRefused):
            collection.other  # noqa: B018


async def test_unknown_keyword_arguments_are_refused(clinics: Clinics) -> None:
    gadgets: Any = Gadget.guarded()
    with clinics.at_a():
        with pytest.raises(TenantGuardRefused):
            gadgets.find({}, return_key=True)
        with pytest.raises(TenantGuardRefused):
            gadgets.find({}, oplog_replay=True)
        with pytest.raises(TenantGuardRefused):
            await gadgets.aggregate([], let={"x": 1})


async def test_the_validators_of_the_database_cannot_be_bypassed(clinics: Clinics) -> None:
    gadgets: Any = Gadget.guarded()
    more: dict[str, Any] = {"bypass_document_validation": True}
    with clinics.at_a():
        calls: tuple[Callable[[], Awaitable[Any]], ...] = (
            lambda: gadgets.insert_one({}, **more),
            lambda: gadgets.insert_many([{}], **more),
            lambda: gadgets.update_one({}, {"$set": {"size": 1}}, **more),
            lambda: gadgets.replace_one({}, {}, **more),
            lambda: gadgets.find_one_and_update({}, {"$set": {"size": 1}}, **more),
            lambda: gadgets.bulk_write([], **more),
            lambda: gadgets.aggregate([], **more),
        )
        for call in calls:
            with pytest.raises(TenantGuardRefused):
                await call()
        writer = Gadget.bulk_writer(bypass_document_validation=True)
        await Gadget.insert_one(Gadget(label="x"), bulk_writer=writer)
        with pytest.raises(TenantGuardRefused):
            await writer.commit()


# --- writing ------------------------------------------------------------------------------------------------------


async def test_an_insert_is_stamped(clinics: Clinics) -> None:
    with clinics.at_a():
        made = await Gadget(label="new").insert()
        raw = await Gadget.guarded().insert_one({"label": "newer"})
    for key in (made.id, raw.inserted_id):
        stored = await clinics.raw(Gadget).find_one({"_id": key})
        assert stored is not None
        assert stored["tenant_id"] == clinics.a.id


async def test_a_document_made_under_one_clinic_is_not_inserted_under_another(clinics: Clinics) -> None:
    with clinics.at_a():
        made = Gadget(label="mine")
    with clinics.at_b():
        for call in (made.insert(), Gadget.insert_many([made]), made.save(), made.replace()):
            with pytest.raises((TenantGuardRefused, ValueError)):
                await call
    assert await clinics.raw(Gadget).count_documents({"label": "mine"}) == 0


async def test_a_tenant_id_from_outside_is_refused_when_the_document_is_made(clinics: Clinics) -> None:
    with clinics.at_a():
        with pytest.raises(TenantGuardRefused):
            Gadget(label="x", tenant_id=PydanticObjectId(clinics.b.id))
        made = Gadget(label="x")
        with pytest.raises(ValueError, match="frozen"):
            made.tenant_id = PydanticObjectId(clinics.b.id)


@pytest.mark.parametrize(
    "update",
    [
        {"$set": {"tenant_id": ObjectId()}},
        {"$set": {"tenant_id": None}},
        {"$set": {"tenant_id.x": 1}},
        {"$setOnInsert": {"tenant_id": ObjectId()}},
        {"$unset": {"tenant_id": ""}},
        {"$rename": {"tenant_id": "was"}},
        {"$rename": {"label": "tenant_id"}},
        {"$push": {"tenant_id": 1}},
        {"$currentDate": {"tenant_id": True}},
        {"$max": {"tenant_id": ObjectId()}},
        [{"$set": {"tenant_id": ObjectId()}}],
        [{"$addFields": {"tenant_id.x": 1}}],
        [{"$unset": "tenant_id"}],
        [{"$unset": ["label", "tenant_id"]}],
        [{"$project": {"label": 1}}],
        [{"$replaceRoot": {"newRoot": {"label": "x"}}}],
        [{"$replaceWith": {"label": "x"}}],
        [{"$set": {"a": 1}, "$unset": "tenant_id"}],
        {"tenant_id": ObjectId()},
        {"label": "replacement without operators"},
        [],
        None,
        "nonsense",
    ],
)
async def test_an_update_never_changes_whose_a_document_is(clinics: Clinics, update: Any) -> None:
    before = await clinics.stored(Gadget, clinics.a)
    with clinics.at_a():
        with pytest.raises(TenantGuardRefused):
            await Gadget.guarded().update_many({}, update)
        with pytest.raises(TenantGuardRefused):
            await Gadget.guarded().find_one_and_update({}, update)
        with pytest.raises(TenantGuardRefused):
            await Gadget.guarded().bulk_write([UpdateMany({}, update)])
    assert await clinics.stored(Gadget, clinics.a) == before


async def test_save_and_replace_keep_the_tenant(clinics: Clinics) -> None:
    with clinics.at_a():
        gadget = await Gadget.find_one(Gadget.label == "anvil")
        assert gadget is not None
        gadget.size = 7
        await gadget.save()
        gadget.size = 8
        await gadget.replace()
        await Gadget.guarded().replace_one({"label": "clamp"}, {"label": "clamp", "size": 9})
        assert sorted(row["size"] for row in await Gadget.rows()) == [1, 8, 9]
    assert {row["tenant_id"] for row in await clinics.stored(Gadget, clinics.a)} == {clinics.a.id}


async def test_a_replacement_for_another_clinic_is_refused(clinics: Clinics) -> None:
    with clinics.at_a(), pytest.raises(TenantGuardRefused):
        await Gadget.guarded().replace_one({"label": "clamp"}, {"label": "x", "tenant_id": clinics.b.id})


async def test_an_upsert_lands_in_the_clinic(clinics: Clinics) -> None:
    with clinics.at_a():
        await Gadget.guarded().update_one({"label": "fresh"}, {"$set": {"size": 5}}, upsert=True)
        await Gadget.guarded().update_one({"label": "staged"}, [{"$set": {"size": 5}}], upsert=True)
        await Gadget.guarded().replace_one({"label": "whole"}, {"label": "whole"}, upsert=True)
    rows = await clinics.raw(Gadget).find({"label": {"$in": ["fresh", "staged", "whole"]}}).to_list()
    assert [row["tenant_id"] for row in rows] == [clinics.a.id] * 3


async def test_saving_over_a_foreign_id_says_not_found_and_changes_nothing(clinics: Clinics) -> None:
    foreign = await one(clinics, clinics.b)
    with clinics.at_a():
        mine = Gadget(id=foreign["_id"], label="stolen")
        with pytest.raises(NotFound):
            await mine.save()
        with pytest.raises(NotFound):
            await mine.replace()
        gadgets = Gadget.guarded()
        by_id = {"_id": foreign["_id"]}
        for call in (
            gadgets.update_one(by_id, {"$set": {"size": 1}}, upsert=True),
            gadgets.update_many(by_id, {"$set": {"size": 1}}, upsert=True),
            gadgets.replace_one(by_id, {"label": "x"}, upsert=True),
            gadgets.find_one_and_update(by_id, {"$set": {"size": 1}}, upsert=True),
            gadgets.bulk_write([UpdateOne(by_id, {"$set": {"size": 1}}, upsert=True)]),
        ):
            with pytest.raises(NotFound):
                await call
    assert await one(clinics, clinics.b) == foreign


async def test_other_duplicates_are_told_as_such(clinics: Clinics) -> None:
    with clinics.at_a(), pytest.raises(DuplicateKeyError):
        await Gadget(label="anvil").save()


async def test_updating_a_vanished_document_says_not_found(clinics: Clinics) -> None:
    with clinics.at_a():
        gadget = await Gadget.find_one(Gadget.label == "anvil")
        assert gadget is not None
        await Gadget.find_one(Gadget.id == gadget.id).delete()
        with pytest.raises(NotFound):
            await gadget.update({"$set": {"size": 1}})
        with pytest.raises(NotFound):
            await gadget.set({Gadget.size: 1})


async def test_upsert_of_beanie_is_refused_for_it_is_not_atomic(clinics: Clinics) -> None:
    with clinics.at_a():
        new = Gadget(label="x")
        with pytest.raises(TenantGuardRefused):
            await Gadget.find_one(Gadget.label == "x").upsert({"$set": {"size": 1}}, on_insert=new)
        with pytest.raises(TenantGuardRefused):
            await Gadget.find(Gadget.label == "x").upsert({"$set": {"size": 1}}, on_insert=new)
        with pytest.raises(TenantGuardRefused):
            await Gadget.find_one(Gadget.label == "x").update({"$set": {"size": 1}}).upsert(on_insert=new)


async def test_the_database_itself_refuses_a_document_without_a_tenant(clinics: Clinics) -> None:
    for document in (Gadget, Person):
        with pytest.raises(WriteError):
            await clinics.raw(document).insert_one({"label": "nobody's"})
        with pytest.raises(WriteError):
            await clinics.raw(document).update_one({}, {"$unset": {"tenant_id": "", "tenant_ids": ""}})


# --- versions -----------------------------------------------------------------------------------------------------


async def test_change_is_compare_and_set(clinics: Clinics) -> None:
    with clinics.at_a():
        gadget = await Gadget(label="v").insert()
        assert gadget.id is not None
        changed = await Gadget.change(gadget.id, 1, {"size": 4})
        assert (changed.version, changed.size) == (2, 4)
        assert changed.updated_at >= gadget.updated_at
        with pytest.raises(Conflict):
            await Gadget.change(gadget.id, 1, {"size": 5})
        with pytest.raises(NotFound):
            await Gadget.change(ObjectId(), 1, {"size": 5})
        with pytest.raises(Conflict):
            await Gadget.change(gadget.id, None, {"size": 5}, filter={"size": 99})
        with pytest.raises(ValueError, match="tenant_id"):
            await Gadget.change(gadget.id, 2, {"tenant_id": clinics.b.id})
    with clinics.at_b(), pytest.raises(NotFound):
        await Gadget.change(gadget.id, 2, {"size": 5})


async def test_times_are_aware_and_come_back_as_they_were_stored(clinics: Clinics) -> None:
    with clinics.at_a():
        gadget = await Gadget(label="t").insert()
        again = await Gadget.get(gadget.id)
    assert again is not None
    assert again.created_at == gadget.created_at
    assert again.created_at.tzinfo is not None


# --- queries built here, run there --------------------------------------------------------------------------------


async def test_a_query_built_under_one_clinic_does_not_run_under_another(clinics: Clinics) -> None:
    with clinics.at_a():
        many, first = Gadget.find({}), Gadget.find_one({})
        pending: list[Any] = [
            Gadget.find_one({}),
            Gadget.find_one({}).update({"$set": {"size": 9}}),
            Gadget.find({}).update({"$set": {"size": 9}}),
            Gadget.find({}).delete(),
            Gadget.find_one({}).delete(),
        ]
        piped = Gadget.aggregate([])
        linked = Remark.find_one({}, fetch_links=True)
    before = await clinics.stored(Gadget, clinics.b)
    with clinics.at_b():
        for call in (
            many.to_list(), many.count(), many.exists(), many.distinct("label"), many.first_or_none(),
            piped.to_list(), many.sum("size"), first.count(), linked.count(),
        ):  # fmt: skip
            with pytest.raises(TenantGuardRefused):
                await call
        for query in [*pending, linked]:
            with pytest.raises(TenantGuardRefused):
                await query
        with pytest.raises(TenantGuardRefused):
            many.update({"$set": {"size": 9}})
        with pytest.raises(TenantGuardRefused):
            async for _ in many:
                pass
    with pytest.raises(TenantGuardRefused):
        await many.to_list()
    assert await clinics.stored(Gadget, clinics.b) == before


async def test_a_query_built_without_a_clinic_does_not_run(clinics: Clinics) -> None:
    query, update = Gadget.find({}), Gadget.find({}).update({"$set": {"size": 9}})
    with pytest.raises(TenantScopeRequired):
        await query.to_list()
    with clinics.at_a():
        with pytest.raises(TenantGuardRefused):
            await query.to_list()
        with pytest.raises(TenantGuardRefused):
            await update


async def test_a_cursor_is_read_under_the_clinic_that_opened_it(clinics: Clinics) -> None:
    with clinics.at_a():
        cursor = Gadget.guarded().find({})
    with clinics.at_b():
        with pytest.raises(TenantGuardRefused):
            await cursor.to_list()
        with pytest.raises(TenantGuardRefused):
            await anext(cursor)
    assert not hasattr(cursor, "collection")


# --- bulk writes --------------------------------------------------------------------------------------------------


async def test_bulk_writes_are_held_to_the_clinic(clinics: Clinics) -> None:
    before = await clinics.stored(Gadget, clinics.b)
    with clinics.at_a():
        await Gadget.guarded().bulk_write(
            [
                InsertOne({"label": "bulk"}),
                UpdateMany({}, {"$inc": {"size": 100}}),
                UpdateOne({"label": "bulk"}, {"$set": {"parent": "x"}}),
                ReplaceOne({"label": "anvil"}, {"label": "anvil", "size": 1}),
                DeleteMany({"label": "clamp"}),
            ]
        )
        assert await Gadget.count() == 3
        with pytest.raises(TenantGuardRefused):
            await Gadget.guarded().bulk_write([InsertOne({"tenant_id": clinics.b.id})])
        with pytest.raises(TenantGuardRefused):
            await Gadget.guarded().bulk_write([object()])
    assert await clinics.stored(Gadget, clinics.b) == before


async def test_a_bulk_writer_belongs_to_the_clinic_it_was_filled_under(clinics: Clinics) -> None:
    with clinics.at_a():
        writer = Gadget.bulk_writer()
        await Gadget.insert_one(Gadget(label="queued"), bulk_writer=writer)
        await Gadget.find_one({"label": "anvil"}).update({"$set": {"size": 9}}, bulk_writer=writer)
        await Gadget.find({"label": "clamp"}).delete(bulk_writer=writer)
    with clinics.at_b():
        with pytest.raises(TenantGuardRefused):
            await writer.commit()
        with pytest.raises(TenantGuardRefused):
            await Gadget.insert_one(Gadget(label="b's"), bulk_writer=writer)
        writer.operations.pop()
    with clinics.at_a():
        await writer.commit()
    assert await clinics.raw(Gadget).count_documents({"label": "queued", "tenant_id": clinics.a.id}) == 1
    assert len(await clinics.stored(Gadget, clinics.b)) == 3


async def test_shared_documents_queued_under_one_clinic_are_not_stamped_by_another(clinics: Clinics) -> None:
    with clinics.at_a():
        writer = Person.bulk_writer()
        await Person.insert_one(Person(name="queued"), bulk_writer=writer)
    with clinics.at_b(), pytest.raises(TenantGuardRefused):
        await writer.commit()


async def test_a_bulk_writer_that_knows_no_clinic_is_refused(clinics: Clinics) -> None:
    with clinics.at_a():
        writer = BulkWriter()
        await Gadget.insert_one(Gadget(label="x"), bulk_writer=writer)
        with pytest.raises(TenantGuardRefused):
            await writer.commit()


# --- links --------------------------------------------------------------------------------------------------------


async def test_links_are_fetched_within_the_clinic(clinics: Clinics) -> None:
    foreign = await one(clinics, clinics.b)
    own = await one(clinics, clinics.a)
    with clinics.at_a():
        good = await Remark(text="good", gadget=Gadget.link_from_id(own["_id"])).insert()
        bad = await Remark(text="bad", gadget=Gadget.link_from_id(foreign["_id"])).insert()
        fetched = await Remark.find_one({"_id": good.id}, fetch_links=True)
        assert fetched is not None
        assert isinstance(fetched.gadget, Gadget)
        unfetched = await Remark.find_one({"_id": bad.id}, fetch_links=True)
        assert unfetched is not None
        assert not isinstance(unfetched.gadget, Gadget)
        await bad.fetch_link("gadget")
        assert not isinstance(bad.gadget, Gadget)


async def test_links_are_written_within_the_clinic(clinics: Clinics) -> None:
    with clinics.at_b():
        foreign = await Gadget.find_one({"label": "anvil"})
    assert foreign is not None
    with clinics.at_a():
        remark = Remark(text="x", gadget=foreign)
        with pytest.raises((TenantGuardRefused, NotFound)):
            await remark.insert(link_rule=WriteRules.WRITE)


# --- definitions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"name": ""},
        {"name": "test_x", "use_cache": True},
        {"name": "test_x", "is_root": True},
        {"name": "test_x", "union_doc": object},
        {"name": "test_x", "timeseries": object()},
        {"name": "test_x", "use_revision": True},
        {"name": "test_badges"},
    ],
)
def test_a_definition_that_the_guard_could_not_hold_is_refused(settings: dict[str, Any]) -> None:
    inner = type("Settings", (), {**settings, "__qualname__": "Bad.Settings"})
    body = {"Settings": inner, "__module__": __name__, "__qualname__": "Bad"}
    with pytest.raises(TenantGuardRefused):
        type("Bad", (TenantDocument,), body)


def test_a_child_of_a_stored_document_is_refused() -> None:
    with pytest.raises(TenantGuardRefused):

        class Child(Gadget):
            pass


def test_fields_that_nobody_declared_are_not_allowed_in() -> None:
    with pytest.raises(TenantGuardRefused):

        class Loose(PlatformDocument):
            model_config = {"extra": "allow"}

            class Settings:
                name = "test_loose"


async def test_the_drivers_collection_is_not_kept_in_the_settings(clinics: Clinics) -> None:
    assert Gadget.get_settings().pymongo_collection is None


async def test_views_unions_and_plain_documents_are_not_initialised(clinics: Clinics) -> None:
    class Seen(View):
        label: str

        class Settings:
            source = Gadget
            pipeline: list[Any] = []

    class Both(UnionDoc):
        class Settings:
            name = "test_both"

    for document in (Seen, Both, TenantDocument):
        with pytest.raises(TenantGuardRefused):
            await init_documents(clinics.database, [document])
    with pytest.raises(TenantGuardRefused):
        await init_documents(clinics.database, [Gadget, Gadget])


def test_a_document_with_a_plain_date_cannot_be_defined() -> None:
    with pytest.raises(TenantGuardRefused, match="Day"):

        class Holiday(TenantDocument):
            on: date | None = None

            class Settings:
                name = "test_holidays_with_dates"
