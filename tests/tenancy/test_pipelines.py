"""Aggregations stay in the clinic, however they branch."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import OperationFailure

from app.errors import TenantGuardRefused
from app.tenancy.criteria import check_update, joined
from app.tenancy.kinds import Kind
from app.tenancy.pipelines import scoped_pipeline
from tests.fixtures.documents import Badge, Gadget, Person, Remark
from tests.fixtures.guard import LABELS, Clinics

JOIN: dict[str, Any] = {"localField": "label", "foreignField": "label", "as": "joined"}
GRAPH = {"from": "test_people", "startWith": "$a", "connectFromField": "a", "connectToField": "b", "as": "c"}
PEOPLE: dict[str, Any] = {"from": "test_people", "localField": "label", "foreignField": "gadget_label", "as": "people"}


async def run(document: Any, *stages: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await document.aggregate(list(stages)).to_list()
    return found


def owners(value: Any) -> set[Any]:
    """Every tenant id anywhere in an answer."""
    if isinstance(value, dict):
        own = {value["tenant_id"]} if "tenant_id" in value else set()
        return own.union(*map(owners, value.values()))
    if isinstance(value, list):
        return set().union(*map(owners, value))
    return set()


@pytest.mark.parametrize(
    "lookup",
    [
        {"from": "test_remarks", **JOIN},
        {"from": "test_remarks", **JOIN, "pipeline": [{"$match": {"text": {"$exists": True}}}]},
        {"from": "test_remarks", **JOIN, "pipeline": []},
        {"from": "test_remarks", "pipeline": [], "as": "joined"},
        {
            "from": "test_remarks",
            "let": {"l": "$label"},
            "pipeline": [{"$match": {"$expr": {"$eq": ["$label", "$$l"]}}}],
            "as": "joined",
        },
        {
            "from": "test_remarks",
            **JOIN,
            "pipeline": [{"$lookup": {"from": "test_gadgets", **JOIN, "as": "deeper"}}],
        },
    ],
)
async def test_every_form_of_lookup_joins_within_the_clinic(clinics: Clinics, lookup: Any) -> None:
    with clinics.at_a():
        rows = await run(Gadget, {"$lookup": lookup})
    assert len(rows) == 3
    assert all(row["joined"] for row in rows)
    assert owners(rows) == {clinics.a.id}
    if "let" in lookup or "localField" in lookup:
        assert all(len(row["joined"]) == 1 for row in rows)


async def test_a_lookup_keeps_using_the_index(clinics: Clinics) -> None:
    with clinics.at_a() as scope:
        stages = scoped_pipeline(Kind.TENANT, scope.tenant_id, [{"$lookup": {"from": "test_remarks", **JOIN}}])
    plan = await clinics.plain.command(
        "explain", {"aggregate": "test_gadgets", "pipeline": stages, "cursor": {}}, verbosity="executionStats"
    )
    lookup = next(stage for stage in plan["stages"] if "$lookup" in stage)
    assert lookup["indexesUsed"] == ["label"]
    assert int(lookup["totalDocsExamined"]) == 3
    assert int(lookup["collectionScans"]) == 0


async def test_a_page_of_a_shared_collection_keeps_using_the_index(clinics: Clinics) -> None:
    with clinics.at_a() as scope:
        asked: list[dict[str, Any]] = [{"$match": {"name": {"$gte": "P"}}}, {"$sort": {"name": 1}}, {"$limit": 2}]
        stages = scoped_pipeline(Kind.SHARED, scope.tenant_id, [*asked, {"$project": {"name": 1}}])
        assert len(await run(Person, *asked)) == 2
    plan = await clinics.plain.command(
        "explain", {"aggregate": "test_people", "pipeline": stages, "cursor": {}}, verbosity="queryPlanner"
    )
    steps = plan["stages"] if "stages" in plan else plan["queryPlanner"]["winningPlan"]
    assert "IXSCAN" in repr(steps)
    assert "'SORT'" not in repr(steps)
    assert not [step for step in plan.get("stages", ()) if "$sort" in step]


async def test_joined_shared_documents_do_not_show_their_clinics(clinics: Clinics) -> None:
    person = (await clinics.stored(Person, clinics.a))[0]
    await clinics.raw(Person).update_one({"_id": person["_id"]}, {"$push": {"tenant_ids": clinics.b.id}})
    graph: dict[str, Any] = {
        "from": "test_people",
        "startWith": "$label",
        "connectFromField": "name",
        "connectToField": "gadget_label",
        "as": "people",
    }
    with clinics.at_a():
        answers = [
            await run(Gadget, {"$lookup": PEOPLE}),
            await run(Gadget, {"$lookup": {**PEOPLE, "pipeline": [{"$set": {"all": "$$ROOT"}}]}}),
            await run(Gadget, {"$graphLookup": graph}),
            await run(Gadget, {"$unionWith": "test_people"}),
            await run(Gadget, {"$facet": {"f": [{"$lookup": PEOPLE}, {"$unionWith": {"coll": "test_people"}}]}}),
        ]
    text = repr(answers)
    assert "P anvil" in text
    assert "tenant_ids" not in text
    assert str(clinics.b.id) not in text


async def test_graph_lookup_walks_within_the_clinic(clinics: Clinics) -> None:
    graph: dict[str, Any] = {
        "from": "test_gadgets",
        "startWith": "$parent",
        "connectFromField": "parent",
        "connectToField": "label",
        "as": "chain",
    }
    with clinics.at_a():
        rows = await run(Gadget, {"$graphLookup": graph})
        limited = await run(Gadget, {"$graphLookup": {**graph, "restrictSearchWithMatch": {"label": "anvil"}}})
    assert owners(rows) == {clinics.a.id}
    assert max(len(row["chain"]) for row in rows) == 3
    assert max(len(row["chain"]) for row in limited) == 1


async def test_union_and_facet_stay_in_the_clinic(clinics: Clinics) -> None:
    facet = {
        "all": [{"$match": {}}],
        "joined": [{"$lookup": {"from": "test_remarks", **JOIN}}],
        "united": [{"$unionWith": {"coll": "test_remarks", "pipeline": [{"$match": {"label": "anvil"}}]}}],
    }
    with clinics.at_a():
        united = await run(Gadget, {"$unionWith": "test_remarks"})
        faceted = await run(Gadget, {"$facet": facet})
    assert len(united) == 6
    assert len(faceted[0]["united"]) == 4
    assert owners([united, faceted]) == {clinics.a.id}


@pytest.mark.parametrize(
    "stage",
    [
        {"$out": "test_stolen"},
        {"$merge": {"into": "test_stolen"}},
        {"$changeStream": {}},
        {"$indexStats": {}},
        {"$collStats": {"count": {}}},
        {"$planCacheStats": {}},
        {"$currentOp": {}},
        {"$listSessions": {}},
        {"$documents": []},
        {"$geoNear": {"near": [0, 0], "distanceField": "d"}},
        {"$search": {}},
        {"$redact": "$$KEEP"},
        {"$lookup": {"from": "unknown", **JOIN}},
        {"$lookup": {"from": "test_badges", **JOIN}},
        {"$lookup": {"from": {"db": "other", "coll": "test_remarks"}, **JOIN}},
        {"$lookup": {"pipeline": [{"$documents": []}], "as": "x"}},
        {"$lookup": {"from": "test_remarks", **JOIN, "pipeline": [{"$lookup": {"from": "unknown", **JOIN}}]}},
        {"$lookup": {"from": "test_remarks", **JOIN, "pipeline": [{"$out": "x"}]}},
        {"$lookup": {"from": "test_remarks", **JOIN, "surprise": 1}},
        {"$lookup": {**PEOPLE, "foreignField": "tenant_ids"}},
        {"$lookup": {**PEOPLE, "pipeline": [{"$match": {"tenant_ids": {"$size": 2}}}]}},
        {"$lookup": "test_remarks"},
        {"$graphLookup": {**GRAPH, "from": "unknown"}},
        {"$graphLookup": {**GRAPH, "connectToField": "tenant_ids"}},
        {"$graphLookup": {**GRAPH, "connectFromField": "tenant_ids"}},
        {"$graphLookup": {**GRAPH, "restrictSearchWithMatch": {"archived_in": {"$size": 1}}}},
        {"$unionWith": "unknown"},
        {"$unionWith": {"coll": "test_badges"}},
        {"$unionWith": {"pipeline": [{"$documents": []}]}},
        {"$unionWith": {"db": "other", "coll": "test_gadgets"}},
        {"$facet": {"f": [{"$out": "x"}]}},
        {"$facet": {"f": [{"$lookup": {"from": "unknown", **JOIN}}]}},
        {"$facet": []},
        {"$project": {"x": {"$function": {"body": "f", "args": [], "lang": "js"}}}},
        {"$group": {"_id": None, "x": {"$accumulator": {}}}},
        {"$match": {"$where": "1"}},
        {"$match": {}, "$limit": 1},
        "nonsense",
    ],
)  # fmt: skip
async def test_a_stage_that_cannot_be_held_to_the_clinic_is_refused(clinics: Clinics, stage: Any) -> None:
    with clinics.at_a():
        for document in (Gadget, Person):
            with pytest.raises(TenantGuardRefused):
                await document.guarded().aggregate([stage])
            with pytest.raises(TenantGuardRefused):
                await document.guarded().aggregate([{"$match": {}}, {"$limit": 1}, stage])


@pytest.mark.parametrize(
    "stage",
    [
        {"$sort": {"tenant_ids": 1}},
        {"$project": {"x": "$tenant_ids"}},
        {"$project": {"archived_in": 1}},
        {"$group": {"_id": "$tenant_ids"}},
        {"$unwind": "$tenant_ids"},
        {"$unset": "tenant_ids"},
        {"$facet": {"f": [{"$sortByCount": "$tenant_ids"}]}},
        {"$lookup": {"from": "test_gadgets", "localField": "tenant_ids", "foreignField": "tenant_id", "as": "x"}},
    ],
)  # fmt: skip
async def test_a_stage_cannot_ask_about_the_other_clinics(clinics: Clinics, stage: Any) -> None:
    with clinics.at_a(), pytest.raises(TenantGuardRefused):
        await Person.guarded().aggregate([stage])


async def test_a_text_search_may_still_stand_first(clinics: Clinics) -> None:
    with clinics.at_a(), pytest.raises(OperationFailure, match="text index required"):
        await Gadget.guarded().aggregate([{"$match": {"$text": {"$search": "x"}}}])


async def test_the_platform_does_not_join_clinics(clinics: Clinics) -> None:
    await Badge(code="x").insert()
    for stage in (
        {"$lookup": {"from": "test_gadgets", **JOIN}},
        {"$unionWith": "test_people"},
        {"$facet": {"f": [{"$unionWith": "test_people"}]}},
        {"$out": "test_gadgets"},
    ):
        with pytest.raises(TenantGuardRefused):
            await Badge.guarded().aggregate([stage])
    assert len(await run(Badge, {"$lookup": {"from": "test_badges", "pipeline": [], "as": "x"}})) == 1


# --- laws ---------------------------------------------------------------------------------------------------------

A, B = ObjectId(), ObjectId()
fields = st.sampled_from(["label", "size", "parent", "tenant_id", "_id", "missing"])
values = st.one_of(st.sampled_from([*LABELS, A, B, None, "$tenant_id"]), st.integers(-1, 3))
leaves = st.one_of(
    st.dictionaries(fields, values, max_size=2),
    st.builds(
        lambda field, operator, value: {field: {operator: value}},
        fields,
        st.sampled_from(["$eq", "$ne", "$gt", "$lte"]),
        values,
    ),
    st.builds(lambda field, value: {field: {"$in": value}}, fields, st.lists(values, max_size=3)),
    st.builds(lambda field: {"$expr": {"$eq": [f"${field}", f"${field}"]}}, fields),
)
filters = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda operator, parts: {operator: parts},
        st.sampled_from(["$and", "$or", "$nor"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=6,
)
joins = st.sampled_from(["test_gadgets", "test_remarks", "test_people"])


def branching(inner: st.SearchStrategy[list[dict[str, Any]]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    lookup = st.builds(
        lambda target, pipeline, local: {
            "$lookup": {"from": target, "pipeline": pipeline, "as": "joined", **(JOIN if local else {})}
        },
        joins,
        inner,
        st.booleans(),
    )
    union = st.builds(lambda target, pipeline: {"$unionWith": {"coll": target, "pipeline": pipeline}}, joins, inner)
    return st.lists(st.one_of(lookup, union, filters.map(lambda criteria: {"$match": criteria})), max_size=3)


pipelines = st.recursive(
    st.lists(
        st.one_of(
            filters.map(lambda criteria: {"$match": criteria}),
            st.just({"$set": {"tenant_id": "$tenant_id", "copy": "$$ROOT"}}),
            st.just({"$sort": {"size": 1}}),
        ),
        max_size=3,
    ),
    branching,
    max_leaves=4,
)
law = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


def real(value: Any, clinics: Clinics) -> Any:
    """The made-up ids of the strategies, as those of the two clinics."""
    if isinstance(value, dict):
        return {key: real(inner, clinics) for key, inner in value.items()}
    if isinstance(value, list):
        return [real(inner, clinics) for inner in value]
    return {A: clinics.a.id, B: clinics.b.id}.get(value, value) if isinstance(value, ObjectId) else value


@law
@given(criteria=filters)
async def test_no_filter_finds_a_foreign_row(clinics: Clinics, criteria: dict[str, Any]) -> None:
    with clinics.at_a():
        rows = await Gadget.rows(real(criteria, clinics))
        counted = await Gadget.guarded().count_documents(real(criteria, clinics))
    assert owners(rows) <= {clinics.a.id}
    assert counted == len(rows) <= 3


@law
@given(stages=pipelines)
async def test_no_pipeline_finds_a_foreign_row(clinics: Clinics, stages: list[dict[str, Any]]) -> None:
    with clinics.at_a():
        try:
            rows = await (await Gadget.guarded().aggregate(real(stages, clinics))).to_list()
        except TenantGuardRefused:
            return
    assert owners(rows) <= {clinics.a.id}
    assert str(clinics.b.id) not in repr(rows)
    assert "tenant_ids" not in repr(rows)


operators = st.sampled_from(["$set", "$unset", "$inc", "$rename", "$push", "$setOnInsert", "$max", "$mul", "$pull"])
paths = st.sampled_from(["label", "size", "tenant_id", "tenant_id.x", "tenant_ids", "archived_in", "extra.deep"])
updates = st.one_of(
    st.dictionaries(operators, st.dictionaries(paths, values, min_size=1, max_size=2), min_size=1, max_size=3),
    st.lists(
        st.dictionaries(
            st.sampled_from(["$set", "$unset", "$project", "$replaceWith"]),
            st.dictionaries(paths, values, min_size=1),
            min_size=1,
            max_size=1,
        ),
        min_size=1,
        max_size=2,
    ),
)


@law
@given(update=updates, document=st.sampled_from([Gadget, Person]))
async def test_no_update_changes_whose_a_document_is(clinics: Clinics, update: Any, document: Any) -> None:
    owning = ["_id", "tenant_id"] if document is Gadget else ["_id", "tenant_ids", "archived_in"]

    def whose(rows: list[dict[str, Any]]) -> Any:
        return [[row.get(name) for name in owning] for row in rows]

    before = [whose(await clinics.stored(document, tenant)) for tenant in (clinics.a, clinics.b)]
    theirs = await clinics.stored(document, clinics.b)
    with clinics.at_a(), suppress(TenantGuardRefused, OperationFailure):
        await document.guarded().update_one({}, real(update, clinics))
    assert [whose(await clinics.stored(document, tenant)) for tenant in (clinics.a, clinics.b)] == before
    assert await clinics.stored(document, clinics.b) == theirs


@given(criteria=filters)
def test_the_caller_never_overwrites_the_tenant(criteria: dict[str, Any]) -> None:
    for kind in (Kind.TENANT, Kind.SHARED):
        clause = joined(kind, A, {})
        assert joined(kind, A, criteria) == ({"$and": [clause, criteria]} if criteria else clause)


def test_setting_the_own_tenant_is_what_beanie_does_on_save() -> None:
    check_update(Kind.TENANT, A, {"$set": {"tenant_id": A, "label": "x"}})


async def test_remarks_are_twins_so_that_the_laws_above_can_fail(clinics: Clinics) -> None:
    assert len(await clinics.stored(Remark, clinics.a)) == len(await clinics.stored(Remark, clinics.b)) == 3
