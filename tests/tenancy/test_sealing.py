"""Sealed fields: plain to the clinic that wrote them, closed to a thief of the database, unforgeable, findable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Annotated, Any

import bson
import pytest
import pytest_asyncio
from bson import Binary, ObjectId
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from pymongo import ASCENDING, IndexModel, InsertOne, ReplaceOne, UpdateOne
from pymongo.errors import DuplicateKeyError

from app.config import Settings
from app.db.documents import init_documents
from app.db.schema import apply_schema
from app.errors import TenantGuardRefused
from app.tenancy.keyring import Keyring
from app.tenancy.kinds import Kind
from app.tenancy.sealing import (
    SUBTYPE,
    SealBroken,
    Sealed,
    blind,
    compact,
    is_sealed,
    key_version,
    open_one,
    open_rows,
    open_value,
    reads_sealed,
    register_seals,
    seal_document,
    seal_one,
    seal_update,
    seal_value,
    sealed_in,
    set_key_source,
)
from models.base import TenantDocument, Versioned
from models.values import Line, Text, Value
from tests.fixtures.guard import Clinics

CANARY = "canary-of-a-secret"
OWN, OTHER = ObjectId(), ObjectId()
RING = Keyring({1: b"1" * 32, 2: b"2" * 32})


class Person(Value):
    name: Line
    secret: Annotated[Line | None, Sealed()] = None


class Dossier(Versioned, TenantDocument):
    """Has a mark in each place in which one may stand."""

    label: str
    note: Annotated[Text | None, Sealed()] = None
    number: Annotated[Line | None, Sealed(blind="number_index")] = None
    tags: Annotated[list[Line], Sealed()] = Field(default_factory=list)
    holder: Person | None = None
    people: list[Person] = Field(default_factory=list)

    class Settings:
        name = "test_dossiers"
        indexes = (
            IndexModel([("tenant_id", ASCENDING), ("label", ASCENDING)], name="label"),
            IndexModel(
                [("tenant_id", ASCENDING), ("number_index", ASCENDING)],
                name="number",
                unique=True,
                partialFilterExpression={"number_index": {"$exists": True}},
            ),
        )


class Keys:
    """A key source in memory: each clinic's ring, and how often it was asked."""

    def __init__(self) -> None:
        self.rings: dict[ObjectId, Keyring] = {}
        self.asked = 0

    async def ring(self, own: ObjectId, *, create: bool, needs: Iterable[int] = ()) -> Keyring:
        self.asked += 1
        if create:
            self.rings.setdefault(own, Keyring({1: own.binary.ljust(32, b".")}))
        return self.rings.get(own, Keyring({}))

    def turn(self, own: ObjectId) -> None:
        """Gives the clinic a second version beside the first."""
        self.rings[own] = Keyring({1: own.binary.ljust(32, b"."), 2: own.binary.ljust(32, b"!")})


@pytest.fixture
def keys() -> Iterable[Keys]:
    source = Keys()
    before = set_key_source(source)
    yield source
    set_key_source(before)


@pytest_asyncio.fixture
async def sealed(clinics: Clinics, settings: Settings, keys: Keys) -> AsyncIterator[Clinics]:
    await apply_schema(clinics.database, documents=[Dossier], force=True)
    await init_documents(clinics.database, [Dossier])
    yield clinics
    await clinics.raw(Dossier).delete_many({})


def present(row: Any) -> Any:
    """A row that must have been found."""
    assert row is not None
    return row


async def row_of(clinics: Clinics, id: Any) -> dict[str, Any]:
    row: dict[str, Any] = present(await clinics.raw(Dossier).find_one({"_id": id}))
    return row


def dossier(**values: Any) -> Dossier:
    secret = {
        "note": f"{CANARY} note",
        "number": f"{CANARY}-1",
        "tags": [CANARY, "other"],
        "holder": Person(name="Ann", secret=f"{CANARY} h"),
        "people": [Person(name="Bob", secret=f"{CANARY} p"), Person(name="Cyd")],
    }
    return Dossier(**{"label": "one", **secret, **values})


