"""Bounds on documents: refused before they run, and at no more cost than reading them."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import build_schema, parse
from hypothesis import given
from hypothesis import strategies as st

from app.errors import QueryTooComplex
from app.graphql import limits
from app.graphql.limits import BOUNDS, VARIABLE_VALUES, check_document, check_variables
from app.graphql.operations import CACHED_CHARACTERS, Operations
from tests.fixtures.clinics import Client


def bomb(levels: int) -> str:
    """Each fragment spreads the next one twice: 2^levels fields once opened up."""
    fragments = [f"fragment F{i} on Query {{ a: __typename ...F{i + 1} ...F{i + 1} }}" for i in range(levels)]
    return " ".join(["{ ...F0 }", *fragments, f"fragment F{levels} on Query {{ b: __typename }}"])


def refused(query: str) -> str | None:
    """Why a document is refused, None when it may run."""
    try:
        check_document(parse(query))
    except QueryTooComplex as error:
        return error.message
    return None


@pytest.mark.parametrize("levels", [20, 90])
def test_a_bomb_of_fragments_costs_no_more_than_its_text(monkeypatch: pytest.MonkeyPatch, levels: int) -> None:
    visited = 0
    measure = limits.Measurer._selection

    def counted(self: Any, node: Any, level: int) -> Any:
        nonlocal visited
        visited += 1
        return measure(self, node, level)

    monkeypatch.setattr(limits.Measurer, "_selection", counted)

    assert refused(bomb(levels)) is not None
    assert visited <= 5 * (levels + 2)


async def test_the_bomb_is_refused_over_http(admin: Client) -> None:
    answer = await admin.gql(bomb(20))

    assert (answer.status, answer.codes) == (400, ["QUERY_TOO_COMPLEX"])
    assert "data" not in answer.body


def nested(levels: int) -> str:
    return "{ a " * levels + "}" * levels


def aliased(fields: int) -> str:
    return "{ a { " + " ".join(f"x{i}: b" for i in range(fields)) + " } }"


def valued(opening: str, closing: str, levels: int) -> str:
    return f"{{ a(x: {opening * levels}1{closing * levels}) }}"


def pages(argument: str, levels: int, fields: int) -> str:
    """Lists within lists, the innermost with so many fields."""
    inner = "a " * fields
    for _ in range(levels):
        inner = f"list({argument}) {{ edges {{ {inner} }} }}"
    return f"{{ {inner} }}"


@pytest.mark.parametrize(
    ("fits", "bursts", "what"),
    [
        (nested(BOUNDS.depth), nested(BOUNDS.depth + 1), "levels"),
        (
            aliased(BOUNDS.aliases),
            aliased(BOUNDS.aliases + 1),
            "aliases",
        ),
        (
            "{ a " + "@skip(if: false) " * BOUNDS.directives + "}",
            "{ a " + "@skip(if: false) " * (BOUNDS.directives + 1) + "}",
            "directives",
        ),
        (
            "{ " + "a " * BOUNDS.root_fields + "}",
            "{ " + "a " * (BOUNDS.root_fields + 1) + "}",
            "root fields",
        ),
        (
            "{ a { " + " ".join(f"b{i}" for i in range(BOUNDS.fields - 1)) + "} }",
            "{ a { " + " ".join(f"b{i}" for i in range(BOUNDS.fields)) + "} }",
            "fields",
        ),
        (
            "{ a { " + "b " * 89 + "} }",
            "{ a { " + "b " * 90 + "} }",
            "the same name",
        ),
        (
            "{ " + "a { b { " * 2 + "c " * 60 + "} } " * 2 + "}",
            "{ " + "a { b { c ...F } } " * 10 + "} fragment F on Q { " + "c " * 9 + "}",
            "the same name",
        ),
        (
            " ".join(f"query Q{i} {{ a }}" for i in range(BOUNDS.operations)),
            " ".join(f"query Q{i} {{ a }}" for i in range(BOUNDS.operations + 1)),
            "operations",
        ),
        (
            "query(" + " ".join(f"$v{i}: Int" for i in range(BOUNDS.variables)) + ") { a }",
            "query(" + " ".join(f"$v{i}: Int" for i in range(BOUNDS.variables + 1)) + ") { a }",
            "variables",
        ),
        (
            "{ a(x: [" + "1 " * (BOUNDS.values - 1) + "]) }",
            "{ a(x: [" + "1 " * BOUNDS.values + "]) }",
            "values",
        ),
        (
            "query($v: [Int] = [" + "1 " * (BOUNDS.values - 1) + "]) { a }",
            "query($v: [Int] = [" + "1 " * BOUNDS.values + "]) { a }",
            "values",
        ),
        ("{ a(x: " + "1" * BOUNDS.digits + ") }", "{ a(x: " + "1" * (BOUNDS.digits + 1) + ") }", "number"),
        ("{ " + "a" * BOUNDS.name + " }", "{ " + "a" * (BOUNDS.name + 1) + " }", "name"),
        (
            "{ a } " + " ".join(f"fragment F{i} on Q {{ a }}" for i in range(BOUNDS.fragments)),
            "{ a } " + " ".join(f"fragment F{i} on Q {{ a }}" for i in range(BOUNDS.fragments + 1)),
            "fragments",
        ),
        (
            valued("[", "]", BOUNDS.value_depth - 1),
            valued("[", "]", BOUNDS.value_depth),
            "nested",
        ),
        (
            valued("{b: ", "}", BOUNDS.value_depth - 1),
            valued("{b: ", "}", BOUNDS.value_depth),
            "nested",
        ),
        (
            pages("first: 100", 2, 20),
            pages("first: 100", 3, 1),
            "rows",
        ),
        (
            pages("first: $n", 2, 20),
            pages("first: $n", 3, 1),
            "rows",
        ),
        (
            pages("last: 3", 3, 20),
            pages("last: 3", 4, 20),
            "rows",
        ),
    ],
    ids=[
        "depth",
        "aliases",
        "directives",
        "root",
        "fields",
        "same-name",
        "same-name-below",
        "operations",
        "variables",
        "values",
        "default",
        "digits",
        "name",
        "fragments",
        "lists",
        "objects",
        "rows",
        "variable",
        "usual",
    ],
)
def test_each_bound_is_where_it_is_said_to_be(fits: str, bursts: str, what: str) -> None:
    assert refused(fits) is None
    assert what in (refused(bursts) or "")


def test_fragments_do_not_hide_what_they_hold() -> None:
    deep = "{ ...F } fragment F on Q " + nested(BOUNDS.depth + 1)
    inline = "{ " + "... on Q { " * 100 + "a" + " }" * 101
    spread = "{ ...R } fragment R on Q { " + "a " * (BOUNDS.root_fields + 1) + "}"

    assert "levels" in (refused(deep) or "")
    assert "nested" in (refused(inline) or "")
    assert "root fields" in (refused(spread) or "")


def test_circles_of_fragments_end() -> None:
    assert refused("{ ...A } fragment A on Q { ...B } fragment B on Q { ...A a }") is None
    assert refused("{ ...Missing }") is None


def test_the_schema_may_be_asked_for_more_deeply_than_data() -> None:
    inner = "name"
    for _ in range(18):
        inner = f"ofType {{ {inner} }}"

    assert refused(f"{{ __schema {{ types {{ {inner} }} }} }}") is None
    assert "levels" in (refused(f"{{ viewer {{ types {{ {inner} }} }} }}") or "")
    assert "levels" in (refused(f"{{ __schema {{ a }} viewer {{ types {{ {inner} }} }} }}") or "")


async def test_long_documents_are_refused_before_they_are_parsed(admin: Client) -> None:
    for query in (
        "{ viewer { role } }" + " " * BOUNDS.characters,
        "{ " + "a " * BOUNDS.tokens + "}",
        "{a" * 20_000,
        "{ a(x: " + "[" * 20_000,
        "query(" + "$a: Int " * 4_000 + ") { viewer { role } }",
    ):
        answer = await admin.gql(query)
        assert (answer.status, answer.codes) == (400, ["QUERY_TOO_COMPLEX"])


@pytest.fixture
def operations() -> Operations:
    return Operations(build_schema("type Query { one: Query, two(x: [Int]): Int }"), root=None, introspection=False)


def test_documents_are_kept_up_to_a_size(operations: Operations) -> None:
    queries = [f"query Q{number} {{ two(x: [{'1 ' * 2_000}]) }}" for number in range(200)]
    prepared = [operations.prepare(query) for query in queries]

    assert operations.prepare(queries[-1]) is prepared[-1]
    assert operations.prepare(queries[0]) is not prepared[0]
    assert sum(map(len, queries)) > CACHED_CHARACTERS >= operations._kept
    assert operations._kept == sum(size for _, size in operations._prepared.values())


def test_fields_that_repeat_are_compared_only_so_often(operations: Operations) -> None:
    few, many = (operations.prepare("{ one { " + "one { two } " * count + "} }") for count in (20, 600))

    assert few.document is not None
    assert [type(error.original_error) for error in many.errors] == [QueryTooComplex]


@given(st.integers(1, 8), st.integers(1, 8))
def test_the_measure_is_that_of_the_opened_document(levels: int, width: int) -> None:
    """Counting through fragments gives what writing them out would."""
    closed = "{ ...F0 } " + " ".join(f"fragment F{i} on Q {{ {f'...F{i + 1} ' * width} }}" for i in range(levels))
    document = parse(f"{closed} fragment F{levels} on Q {{ a }}")

    measurer = limits.Measurer(document, BOUNDS)

    assert measurer.selection_set(document.definitions[0].selection_set, 1).fields == width**levels  # type: ignore[attr-defined]


def test_the_variables_of_a_request_are_counted_before_they_are_read() -> None:
    check_variables({"input": {"contacts": [{"name": "A", "phone": "1"}] * 100}})

    for huge in ({"input": [[1] * 100] * 100}, {str(n): n for n in range(VARIABLE_VALUES + 1)}):
        with pytest.raises(QueryTooComplex):
            check_variables(huge)
