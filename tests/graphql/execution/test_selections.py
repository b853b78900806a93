"""Which fields come, under which keys and in which order: aliases, merging, fragments, `@skip` and `@include`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from tests.graphql.execution.cases import COMPILED, IRREGULAR, Case
from tests.graphql.execution.things import Box, Cat, Dog, Named, Stone, Toys, thing


def one(**attributes: Any) -> Any:
    return lambda: {"thing": thing(**attributes)}


NO_TYPE = (
    "Abstract type 'Named' must resolve to an Object type at runtime for field 'Query.pet'. Either the 'Named' type "
    "should provide a 'resolve_type' function or each possible type should provide an 'is_type_of' function."
)
nothing: Any = None
CHILD = one(child=thing(must=2, child=thing(must=3)))

SELECTIONS = [
    Case("aliases", "{ thing { a: must b: must must } }", one(), {"thing": {"a": 1, "b": 1, "must": 1}}),
    Case(
        "an alias that names another field",
        "{ thing { must: text text: must } }",
        one(),
        {"thing": {"must": "text", "text": 1}},
    ),
    Case("a field that is asked twice comes once", "{ thing { must must } }", one(), {"thing": {"must": 1}}),
    Case(
        "selections of one key are merged in order",
        "{ thing { child { must } whole child { text child { must } } } }",
        CHILD,
        {"thing": {"child": {"must": 2, "text": "text", "child": {"must": 3}}, "whole": 1}},
    ),
    Case(
        "at each depth",
        "{ thing { child { child { must } } child { child { whole } must } } }",
        CHILD,
        {"thing": {"child": {"child": {"must": 3, "whole": 1}, "must": 2}}},
    ),
    Case(
        "a root field that is asked twice",
        "{ thing { must } thing { whole } }",
        one(),
        {"thing": {"must": 1, "whole": 1}},
    ),
    Case(
        "the name of the type, everywhere",
        "{ __typename thing { __typename a: __typename child { __typename } } }",
        CHILD,
        {"__typename": "Query", "thing": {"__typename": "Thing", "a": "Thing", "child": {"__typename": "Thing"}}},
    ),
    Case("the name of the type alone", "{ a: __typename }", dict, {"a": "Query"}),
    Case(
        "a named fragment",
        "{ thing { ...F whole } } fragment F on Thing { must child { ...F2 } } fragment F2 on Thing { must }",
        CHILD,
        {"thing": {"must": 1, "child": {"must": 2}, "whole": 1}},
    ),
    Case(
        "the same fragment at two places",
        "{ thing { ...F child { ...F } } } fragment F on Thing { must }",
        CHILD,
        {"thing": {"must": 1, "child": {"must": 2}}},
    ),
    Case(
        "a fragment that is merged",
        "{ thing { child { whole } ...F } } fragment F on Thing { child { must } whole }",
        CHILD,
        {"thing": {"child": {"whole": 1, "must": 2}, "whole": 1}},
    ),
    Case(
        "inline fragments, with type and without",
        "{ thing { ... { must } ... on Thing { whole ... { text } } } }",
        one(),
        {"thing": {"must": 1, "whole": 1, "text": "text"}},
    ),
    Case(
        "fragments at the root",
        "{ ...F ... on Query { number } } fragment F on Query { thing { must } }",
        lambda: {"thing": thing(), "number": 5},
        {"thing": {"must": 1}, "number": 5},
    ),
    Case("nothing is left of an object", "{ thing { must @skip(if: true) } }", one(), {"thing": {}}),
    Case("nothing is left of the whole operation", "{ thing @skip(if: true) { must } }", one(), {}),
    Case(
        "a part of a merged field is skipped",
        "{ thing { child { must } child @skip(if: true) { whole } } }",
        CHILD,
        {"thing": {"child": {"must": 2}}},
    ),
    Case(
        "both directives",
        "{ thing { a: must @include(if: true) @skip(if: true) b: must @skip(if: false) "
        "@include(if: true) c: must @skip(if: false) @include(if: false) } }",
        one(),
        {"thing": {"b": 1}},
    ),
    Case(
        "on fragments",
        "{ thing { ...F @skip(if: true) ... on Thing @include(if: false) { whole } ... @skip(if: false) "
        "{ text } } } fragment F on Thing { must }",
        one(),
        {"thing": {"text": "text"}},
    ),
    Case(
        "a fragment that is skipped first and spread then",
        "{ thing { ...F @skip(if: true) ...F } } fragment F on Thing { must }",
        one(),
        {"thing": {"must": 1}},
    ),
    Case(
        "a list of objects",
        "{ things { must child { must } } }",
        lambda: {"things": [thing(), None, thing(child=thing(must=5))]},
        {"things": [{"must": 1, "child": None}, None, {"must": 1, "child": {"must": 5}}]},
    ),
    Case(
        "generics",
        "{ thing { box { held all __typename } } }",
        one(box=Box(held=1, all=[2, 3])),
        {"thing": {"box": {"held": 1, "all": [2, 3], "__typename": "IntBox"}}},
    ),
    Case(
        "a field with a resolver below",
        "{ thing { told(times: 3) must } number }",
        lambda: {"thing": thing(text="x"), "number": 1},
        {"thing": {"told": "xxx", "must": 1}, "number": 1},
        "completed: resolver",
    ),
]

ABSTRACT = [
    Case(
        "an interface",
        "{ pet { name __typename ... on Dog { barks } ... on Cat { lives } } }",
        lambda: {"pet": Dog(name="Rex", barks=3)},
        {"pet": {"name": "Rex", "__typename": "Dog", "barks": 3}},
    ),
    Case(
        "a list of an interface's types",
        "{ pets { ... on Cat { lives friends { name } } name ... on Dog { friend { name } } } }",
        lambda: {"pets": [Cat(name="Tom", friends=[Dog(name="Rex")]), Dog(name="Rex", friend=Cat(name="Kit"))]},
        {
            "pets": [
                {"lives": 9, "friends": [{"name": "Rex"}], "name": "Tom"},
                {"name": "Rex", "friend": {"name": "Kit"}},
            ]
        },
    ),
    Case(
        "a union",
        "{ find { __typename ... on Dog { name } ... on Stone { grams } } }",
        lambda: {"find": Stone()},
        {"find": {"__typename": "Stone", "grams": 5}},
    ),
    Case(
        "a fragment on an interface within a union",
        "{ find { ... on Named { name } } }",
        lambda: {"find": Dog(name="Rex")},
        {"find": {"name": "Rex"}},
    ),
    Case(
        "a fragment on an interface of which the type is none",
        "{ find { ... on Named { name } } }",
        lambda: {"find": Stone()},
        {"find": {}},
    ),
    Case(
        "a fragment on an interface within an object",
        "{ pet { ... on Dog { ... on Named { name } } } }",
        lambda: {"pet": Dog(name="Rex")},
        {"pet": {"name": "Rex"}},
    ),
    Case(
        "nothing where an interface is",
        "{ pet { name } find { __typename } }",
        lambda: {"pet": None, "find": None},
        {"pet": None, "find": None},
    ),
    Case(
        "an object of no type of the interface",
        "{ pet { name } }",
        lambda: {"pet": Stone()},
        {"pet": None},
        IRREGULAR,
        ((NO_TYPE, ["pet"]),),
    ),
    Case(
        "an exception in place of an item",
        "{ pets { name } }",
        lambda: {"pets": [Dog(name="a"), ValueError("no")]},
        {"pets": None},
        IRREGULAR,
        (("no", ["pets", 1]),),
    ),
    Case(
        "the interface itself as a value",
        "{ pet { __typename name } }",
        lambda: {"pet": Named(name="x")},
        {"pet": None},
        IRREGULAR,
        (("Abstract type 'Named' was resolved to a non-object type 'Named'.", ["pet"]),),
    ),
    Case(
        "an attribute that must not be null, below an interface",
        "{ pets { name } number }",
        lambda: {"pets": [Dog(name=nothing)], "number": 1},
        {"pets": None, "number": 1},
        IRREGULAR,
        (("Cannot return null for non-nullable field Dog.name.", ["pets", 0, "name"]),),
    ),
]


@pytest.mark.parametrize("case", [*SELECTIONS, *ABSTRACT], ids=str)
async def test_both_make_the_same_of_a_selection(case: Case, toys: Toys) -> None:
    await case.holds(toys)


async def test_a_union_tells_of_a_type_that_is_not_its_own(toys: Toys) -> None:
    ran = await toys.ask("{ find { __typename } }", find=Cat(name="x"))
    assert ran.paths == [["find"]]
    assert ran.counted == {IRREGULAR: 1}


async def test_keys_come_in_the_order_in_which_they_are_asked_for(toys: Toys) -> None:
    """Also where the root fields are resolved one after the other, and side by side."""
    text = "{ number ...F thing { whole must child { must whole } ...G } text } "
    text += "fragment F on Query { later: laterNumber text } fragment G on Thing { flag must }"
    answers: Mapping[str, Any] = {"number": 1, "later": 2, "text": "x", "thing": thing(child=thing())}
    for operation in ("", "mutation "):
        ran = await toys.ask(
            operation + text.replace("on Query", "on Mutation" if operation else "on Query"), **answers
        )
        shown = (
            '{"number":1,"later":2,"text":"x","thing":{"whole":1,"must":1,"child":{"must":1,"whole":1},"flag":true}}'
        )
        assert orjson.dumps(ran.data).decode() == shown
        assert ran.compiled


FLAGS = "query($skip: Boolean!, $include: Boolean = true) "
FLAGS += "{ thing { a: must @skip(if: $skip) b: must @include(if: $include) } }"


@pytest.mark.parametrize(
    ("variables", "keys"),
    [
        ({"skip": True}, ["b"]),
        ({"skip": False}, ["a", "b"]),
        ({"skip": False, "include": False}, ["a"]),
        ({"skip": True, "include": False}, []),
    ],
    ids=str,
)
async def test_variables_say_what_is_skipped_and_what_is_included(
    variables: Mapping[str, Any], keys: list[str], toys: Toys
) -> None:
    ran = await toys.ask(FLAGS, variables, thing=thing())
    assert list(ran.data["thing"]) == keys
    assert set(ran.counted) == {COMPILED}


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"skip": True, "include": None}, "Argument 'if' has invalid value"),
        ({}, "Variable '$skip' has invalid value"),
        ({"skip": None}, "Variable '$skip' has invalid value"),
        ({"skip": "yes"}, "Variable '$skip' has invalid value"),
    ],
    ids=str,
)
async def test_values_that_no_directive_takes_are_told_alike(
    variables: Mapping[str, Any], message: str, toys: Toys
) -> None:
    ran = await toys.ask(FLAGS, variables, thing=thing())
    assert ran.messages[0].startswith(message)
    assert "compiled" not in ran.counted