def plainly(document: Dossier | dict[str, Any]) -> dict[str, Any]:
    """The content, without what the database adds."""
    found = document.model_dump() if isinstance(document, BaseModel) else document
    return {name: found.get(name) for name in ("label", "note", "number", "tags", "holder", "people")}


# --- one value --------------------------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    texts | st.binary() | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_what_is_sealed_opens_as_it_was(value: Any) -> None:
    assert open_value(RING, OWN, "c.f", OWN, seal_value(RING, OWN, "c.f", OWN, value)) == value


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=4))
def test_nothing_plain_is_in_the_stored_bytes(text: str) -> None:
    assert text.encode() not in bytes(seal_value(RING, OWN, "c.f", OWN, text))


@given(st.text(min_size=0, max_size=20, alphabet="abc"), st.data())
def test_any_flipped_bit_is_noticed(text: str, data: st.DataObject) -> None:
    stored = seal_value(RING, OWN, "c.f", OWN, text)
    bit = data.draw(st.integers(0, len(stored) * 8 - 1))
    forged = bytearray(stored)
    forged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealBroken):
        open_value(RING, OWN, "c.f", OWN, Binary(bytes(forged), SUBTYPE))


@given(st.integers(0, 60))
def test_a_seal_that_was_cut_short_is_noticed(length: int) -> None:
    stored = seal_value(RING, OWN, "c.f", OWN, "a text of some length, longer than that")
    with pytest.raises(SealBroken):
        open_value(RING, OWN, "c.f", OWN, Binary(bytes(stored[:length]), SUBTYPE))


@pytest.mark.parametrize(
    ("own", "field", "id", "ring"),
    [
        (OTHER, "c.f", OWN, RING),
        (OWN, "c.g", OWN, RING),
        (OWN, "d.f", OWN, RING),
        (OWN, "c.f", OTHER, RING),
        (OWN, "c.f", str(OWN), RING),
        (OWN, "c.f", OWN, Keyring({2: b"3" * 32})),
        (OWN, "c.f", OWN, Keyring({1: b"1" * 32})),
        (OWN, "c.f", OWN, Keyring({})),
    ],
    ids=["clinic", "field", "collection", "document", "type of id", "key", "version", "no key"],
)
def test_it_opens_nowhere_else(own: ObjectId, field: str, id: Any, ring: Keyring) -> None:
    stored = seal_value(RING, OWN, "c.f", OWN, CANARY)
    with pytest.raises(SealBroken) as refused:
        open_value(ring, own, field, id, stored)
    assert CANARY not in str(refused.value)


def test_equal_values_do_not_look_alike() -> None:
    assert seal_value(RING, OWN, "c.f", OWN, CANARY) != seal_value(RING, OWN, "c.f", OWN, CANARY)


def test_a_ring_shows_no_key() -> None:
    ring = Keyring({1: b"k" * 32})
    ring.cipher(1)
    assert repr(ring) == str(ring) == "Keyring(versions=[1])"


async def test_a_value_without_a_model_can_be_sealed_for_a_clinic(keys: Keys) -> None:
    stored = await seal_one(OWN, "tenants.database_uri", OWN, CANARY)
    assert await open_one(OWN, "tenants.database_uri", OWN, stored) == CANARY
    with pytest.raises(SealBroken):
        await open_one(OWN, "tenants.other", OWN, stored)


# --- documents through the guard --------------------------------------------------------------------------------------


