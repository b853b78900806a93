"""Every field of the API, asked by one clinic for what is another's: nothing is told, nothing is written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from bson import ObjectId

from models import SHARED_DOCUMENTS, TENANT_DOCUMENTS
from tests.contracts._schema import (
    Place,
    RootField,
    id_places,
    leaf_values,
    places,
    root_fields,
)
from tests.contracts._values import collection_of, variables
from tests.fixtures.clinics import Answer, Client
from tests.fixtures.mirror import BOOKKEEPING, Generation, Mirror, Side

FIELDS = root_fields()
BY_NAME = {root.name: root for root in FIELDS}
WITH_IDS = [root for root in FIELDS if id_places(root)]
QUERIES = [root for root in FIELDS if not root.is_mutation]
CONNECTIONS = [root for root in QUERIES if root.is_connection]
GUARDED = [root for root in FIELDS if root.permission is not None]
CLINICAL = {*TENANT_DOCUMENTS, *SHARED_DOCUMENTS}
IN_THE_WAY = {"deleteRole": ["INVALID_STATE"]}
"""What stands in the way of a step on documents that were made for the test: a role that somebody has stays."""

named = partial(pytest.mark.parametrize, ids=str)


def own(generation: Generation, place: Place) -> str:
    """The id that belongs at a place, among the documents of one generation."""
    return str(generation[collection_of(place)])


def shape(answer: Answer) -> tuple[int, str | None, str]:
    """The whole answer but for what each request has of its own."""
    body = re.sub(r'"requestId":"[^"]*"', '"requestId":""', answer.response.text)
    return answer.status, answer.response.headers.get("content-type"), body


def said(answer: Answer) -> str:
    """Every byte that came back, headers too, but for the random request id, which might look like anything."""
    headers = [value for name, value in answer.response.headers.items() if name != "x-request-id"]
    return " ".join([shape(answer)[2], *headers])


def shows_nothing(answer: Answer) -> bool:
    return not any((answer.body.get("data") or {}).values())


async def ask(client: Client, root: RootField, given: dict[str, Any], *, fully: bool = False) -> Answer:
    """Asks; an answer that was not worked out, or broke, would show nothing and prove nothing."""
    answer = await client.gql(root.fully if fully else root.briefly, **given)
    assert not {"QUERY_TOO_COMPLEX", "INTERNAL", "UNAVAILABLE", "RATE_LIMITED"} & set(answer.codes), answer.body
    return answer


# --- ids --------------------------------------------------------------------------------------------------------------


@named("root", WITH_IDS)
async def test_an_id_of_another_clinic_is_answered_as_one_that_does_not_exist(root: RootField, mirror: Mirror) -> None:
    before = await mirror.digest()
    for place in id_places(root):
        pick = partial(own, mirror.a.latest)
        nobody = await ask(mirror.a.admin, root, variables(root, pick, place, str(ObjectId())), fully=True)
        _blames(nobody, place)
        for foreign in ids_to_try(mirror, place):
            answer = await ask(mirror.a.admin, root, variables(root, pick, place, foreign), fully=True)
            assert shape(answer) == shape(nobody), place
    assert await mirror.digest() == before, f"{root} wrote something"


def ids_to_try(mirror: Mirror, place: Place) -> Iterator[str]:
    """The other clinic's id that would fit, each of its other ids, and this clinic's own of other collections."""
    fitting = collection_of(place)
    yield str(mirror.b.latest[fitting])
    yield from (str(one) for collection, one in mirror.b.latest.items() if collection != fitting)
    yield str(mirror.b.clinic.tenant.key)
    yield from (str(one) for collection, one in mirror.a.latest.items() if collection != fitting)


def _blames(answer: Answer, place: Place) -> None:
    """The id, and nothing else of the input, is what the answer judged: a list is empty, all else is not found."""
    if not answer.errors and not place.root.is_mutation:
        return
    path = ".".join(place.path)
    assert answer.codes == ["NOT_FOUND"], (
        f"{place}: a nonexistent id gave {answer.body}. If another value is at fault, give it a valid one in NAMED "
        "of tests/contracts/_values.py"
    )
    assert any(re.fullmatch(rf"{re.escape(path)}(\.\d+)?", told) for told in answer.paths), answer.body


@named("root", WITH_IDS)
async def test_the_same_call_with_the_clinics_own_ids_is_let_through(root: RootField, mirror: Mirror) -> None:
    """Without this, a field that finds nothing at all would pass the test above."""
    for place in id_places(root):
        generation = await mirror.spare.grow()
        pick = partial(own, generation)
        made = variables(root, pick, place, own(generation, place))
        await prepare(root, made, mirror.spare)
        nobody = await ask(mirror.spare.admin, root, variables(root, pick, place, str(ObjectId())))
        answer = await ask(mirror.spare.admin, root, made, fully=True)
        assert answer.codes == IN_THE_WAY.get(root.name, []), f"{place}: {answer.body}; see tests/contracts/_values.py"
        assert shape(answer) != shape(nobody), place


async def prepare(root: RootField, given: dict[str, Any], side: Side) -> None:
    """Does what must have happened before: only what was archived can be restored."""
    before = BY_NAME.get(root.name.replace("restore", "archive")) if root.name.startswith("restore") else None
    if before is not None:
        assert not (await ask(side.admin, before, given)).errors
        if "version" in given["input"]:
            given["input"]["version"] += 1


# --- lists, searches, counts ------------------------------------------------------------------------------------------


@named("root", QUERIES)
async def test_nothing_of_another_clinic_shows_in_any_byte(root: RootField, mirror: Mirror) -> None:
    foreign = await mirror.ids_of(mirror.b) - await mirror.ids_of(mirror.a)
    for given in questions(root, mirror):
        answer = await ask(mirror.a.admin, root, given, fully=True)
        text = said(answer)
        assert not [trace for trace in mirror.b.marker.traces if trace in text.lower()], (given, text)
        assert not [one for one in foreign if one in text], (given, text)


def questions(root: RootField, mirror: Mirror) -> Iterator[dict[str, Any]]:
    """A field's variables: the plain ones, then each filter in turn, searches for the other clinic's words too."""
    pick = partial(own, mirror.a.latest)
    yield variables(root, pick)
    for place in places(root):
        for value in leaf_values(place):
            yield variables(root, pick, place, value)
        if place.type.name == "String":
            for word in (*mirror.b.marker.texts(1), *mirror.b.marker.traces, mirror.b.clinic.emails["admin"]):
                yield variables(root, pick, place, word)
        if place.type.name == "ID":
            yield variables(root, pick, place, own(mirror.a.latest, place))


async def test_a_reference_that_leads_to_another_clinic_leads_nowhere(mirror: Mirror) -> None:
    strays = await mirror.spare.strays(mirror.b.latest)
    foreign = await mirror.ids_of(mirror.b)
    for root in QUERIES:
        answer = await ask(mirror.spare.admin, root, variables(root, partial(own, strays)), fully=True)
        assert not [trace for trace in mirror.b.marker.traces if trace in said(answer).lower()], (root, answer.body)
        assert not [one for one in foreign if one in said(answer)], (root, answer.body)


@named("root", CONNECTIONS)
async def test_each_list_shows_and_counts_the_clinics_own_documents_alone(root: RootField, mirror: Mirror) -> None:
    assert root.model in CLINICAL, f"{root} lists documents that belong to no clinic"
    for side in (mirror.a, mirror.b):
        generation = side.latest
        answer = await ask(side.admin, root, variables(root, partial(own, generation)), fully=True)
        page = answer.data[root.name]
        ids = [edge["node"]["id"] for edge in page["edges"]]
        assert str(generation[root.model.guarded_name()]) in ids, "the clinic does not see its own"
        assert page["totalCount"] == len(ids) <= await mirror.count_of(root.model, side)
        assert page["totalCountIsExact"] is True


@named("root", [root for root in QUERIES if root.model in CLINICAL])
async def test_a_clinic_finds_its_own_mark_where_the_other_must_not(root: RootField, mirror: Mirror) -> None:
    """Without this, a list that never shows any text would pass the test of bytes."""
    answers = [await ask(mirror.b.admin, root, given, fully=True) for given in own_questions(root, mirror.b)]
    seen = " ".join(answer.response.text for answer in answers)
    ids = [str(one) for one in mirror.b.latest.values()]
    assert mirror.b.marker.text in seen or any(one in seen for one in ids), seen


def own_questions(root: RootField, side: Side) -> Iterator[dict[str, Any]]:
    pick = partial(own, side.latest)
    yield variables(root, pick)
    for place in places(root):
        if place.type.name == "String":
            yield from (variables(root, pick, place, word) for word in side.marker.texts(1))


@named("root", CONNECTIONS)
async def test_a_cursor_of_another_clinic_is_refused(root: RootField, mirror: Mirror) -> None:
    theirs = await mirror.b.admin.gql(
        root.document("{ pageInfo { endCursor } }"), **variables(root, partial(own, mirror.b.latest))
    )
    cursor = theirs.data[root.name]["pageInfo"]["endCursor"]
    assert cursor
    given = {**variables(root, partial(own, mirror.a.latest)), "after": cursor}
    answer = await ask(mirror.a.admin, root, given, fully=True)
    assert answer.codes == ["VALIDATION_FAILED"]
    assert answer.paths == ["after"]


# --- who asks ---------------------------------------------------------------------------------------------------------


def nowhere(_: Place) -> str:
    return str(ObjectId())


@named("root", [root for root in FIELDS if not root.is_public])
async def test_nobody_gets_an_answer_without_a_session(root: RootField, mirror: Mirror) -> None:
    before = await mirror.digest()
    stranger = mirror.a.server.client(mirror.a.clinic.host)
    answer = await ask(stranger, root, variables(root, nowhere))
    assert answer.codes == ["UNAUTHENTICATED"]
    assert shows_nothing(answer)
    assert await mirror.digest() == before


@named("root", GUARDED)
async def test_a_session_of_another_clinic_is_told_that_it_has_not_entered(root: RootField, mirror: Mirror) -> None:
    before = await mirror.digest()
    intruder = mirror.a.server.client(mirror.a.clinic.host, mirror.b.admin.token)
    answer = await ask(intruder, root, variables(root, partial(own, mirror.a.latest)))
    assert answer.codes == ["TENANT_MISMATCH"]
    assert shows_nothing(answer)
    assert await mirror.digest() == before


@named("root", [root for root in FIELDS if root.permission is None])
async def test_a_field_without_a_permission_tells_a_strangers_session_nothing_of_the_clinic(
    root: RootField, mirror: Mirror
) -> None:
    """Such fields are about the person, or about what the clinic tells everybody."""
    before = await mirror.digest(without={*BOOKKEEPING, "users"})
    member = mirror.b.clinic.staff["receptionist"].user_id
    assert member is not None
    intruder = mirror.a.server.client(mirror.a.clinic.host, await mirror.b.session(member))
    answer = await ask(intruder, root, variables(root, nowhere), fully=True)
    known = await mirror.ids_of(mirror.a) - {str(mirror.a.clinic.tenant.key)}
    assert not [one for one in known if one in said(answer)]
    after = await mirror.digest(without={*BOOKKEEPING, "users"})
    assert after == before


# --- how the walk itself is kept honest -------------------------------------------------------------------------------


def test_the_walk_sees_the_whole_schema() -> None:
    operations = Counter(root.operation for root in FIELDS)
    assert operations["query"] > 10
    assert operations["mutation"] > 20
    assert len(WITH_IDS) > 20
    assert len(CONNECTIONS) > 5
