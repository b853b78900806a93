"""Every model at two clinics: the database refuses documents without a clinic, the guard whatever is another's."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from bson import ObjectId
from pymongo import DeleteOne
from pymongo.errors import WriteError

from app.config import Settings
from app.db.schema import apply_schema
from app.errors import NotFound, TenantGuardRefused, TenantScopeRequired
from app.tenancy.crossing import tenant_scope
from app.tenancy.cursor import GuardedCursor
from app.tenancy.kinds import Kind, kind_of
from app.tenancy.scope import Scope, open_scope
from models import SHARED_DOCUMENTS, TENANT_DOCUMENTS
from tests.contracts._governance import OWNER
from tests.fixtures.clinics import Server
from tests.fixtures.mirror import CLINICAL, Mirror, in_order, is_one_per_clinic

each_model = pytest.mark.parametrize("model", CLINICAL, ids=lambda model: model.__name__)

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "find": ({},),
    "find_one": ({},),
    "count_documents": ({},),
    "distinct": ("_id", {}),
    "aggregate": ([],),
    "insert_one": ({},),
    "insert_many": ([{}],),
    "insert_shared": ({},),
    "update_one": ({}, {"$set": {"label": "x"}}),
    "update_many": ({}, {"$set": {"label": "x"}}),
    "replace_one": ({}, {"label": "x"}),
    "delete_one": ({},),
    "delete_many": ({},),
    "find_one_and_update": ({}, {"$set": {"label": "x"}}),
    "find_one_and_delete": ({},),
    "bulk_write": ([DeleteOne({})],),
    "grant": (ObjectId(), ObjectId()),
    "archive": (ObjectId(),),
    "restore": (ObjectId(),),
    "leave": (ObjectId(),),
    "leave_all": ([ObjectId()],),
    "is_shared": (ObjectId(),),
    "received": ([],),
    "strip": (ObjectId(), ["label"]),
}
"""How each operation of the guard is called when nothing but the call matters."""


@dataclass(frozen=True, slots=True)
class Verb:
    """One operation of a model's guarded collection."""

    model: Any
    name: str

    def __str__(self) -> str:
        return f"{self.model.__name__}.{self.name}"

    async def call(self, *arguments: Any) -> Any:
        """Calls it; a cursor is read to its end."""
        result = getattr(self.model.guarded(), self.name)(*arguments)
        answer = await result if inspect.isawaitable(result) else result
        return await answer.to_list() if isinstance(answer, GuardedCursor) else answer


def verbs() -> Iterator[Verb]:
    """Every public operation of every clinic's collection, found on the guard itself."""
    for model in CLINICAL:
        for name, _ in inspect.getmembers(type(model.guarded()), inspect.isfunction):
            if not name.startswith("_"):
                yield Verb(model, name)


each_verb = pytest.mark.parametrize("verb", list(verbs()), ids=str)


# --- the database itself ----------------------------------------------------------------------------------------------


@each_model
@pytest.mark.parametrize("owner", ["absent", None, "text", 7, [], [None], {"$oid": "x"}], ids=repr)
async def test_the_database_refuses_a_document_without_its_clinic(model: Any, owner: Any, mirror: Mirror) -> None:
    kind = kind_of(model.guarded_name())
    assert kind is not None
    document = {} if owner == "absent" else {OWNER[kind]: owner}
    with pytest.raises(WriteError) as refused:
        await mirror.raw[model.guarded_name()].insert_one({"_id": ObjectId(), "probe": True, **document})
    assert refused.value.code == 121, "a validator must have refused it, not an index"


@each_model
async def test_the_database_refuses_to_take_the_clinic_off_a_document(model: Any, mirror: Mirror) -> None:
    kind = kind_of(model.guarded_name())
    assert kind is not None
    stored = mirror.raw[model.guarded_name()]
    for change in ({"$unset": {OWNER[kind]: ""}}, {"$set": {OWNER[kind]: None}}):
        with pytest.raises(WriteError) as refused:
            await stored.update_one({"_id": mirror.a.latest[model.guarded_name()]}, change)
        assert refused.value.code == 121