async def test_what_is_stored_is_closed_and_what_is_read_is_plain(sealed: Clinics, keys: Keys) -> None:
    with sealed.at_a():
        made = await dossier().insert()
        assert plainly(present(await Dossier.find_one({"label": "one"}))) == plainly(dossier())
        assert plainly((await Dossier.rows())[0]) == plainly(dossier())
    [row] = await sealed.stored(Dossier, sealed.a)
    assert CANARY.encode() not in bson.encode(row)
    assert row["holder"]["name"] == "Ann"
    assert [is_sealed(one) for one in (row["note"], row["number"], row["tags"], row["holder"]["secret"])] == [True] * 4
    assert [is_sealed(row["people"][0]["secret"]), row["people"][1]["secret"]] == [True, None]
    assert made.id == row["_id"]


WRITES: dict[str, Callable[[Any], Any]] = {
    "insert": lambda _: dossier(label="new").insert(),
    "insert_many": lambda _: Dossier.insert_many([dossier(label="new"), dossier(label="new2", number=None)]),
    "insert_one": lambda _: Dossier.guarded().insert_one({"note": CANARY}),
    "save": lambda one: _changed(one).save(),
    "replace": lambda one: _changed(one).replace(),
    "set": lambda one: one.set({"note": CANARY}),
    "change": lambda one: Dossier.change(one.id, 1, {"people": [{"name": "Dan", "secret": CANARY}]}),
    "update_one": lambda one: Dossier.guarded().update_one({"_id": one.id}, {"$set": {"holder.secret": CANARY}}),
    "update_many": lambda one: Dossier.guarded().update_many({"_id": one.id}, {"$set": {"note": CANARY}}),
    "$push": lambda one: Dossier.guarded().update_one(
        {"_id": one.id}, {"$push": {"people": {"name": "D", "secret": CANARY}}}
    ),
    "$push $each": lambda one: Dossier.guarded().update_one(
        {"_id": one.id}, {"$push": {"people": {"$each": [{"name": "D", "secret": CANARY}], "$position": 0}}}
    ),
    "positional": lambda one: Dossier.guarded().update_one(
        {"_id": one.id, "people.name": "Bob"}, {"$set": {"people.$.secret": CANARY}}
    ),
    "by place": lambda one: Dossier.guarded().update_one({"_id": one.id}, {"$set": {"people.0.secret": CANARY}}),
    "upsert": lambda _: Dossier.guarded().update_one(
        {"_id": ObjectId()}, {"$set": {"label": "x"}, "$setOnInsert": {"number": CANARY}}, upsert=True
    ),
    "find_one_and_update": lambda one: Dossier.guarded().find_one_and_update(
        {"_id": one.id}, {"$set": {"tags": [CANARY]}}
    ),
    "bulk": lambda one: Dossier.guarded().bulk_write(
        [
            InsertOne({"_id": ObjectId(), "note": CANARY}),
            UpdateOne({"_id": one.id}, {"$set": {"note": CANARY}}),
            ReplaceOne({"_id": one.id}, {"label": "r", "number": CANARY}),
        ]
    ),
}


def _changed(one: Dossier) -> Dossier:
    one.note = f"{CANARY} changed"
    return one


@pytest.mark.parametrize("name", WRITES)
async def test_no_way_to_write_leaves_anything_plain(name: str, sealed: Clinics) -> None:
    with sealed.at_a():
        one = await Dossier(label="empty", people=[Person(name="Bob")], holder=Person(name="Ann")).insert()
        sealed.seen.clear()
        await WRITES[name](one)
        rows = await Dossier.rows()
    assert CANARY in str(rows), "it must have been written"
    stored = await sealed.stored(Dossier, sealed.a)
    assert CANARY.encode() not in bson.encode({"rows": stored})
    for event, _ in sealed.seen:
        assert CANARY.encode() not in bson.encode(dict(event.command))
    assert all("number_index" not in row for row in rows)


