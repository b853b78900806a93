"""What becomes of values: null and how far it reaches, lists, leaves, wrong values, exceptions and awaitables."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from bson import ObjectId
from graphql import GraphQLError, Undefined

from app.errors import NotFound
from tests.graphql.execution.cases import IRREGULAR, Case
from tests.graphql.execution.strange import Later, Some, SomeLater
from tests.graphql.execution.things import Colour, Link, Raised, Thing, Toys, thing


def one(**attributes: Any) -> Any:
    """The answer of `thing` alone."""
    return lambda: {"thing": thing(**attributes)}


MUST = "Cannot return null for non-nullable field Thing.must."
NEXT = "Cannot return null for non-nullable field Link.next."
SURE = "Cannot return null for non-nullable field Thing.sureNumbers."


def links(depth: int, end: Any = None) -> Link:
    """So many links in a row, and at their end something else."""
    last = Link(label="last", next=end)
    for _ in range(depth):
        last = Link(next=last)
    return last


NULLS = [
    Case("a nullable leaf is null", "{ thing { whole } }", one(whole=None), {"thing": {"whole": None}}),
    Case("a nullable object is null", "{ thing { child { must } } }", one(child=None), {"thing": {"child": None}}),
    Case("a root field is null", "{ thing { must } }", lambda: {"thing": None}, {"thing": None}),
    Case("a list is null", "{ thing { children { must } } }", one(children=None), {"thing": {"children": None}}),
    Case(
        "an item that may be null is",
        "{ thing { someChildren { must } someNumbers } }",
        one(some_children=[thing(), None], some_numbers=[None, 1]),
        {"thing": {"someChildren": [{"must": 1}, None], "someNumbers": [None, 1]}},
    ),
    Case(
        "a leaf that must not be null takes its object along",
        "{ thing { must whole } }",
        one(must=None),
        {"thing": None},
        IRREGULAR,
        ((MUST, ["thing", "must"]),),
    ),
    Case(
        "and that object's list, where items must not be null",
        "{ thing { whole children { must } } }",
        one(children=[thing(), thing(must=None), thing()]),
        {"thing": {"whole": 1, "children": None}},
        IRREGULAR,
        ((MUST, ["thing", "children", 1, "must"]),),
    ),
    Case(
        "but no further than an item that may be null",
        "{ thing { someChildren { must } } }",
        one(some_children=[thing(), thing(must=None), thing()]),
        {"thing": {"someChildren": [{"must": 1}, None, {"must": 1}]}},
        IRREGULAR,
        ((MUST, ["thing", "someChildren", 1, "must"]),),
    ),
    Case(
        "an item that must not be null takes a list that must not be null along, and its object",
        "{ thing { child { sureNumbers } whole } }",
        one(child=thing(sure_numbers=[1, None])),
        {"thing": {"child": None, "whole": 1}},
        IRREGULAR,
        ((SURE, ["thing", "child", "sureNumbers", 1]),),
    ),
    Case(
        "a list that must not be null takes its object along",
        "{ thing { sureChildren { must } } }",
        one(sure_children=None),
        {"thing": None},
        IRREGULAR,
        (("Cannot return null for non-nullable field Thing.sureChildren.", ["thing", "sureChildren"]),),
    ),
    Case(
        "through any number of levels up to the root field",
        "{ link { next { next { next { label } } } } text }",
        lambda: {"link": links(2), "text": "still here"},
        {"link": None, "text": "still here"},
        IRREGULAR,
        ((NEXT, ["link", "next", "next", "next"]),),
    ),
    Case(
        "through lists of lists of what may be null",
        "{ thing { grid } }",
        one(grid=[[1, None], []]),
        {"thing": {"grid": [[1, None], []]}},
    ),
    Case(
        "an inner list that must not be null",
        "{ thing { grid whole } }",
        one(grid=[[1], None]),
        {"thing": {"grid": None, "whole": 1}},
        IRREGULAR,
        (("Cannot return null for non-nullable field Thing.grid.", ["thing", "grid", 1]),),
    ),
    Case(
        "each of several failing items is told",
        "{ thing { someChildren { must } } }",
        one(some_children=[thing(must=None), thing(), thing(must=ValueError("no"))]),
        {"thing": {"someChildren": [None, {"must": 1}, None]}},
        IRREGULAR,
        ((MUST, ["thing", "someChildren", 0, "must"]), ("no", ["thing", "someChildren", 2, "must"])),
    ),
    Case(
        "of two failures on one way to null, the first alone is told",
        "{ thing { must also: must } }",
        one(must=None),
        {"thing": None},
        IRREGULAR,
        ((MUST, ["thing", "must"]),),
    ),
]

LEAVES = [
    Case(
        "each kind of leaf",
        "{ thing { whole real text flag key colour instant amount even } }",
        one(instant=datetime(2030, 1, 7, 9, tzinfo=UTC), amount=Decimal("1.50"), even=4),
        {
            "thing": {
                "whole": 1,
                "real": 0.5,
                "text": "text",
                "flag": True,
                "key": "key",
                "colour": "RED",
                "instant": "2030-01-07T09:00:00+00:00",
                "amount": "1.50",
                "even": 4,
            }
        },
    ),
    Case("a whole number as a real one", "{ thing { real } }", one(real=3), {"thing": {"real": 3.0}}),
    Case("a real number that is whole", "{ thing { whole } }", one(whole=3.0), {"thing": {"whole": 3}}),
    Case("a truth as a number", "{ thing { whole } }", one(whole=True), {"thing": {"whole": 1}}),
    Case("a number as a truth", "{ thing { flag } }", one(flag=0), {"thing": {"flag": False}}),
    Case("a number as text", "{ thing { text } }", one(text=5), {"thing": {"text": "5"}}),
    Case("a truth as text", "{ thing { text } }", one(text=True), {"thing": {"text": "true"}}),
    Case("a number as an id", "{ thing { key } }", one(key=7), {"thing": {"key": "7"}}),
    Case(
        "an id of the database as an id", "{ thing { key } }", one(key=ObjectId("0" * 24)), {"thing": {"key": "0" * 24}}
    ),
    Case("an enum by its member", "{ thing { colour } }", one(colour=Colour.GREEN), {"thing": {"colour": "GREEN"}}),
    Case("an enum by what is stored", "{ thing { colour } }", one(colour="green"), {"thing": {"colour": "GREEN"}}),
    Case(
        "the empty text, nought and false",
        "{ text number }",
        lambda: {"text": "", "number": 0},
        {"text": "", "number": 0},
    ),
]


def wrong(field: str, value: Any, message: str) -> Case:
    """A leaf that its type cannot show."""
    return Case(
        f"{field} of {value!r}",
        f"{{ thing {{ {field} must }} }}",
        one(**{field: value}),
        {"thing": {field: None, "must": 1}},
        IRREGULAR,
        ((message, ["thing", field]),),
    )


WRONG = [
    wrong("whole", 2**31, "Int cannot represent non 32-bit signed integer value: 2147483648"),
    wrong("whole", -(2**31) - 1, "Int cannot represent non 32-bit signed integer value: -2147483649"),
    wrong("whole", 1.5, "Int cannot represent non-integer value: 1.5"),
    wrong("whole", float("nan"), "Int cannot represent non-integer value: nan"),
    wrong("whole", "x", "Int cannot represent non-integer value: 'x'"),
    wrong("whole", {}, "Int cannot represent non-integer value: {}"),
    wrong("real", float("inf"), "Float cannot represent non numeric value: inf"),
    wrong("real", float("nan"), "Float cannot represent non numeric value: nan"),
    wrong("real", "x", "Float cannot represent non numeric value: 'x'"),
    wrong("text", [], "String cannot represent value: []"),
    wrong("text", object, "String cannot represent value: <class object>"),
    wrong("flag", "x", "Boolean cannot represent a non boolean value: 'x'"),
    wrong("flag", float("nan"), "Boolean cannot represent a non boolean value: nan"),
    wrong("key", 1.5, "ID cannot represent value: 1.5"),
    wrong("key", {"a": 1}, "ID cannot represent value: {'a': 1}"),
    wrong("colour", "blue", "Enum 'Colour' cannot represent value: 'blue'"),
    wrong("colour", "RED", "Enum 'Colour' cannot represent value: 'RED'"),
    wrong("colour", [], "Enum 'Colour' cannot represent value: []"),
    wrong("instant", "2030", "'str' object has no attribute 'isoformat'"),
    wrong("even", "x", "not all arguments converted during string formatting"),
    wrong("even", 3, "Expected `Even.coerce_output_value(3)` to return non-nullable value, returned: None"),
    wrong("numbers", 5, "Expected Iterable, but did not find one for field 'Thing.numbers'."),
    wrong("numbers", "12", "Expected Iterable, but did not find one for field 'Thing.numbers'."),
]

STRANGE = [
    Case(
        "a tuple is a list too", "{ thing { numbers } }", one(numbers=(1, 2)), {"thing": {"numbers": [1, 2]}}, IRREGULAR
    ),
    Case(
        "so is what can be gone through",
        "{ thing { numbers } }",
        one(numbers=Some([1])),
        {"thing": {"numbers": [1]}},
        IRREGULAR,
    ),
    Case(
        "and what comes bit by bit",
        "{ thing { numbers } }",
        one(numbers=SomeLater([1])),
        {"thing": {"numbers": [1]}},
        IRREGULAR,
    ),
    Case(
        "a generator is gone through once",
        "{ numbers }",
        lambda: {"numbers": Some([1, 2])},
        {"numbers": [1, 2]},
        IRREGULAR,
    ),
    Case(
        "an attribute that must be awaited",
        "{ thing { whole child { must } } }",
        one(whole=Later(5), child=Later(Thing())),
        {"thing": {"whole": 5, "child": {"must": 1}}},
        IRREGULAR,
    ),
    Case(
        "an awaited object of which only the type is asked",
        "{ thing { child { __typename } } }",
        one(child=Later(None)),
        {"thing": {"child": None}},
        IRREGULAR,
    ),
    Case(
        "an undefined object of which only the type is asked",
        "{ thing { child { __typename } } }",
        one(child=Undefined),
        {"thing": {"child": None}},
        IRREGULAR,
    ),
    Case(
        "an awaited item",
        "{ thing { numbers } }",
        one(numbers=[1, Later(2)]),
        {"thing": {"numbers": [1, 2]}},
        IRREGULAR,
    ),
    Case(
        "what a resolver gives, awaited twice",
        "{ laterNumber }",
        lambda: {"laterNumber": Later(Later(5))},
        {"laterNumber": None},
        IRREGULAR,
        (("Int cannot represent non-integer value: <Later instance>", ["laterNumber"]),),
    ),
    Case(
        "undefined is null",
        "{ thing { whole child { must } } number }",
        lambda: {"thing": thing(whole=Undefined, child=Undefined), "number": Undefined},
        {"thing": {"whole": None, "child": None}, "number": None},
        IRREGULAR,
    ),
    Case(
        "an exception as a value",
        "{ thing { whole must } }",
        one(whole=ValueError("no")),
        {"thing": {"whole": None, "must": 1}},
        IRREGULAR,
        (("no", ["thing", "whole"]),),
    ),
    Case(
        "an exception as an object",
        "{ thing { child { __typename } } }",
        one(child=NotFound.at("x")),
        {"thing": {"child": None}},
        IRREGULAR,
        ((NotFound.at("x").message, ["thing", "child"]),),
    ),
    Case(
        "an exception as an item",
        "{ thing { someChildren { must } } }",
        one(some_children=[KeyError("k"), thing()]),
        {"thing": {"someChildren": [None, {"must": 1}]}},
        IRREGULAR,
        (("'k'", ["thing", "someChildren", 0]),),
    ),
    Case(
        "a root field answers with an exception",
        "{ thing { must } text }",
        lambda: {"thing": ValueError("no"), "text": "a"},
        {"thing": None, "text": "a"},
        IRREGULAR,
        (("no", ["thing"]),),
    ),
    Case(
        "another object than the type says",
        "{ thing { child { whole } } }",
        one(child=Link()),
        {"thing": {"child": {"whole": None}}},
        IRREGULAR,
        (("'Link' object has no attribute 'whole'", ["thing", "child", "whole"]),),
    ),
    Case(
        "a number where an object is due",
        "{ thing { child { must } } }",
        one(child=5),
        {"thing": {"child": None}},
        IRREGULAR,
        (("'int' object has no attribute 'must'", ["thing", "child", "must"]),),
    ),
    Case(
        "a number of which only the type is asked is one",
        "{ thing { child { __typename } } }",
        one(child=5),
        {"thing": {"child": {"__typename": "Thing"}}},
    ),
]


@pytest.mark.parametrize("case", [*NULLS, *LEAVES, *WRONG, *STRANGE], ids=str)
async def test_both_make_the_same_of_a_value(case: Case, toys: Toys) -> None:
    await case.holds(toys)


@pytest.mark.parametrize(
    "raised",
    [
        ValueError("no"),
        KeyError("no"),
        GraphQLError("no", extensions={"code": "NO"}),
        NotFound.at("id"),
        RuntimeError(),
    ],
    ids=repr,
)
@pytest.mark.parametrize("key", ["thing", "laterThing"])
async def test_what_a_root_resolver_raises_is_told_at_its_place(raised: Exception, key: str, toys: Toys) -> None:
    ran = await toys.ask(f"{{ text {key} {{ must }} number }}", **{"text": "a", "number": 1, key: Raised(raised)})
    assert ran.data == {"text": "a", key: None, "number": 1}
    assert ran.paths == [[key]]
    assert ran.counted == {"compiled": 2}
    assert [(at.line, at.column) for at in ran.errors[0].locations or ()] == [(1, 8)]