async def test_the_schema_on_the_database_is_what_the_models_say(
    server: Server, settings: Settings, mirror: Mirror
) -> None:
    report = await apply_schema(mirror.raw.client[settings.mongodb_database], check=True)
    assert report.drift == []
    own = await apply_schema(mirror.place_of(mirror.apart), check=True, tenant_id=mirror.apart.clinic.tenant.key)
    assert own.drift == []
    stored = {found["name"] async for found in await mirror.raw.list_collections()}
    assert {model.guarded_name() for model in CLINICAL} <= stored


@each_model
async def test_a_clinics_own_database_refuses_any_other_clinics_document(model: Any, mirror: Mirror) -> None:
    kind = kind_of(model.guarded_name())
    assert kind is not None
    for owner in (mirror.a.clinic.tenant.key, [mirror.a.clinic.tenant.key]):
        with pytest.raises(WriteError) as refused:
            await mirror.place_of(mirror.apart)[model.guarded_name()].insert_one({OWNER[kind]: owner})
        assert refused.value.code == 121


@each_model
async def test_each_collection_has_a_validator_and_indexes(model: Any, mirror: Mirror) -> None:
    [found] = [one async for one in await mirror.raw.list_collections(filter={"name": model.guarded_name()})]
    kind = kind_of(model.guarded_name())
    assert kind is not None
    rules = found["options"]["validator"]["$jsonSchema"]
    assert OWNER[kind] in rules["required"]
    assert found["options"].get("validationLevel", "strict") == "strict"
    assert found["options"].get("validationAction", "error") == "error"
    indexes = [list(index["key"]) async for index in await mirror.raw[model.guarded_name()].list_indexes()]
    assert [keys for keys in indexes if keys[0] == OWNER[kind]]


# --- the guard --------------------------------------------------------------------------------------------------------


@each_verb
async def test_nothing_runs_without_a_clinic(verb: Verb) -> None:
    arguments = _arguments(verb)
    with pytest.raises(TenantScopeRequired):
        await verb.call(*arguments)
    with open_scope(Scope(request_id="nobody")), pytest.raises(TenantScopeRequired):
        await verb.call(*arguments)


@each_model
@pytest.mark.usefixtures("server")
async def test_beanies_own_ways_do_not_run_without_a_clinic(model: Any) -> None:
    ways: tuple[Callable[[], Any], ...] = (
        lambda: model.find({}).to_list(),
        lambda: model.find_all().to_list(),
        lambda: model.find_one({}),
        lambda: model.get(ObjectId()),
        model.count,
        lambda: model.find({}).count(),
        lambda: model.aggregate([]).to_list(),
        lambda: model.distinct("_id"),
        lambda: model.find({}).delete(),
        model.delete_all,
        lambda: model.find({}).update({"$set": {"label": "x"}}),
        model.rows,
    )
    for work in ways:
        with pytest.raises(TenantScopeRequired):
            await work()


def _arguments(verb: Verb) -> tuple[Any, ...]:
    assert verb.name in ARGUMENTS, f"{verb} is new: say in ARGUMENTS how it is called, and try it on another's document"
    return ARGUMENTS[verb.name]


def _aimed(verb: Verb, id: ObjectId) -> tuple[Any, ...]:
    """The arguments, aimed at one document."""
    first, *rest = _arguments(verb)
    match verb.name:
        case "distinct":
            return "_id", {"_id": id}
        case "aggregate":
            return ([{"$match": {"_id": id}}],)
        case "received":
            return ([{"_id": id}],)
        case "leave_all":
            return ([id],)
        case "bulk_write":
            return ([DeleteOne({"_id": id})],)
        case _:
            return (id, *rest) if isinstance(first, ObjectId) else ({"_id": id}, *rest)


ABOUT_NEW_ONES = frozenset({"insert_one", "insert_many", "insert_shared"})


def outcome(answer: Any) -> Any:
    """What an operation found or changed, as one value that is falsy for nothing."""
    if not hasattr(answer, "acknowledged"):
        return answer
    return max(getattr(answer, name, 0) for name in ("matched_count", "deleted_count", "modified_count"))