async def test_reading_through_beanie_and_the_driver_brings_plain_values(sealed: Clinics) -> None:
    with sealed.at_a():
        one = await dossier().insert()
        guarded = Dossier.guarded()
        assert present(await guarded.find_one({"_id": one.id}, {"note": 1, "_id": 0}))["note"] == one.note
        assert [row["note"] async for row in guarded.find({})] == [one.note]
        assert present(await guarded.find_one_and_update({"_id": one.id}, {"$set": {"label": "b"}}))["note"] == one.note
        assert (await Dossier.change(one.key, None, {"label": "c"})).people[0].secret == f"{CANARY} p"
        assert (await (await guarded.aggregate([{"$match": {"label": "c"}}])).to_list())[0]["note"] == one.note
        assert present(await Dossier.get(one.key)).tags == one.tags
        assert present(await guarded.find_one_and_delete({"_id": one.id}))["note"] == one.note


async def test_clearing_a_field_clears_what_it_was_found_by(sealed: Clinics) -> None:
    with sealed.at_a():
        for number, update in enumerate(({"$unset": {"number": ""}}, {"$set": {"number": None}})):
            one = await dossier(number=f"N-{number}").insert()
            assert "number_index" in await row_of(sealed, one.id)
            await Dossier.guarded().update_one({"_id": one.id}, update)
            row = await row_of(sealed, one.id)
            assert "number_index" not in row
            assert row.get("number") is None


REFUSED: dict[str, tuple[dict[str, Any], Any]] = {
    "not by its id": ({"label": "one"}, {"$set": {"note": "x"}}),
    "by several ids": ({"_id": {"$in": [OWN, OTHER]}}, {"$set": {"note": "x"}}),
    "a list without its id": ({"label": "one"}, {"$push": {"people": {"name": "x", "secret": "y"}}}),
    "$inc": ({"_id": OWN}, {"$inc": {"note": 1}}),
    "$rename": ({"_id": OWN}, {"$rename": {"note": "label"}}),
    "$rename to": ({"_id": OWN}, {"$rename": {"label": "note"}}),
    "$min": ({"_id": OWN}, {"$min": {"number": "a"}}),
    "$addToSet": ({"_id": OWN}, {"$addToSet": {"people": {"name": "x"}}}),
    "$push into a sealed list": ({"_id": OWN}, {"$push": {"tags": "x"}}),
    "inside a sealed value": ({"_id": OWN}, {"$set": {"tags.0": "x"}}),
    "$pull by a sealed value": ({"_id": OWN}, {"$pull": {"people": {"secret": "x"}}}),
    "$push in the order of a sealed value": (
        {"_id": OWN},
        {"$push": {"people": {"$each": [], "$sort": {"secret": 1}}}},
    ),
    "the blind column": ({"_id": OWN}, {"$set": {"number_index": [b"x"]}}),
    "a pipeline": ({"_id": OWN}, [{"$set": {"note": "x"}}]),
    "a pipeline that copies": ({"_id": OWN}, [{"$set": {"label": "$note"}}]),
    "a pipeline that drops": ({"_id": OWN}, [{"$unset": "note"}]),
    "a filter by a sealed value": ({"_id": OWN, "note": "x"}, {"$set": {"label": "x"}}),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_change_that_cannot_be_bound_is_refused_and_changes_nothing(name: str, sealed: Clinics) -> None:
    criteria, update = REFUSED[name]
    with sealed.at_a():
        await dossier(id=OWN).insert()
        before = await sealed.stored(Dossier, sealed.a)
        for method in ("update_one", "update_many", "find_one_and_update"):
            with pytest.raises(TenantGuardRefused):
                await getattr(Dossier.guarded(), method)(criteria, update)
    assert await sealed.stored(Dossier, sealed.a) == before


@pytest.mark.parametrize(
    "criteria",
    [
        {"note": CANARY},
        {"note": {"$gt": ""}},
        {"note": {"$in": [CANARY]}},
        {"$or": [{"label": "x"}, {"note": {"$regex": "^c"}}]},
        {"people": {"$elemMatch": {"secret": "x"}}},
        {"people": {"$elemMatch": {"$or": [{"secret": "x"}]}}},
        {"people.secret": "x"},
        {"people.0.secret": "x"},
        {"holder": {"name": "Ann", "secret": "x"}},
        {"tags.0": "x"},
        {"$nor": [{"note": {"$not": {"$eq": "x"}}}]},
        {"$expr": {"$eq": ["$note", "x"]}},
        {"$expr": {"$eq": ["$$ROOT.note", "x"]}},
    ],
    ids=str,
)
async def test_a_filter_on_what_is_sealed_is_refused_rather_than_empty(criteria: Any, sealed: Clinics) -> None:
    with sealed.at_a():
        guarded = Dossier.guarded()
        for work in (
            lambda: guarded.find(criteria).to_list(),
            lambda: guarded.find_one(criteria),
            lambda: guarded.count_documents(criteria),
            lambda: guarded.distinct("label", criteria),
            lambda: guarded.delete_many(criteria),
            lambda: guarded.update_one({"_id": OWN, **criteria}, {"$set": {"label": "x"}}),
        ):
            with pytest.raises(TenantGuardRefused, match="sealed"):
                await work()


async def test_whether_there_is_a_value_may_be_asked(sealed: Clinics) -> None:
    with sealed.at_a():
        full, empty = await dossier().insert(), await Dossier(label="empty").insert()
        asked: list[tuple[dict[str, Any], Any]] = [
            ({"note": None}, empty.id),
            ({"note": {"$ne": None}}, full.id),
            ({"people.secret": {"$exists": True}}, full.id),
        ]
        for criteria, id in asked:
            assert [row["_id"] for row in await Dossier.rows(criteria)] == [id]


@pytest.mark.parametrize(
    "pipeline",
    [
        [{"$match": {"note": "x"}}],
        [{"$group": {"_id": "$note"}}],
        [{"$project": {"other": "$note"}}],
        [{"$addFields": {"note": 1}}],
        [{"$group": {"_id": None, "all": {"$push": "$people.secret"}}}],
        [{"$sort": {"note": 1}}],
        [{"$unwind": "$tags"}],
    ],
    ids=str,
)
async def test_a_pipeline_does_not_reckon_with_what_is_sealed(pipeline: Any, sealed: Clinics) -> None:
    with sealed.at_a(), pytest.raises(TenantGuardRefused, match="sealed"):
        await Dossier.guarded().aggregate(pipeline)


async def test_order_and_distinct_values_of_seals_mean_nothing_and_are_refused(sealed: Clinics) -> None:
    with sealed.at_a():
        for work in (
            lambda: Dossier.guarded().distinct("note"),
            lambda: Dossier.guarded().distinct("people"),
            lambda: Dossier.rows(sort=[("note", 1)]),
        ):
            with pytest.raises(TenantGuardRefused, match="sealed"):
                await work()


# --- forgeries --------------------------------------------------------------------------------------------------------


async def test_a_seal_that_was_moved_does_not_open(sealed: Clinics) -> None:
    with sealed.at_a():
        one, two = await dossier(number="A-1").insert(), await dossier(number="A-2").insert()
    with sealed.at_b():
        theirs = await dossier().insert()
    stolen = await row_of(sealed, one.id)
    for id, change in (
        (two.id, {"note": stolen["note"]}),
        (one.id, {"number": stolen["note"]}),
        (theirs.id, {"note": stolen["note"]}),
        (one.id, {"note": Binary(stolen["note"][:-1] + b"\0", SUBTYPE)}),
    ):
        before = await row_of(sealed, id)
        await sealed.raw(Dossier).update_one({"_id": id}, {"$set": change})
        with sealed.at_b() if id == theirs.id else sealed.at_a():
            with pytest.raises(SealBroken):
                await Dossier.rows({"_id": id})
            assert (await Dossier.rows({"_id": id}, projection={"label": 1}))[0]["label"] == "one"
        await sealed.raw(Dossier).replace_one({"_id": id}, before)


async def test_values_from_before_the_mark_stay_readable(sealed: Clinics) -> None:
    old = {"_id": ObjectId(), "tenant_id": sealed.a.id, "label": "old", "note": "plain", "people": [{"secret": "p"}]}
    await sealed.raw(Dossier).insert_one(old)
    with sealed.at_a():
        [row] = await Dossier.rows()
    assert (row["note"], row["people"][0]["secret"]) == ("plain", "p")


# --- finding ----------------------------------------------------------------------------------------------------------


async def test_an_equal_value_is_found_however_it_is_written(sealed: Clinics) -> None:
    with sealed.at_a():
        one = await dossier(number="ab 12.34-X").insert()
        await dossier(number="AB 12.34-Y").insert()
        for asked in ("AB1234X", "ab-12-34-x", " A B 1234x"):
            assert [row["_id"] for row in await Dossier.rows(await blind(Dossier, "number", asked))] == [one.id]
        for asked in ("AB1234", "", "--", CANARY):
            assert await Dossier.rows(await blind(Dossier, "number", asked)) == []


async def test_two_clinics_indexes_of_one_value_differ(sealed: Clinics) -> None:
    found = []
    for tenant in (sealed.a, sealed.b):
        with sealed.at(tenant):
            one = await dossier(number="AB 1234").insert()
            found.append((await row_of(sealed, one.id))["number_index"])
            assert len(await Dossier.rows(await blind(Dossier, "number", "AB1234"))) == 1
    assert [len(index) for index in found] == [1, 1]
    assert found[0] != found[1]


async def test_a_clinic_without_a_key_finds_nothing_and_gets_none_by_asking(sealed: Clinics, keys: Keys) -> None:
    with sealed.at_b():
        assert await Dossier.rows(await blind(Dossier, "number", "AB1234")) == []
    assert keys.rings == {}


async def test_a_value_can_be_unique_within_a_clinic_also_while_keys_turn(sealed: Clinics, keys: Keys) -> None:
    with sealed.at_a():
        await dossier(number="AB 1234").insert()
        with pytest.raises(DuplicateKeyError):
            await dossier(number="ab1234").insert()
        keys.turn(sealed.a.id)
        with pytest.raises(DuplicateKeyError):
            await dossier(number="AB-1234").insert()
        assert len(await Dossier.rows(await blind(Dossier, "number", "AB1234"))) == 1
        for label in ("x", "y"):
            await dossier(label=label, number=None).insert()
    with sealed.at_b():
        await dossier(number="AB 1234").insert()


async def test_the_index_makes_it_fast(sealed: Clinics) -> None:
    with sealed.at_a():
        await dossier(number="AB 1234").insert()
        wanted = await blind(Dossier, "number", "AB1234")
    plan = await sealed.raw(Dossier).find({"$and": [{"tenant_id": {"$eq": sealed.a.id}}, wanted]}).explain()
    assert "'indexName': 'number'" in str(plan["queryPlanner"]), "the planner may choose it"


# --- keys -------------------------------------------------------------------------------------------------------------


async def test_readers_take_every_version_and_writers_the_newest(sealed: Clinics, keys: Keys) -> None:
    with sealed.at_a():
        old = await dossier(number="A-1").insert()
        keys.turn(sealed.a.id)
        new = await dossier(number="A-2").insert()
        assert {row["note"] for row in await Dossier.rows()} == {f"{CANARY} note"}
    versions = [key_version((await row_of(sealed, one.id))["note"]) for one in (old, new)]
    assert versions == [1, 2]


async def test_a_page_asks_for_the_key_once_and_other_collections_never(sealed: Clinics, keys: Keys) -> None:
    with sealed.at_a():
        await asyncio.gather(*(dossier(label=str(n), number=None).insert() for n in range(20)))
        keys.asked = 0
        assert len(await Dossier.rows()) == 20
        assert keys.asked == 1
        assert len(await Dossier.rows(projection={"label": 1})) == 20
        assert keys.asked == 1


async def test_without_a_key_source_nothing_is_written(sealed: Clinics) -> None:
    set_key_source(None)
    with sealed.at_a(), pytest.raises(TenantGuardRefused, match="key source"):
        await dossier().insert()
    assert await sealed.stored(Dossier, sealed.a) == []


# --- marks ------------------------------------------------------------------------------------------------------------


def test_marks_are_found_at_any_depth() -> None:
    assert set(sealed_in("test_dossiers")) == {"note", "number", "tags", "holder.secret", "people.secret"}
    assert dict(sealed_in("test_gadgets")) == {}


class ListItems(BaseModel):
    notes: list[Annotated[str, Sealed()]]


class WithinMapping(BaseModel):
    class Part(BaseModel):
        x: Annotated[str, Sealed()]

    parts: dict[str, Part]


class BlindPart(BaseModel):
    class Part(BaseModel):
        x: Annotated[str, Sealed(blind="x_index")]

    part: Part


class BlindTaken(BaseModel):
    x: Annotated[str, Sealed(blind="y")]
    y: str


class SealedOwner(BaseModel):
    tenant_id: Annotated[str, Sealed()]


class Fine(BaseModel):
    x: Annotated[str, Sealed()]


@pytest.mark.parametrize("model", [ListItems, WithinMapping, BlindPart, BlindTaken, SealedOwner])
def test_a_mark_that_could_not_be_kept_is_refused_when_the_model_is_defined(model: Any) -> None:
    with pytest.raises(TenantGuardRefused):
        register_seals("test_nowhere", Kind.TENANT, model)
    assert dict(sealed_in("test_nowhere")) == {}


@pytest.mark.parametrize("kind", [Kind.SHARED, Kind.PLATFORM])
def test_a_mark_on_what_is_no_clinics_own_is_refused(kind: Kind) -> None:
    with pytest.raises(TenantGuardRefused, match="not one clinic's own"):
        register_seals("test_nowhere", kind, Fine)


@pytest.mark.parametrize(
    ("projection", "reads"),
    [
        ({}, True),
        ({"note": 1}, True),
        ({"people": 1}, True),
        ({"holder.secret": 1}, True),
        ({"label": 1}, False),
        ({"label": 1, "_id": 0}, False),
        ({"note": 0, "number": 0, "tags": 0, "holder": 0, "people": 0}, False),
        ({"note": 0}, True),
        ({"_id": 0}, True),
    ],
    ids=str,
)
def test_an_id_is_read_where_a_seal_is(projection: dict[str, int], reads: bool) -> None:
    assert reads_sealed("test_dossiers", projection) is reads


@given(st.text())
def test_a_compact_number_says_the_same_again(text: str) -> None:
    assert compact(compact(text)) == compact(text)


# --- the functions by themselves --------------------------------------------------------------------------------------


async def test_sealing_leaves_what_it_was_given_alone(keys: Keys) -> None:
    document = {"label": "x", "note": CANARY, "people": [{"secret": CANARY}]}
    made = await seal_document(OWN, "test_dossiers", document)
    assert document == {"label": "x", "note": CANARY, "people": [{"secret": CANARY}]}
    assert made["_id"]
    update = {"$set": {"people": [{"secret": CANARY}]}}
    await seal_update(OWN, "test_dossiers", {"_id": OWN}, update)
    assert update == {"$set": {"people": [{"secret": CANARY}]}}


async def test_a_row_without_its_id_does_not_open(keys: Keys) -> None:
    made = await seal_document(OWN, "test_dossiers", {"note": CANARY})
    with pytest.raises(SealBroken, match="without the _id"):
        await open_rows(OWN, "test_dossiers", [{"note": made["note"]}])