@each_verb
async def test_an_operation_on_another_clinics_document_meets_nothing(verb: Verb, mirror: Mirror) -> None:
    if verb.name in ABOUT_NEW_ONES:
        return
    before = await mirror.digest()
    async with tenant_scope(mirror.a.clinic.ref):
        try:
            answer = await verb.call(*_aimed(verb, mirror.b.latest[verb.model.guarded_name()]))
        except (NotFound, TenantGuardRefused):  # it says so, or is no operation on shared documents at all
            answer = None
    assert not outcome(answer)
    assert await mirror.digest() == before


@each_verb
async def test_an_operation_does_not_reach_into_or_out_of_a_clinics_own_database(verb: Verb, mirror: Mirror) -> None:
    if verb.name in ABOUT_NEW_ONES:
        return
    name = verb.model.guarded_name()
    for asking, other in ((mirror.a, mirror.apart), (mirror.apart, mirror.a)):
        async with tenant_scope(asking.clinic.ref):
            try:
                answer = await verb.call(*_aimed(verb, other.latest[name]))
            except (NotFound, TenantGuardRefused):
                answer = None
        assert not outcome(answer)
        assert await mirror.place_of(other)[name].find_one({"_id": other.latest[name]}) is not None


READS = ("find", "find_one", "count_documents", "distinct", "aggregate")


@each_verb
async def test_the_same_operation_meets_the_clinics_own(verb: Verb, mirror: Mirror) -> None:
    """Without this, a guard that finds nothing at all would pass the test above."""
    if verb.name not in READS:
        return
    for side in (mirror.b, mirror.apart):
        async with tenant_scope(side.clinic.ref):
            assert await verb.call(*_aimed(verb, side.latest[verb.model.guarded_name()]))


@each_model
async def test_beanies_own_ways_find_nothing_of_another_clinic(model: Any, mirror: Mirror) -> None:
    theirs = mirror.b.latest[model.guarded_name()]
    async with tenant_scope(mirror.a.clinic.ref):
        assert await model.get(theirs) is None
        assert await model.find_one({"_id": theirs}) is None
        assert await model.find({"_id": theirs}).to_list() == []
        assert await model.find({"_id": theirs}).count() == 0
        assert await model.rows({"_id": theirs}) == []
        assert theirs not in await model.distinct("_id")
        assert str(theirs) not in str(await model.rows())


@each_model
async def test_an_unfiltered_read_brings_the_clinics_own_and_nothing_else(model: Any, mirror: Mirror) -> None:
    for side in (mirror.a, mirror.b, mirror.apart):
        async with tenant_scope(side.clinic.ref):
            rows = await model.rows()
        other = mirror.b if side is mirror.a else mirror.a
        assert len(rows) == await mirror.count_of(model, side) > 0
        assert other.marker.text not in str(rows)
        assert str(other.clinic.tenant.key) not in str(rows)


# --- the twins themselves ---------------------------------------------------------------------------------------------


def test_every_model_is_in_the_walk() -> None:
    assert set(CLINICAL) == {*TENANT_DOCUMENTS, *SHARED_DOCUMENTS} == set(in_order(CLINICAL))


@each_model
async def test_both_clinics_have_twin_documents_under_their_own_marks(model: Any, mirror: Mirror) -> None:
    name = model.guarded_name()
    for side in (mirror.a, mirror.b, mirror.apart):
        row = await mirror.place_of(side)[name].find_one({"_id": side.latest[name]})
        assert row is not None
        texts = [value for value in row.values() if isinstance(value, str)]
        if texts and not is_one_per_clinic(model) and model.__name__ not in WITHOUT_ROOM:
            assert any(trace in str(row) for trace in side.marker.traces), f"{model.__name__} carries no mark: {row}"


WITHOUT_ROOM = {"AvailabilityRule", "DayClosing", "OneTimeCode", "PortalAccount"}
"""Models each of whose texts is held to a form, or an enum, that leaves no room for a mark."""


async def test_kinds_cover_each_collection() -> None:
    assert {kind_of(model.guarded_name()) for model in CLINICAL} == {Kind.TENANT, Kind.SHARED}
