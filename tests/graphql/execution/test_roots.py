"""Root fields: arguments and variables, which operation runs, what runs in series, and that nothing runs twice."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from graphql import get_introspection_query, parse, validate

from tests.graphql.execution.cases import COMPILED, IRREGULAR
from tests.graphql.execution.strange import Later
from tests.graphql.execution.things import Raised, Toys, thing

ECHO = "query($number: Int = 4, $order: Order, $colours: [Colour!], $flag: Boolean = false) "
ECHO += "{ echo(number: $number, order: $order, colours: $colours, flag: $flag) }"
USUAL = "Order(number=7, colour=<Colour.GREEN: 'green'>, names=None)"


@pytest.mark.parametrize(
    ("query", "variables", "said"),
    [
        ("{ echo }", {}, "3 None None False"),
        ('{ echo(number: 5, order: {names: ["a"]}, colours: [RED], flag: true) }', {}, None),
        ("{ echo(order: null, colours: null) }", {}, "3 None None False"),
        ("{ echo(order: {colour: null}) }", {}, "3 Order(number=7, colour=None, names=None) None False"),
        ("{ echo(colours: RED) }", {}, "3 None [<Colour.RED: 'red'>] False"),
        (ECHO, {}, "4 None None False"),
        (ECHO, {"number": 9, "order": {}}, f"9 {USUAL} None False"),
        (ECHO, {"order": None, "colours": None, "flag": True}, "4 None None True"),
        (ECHO, {"order": {"names": "a"}, "colours": "GREEN"}, None),
        ("query($n: Int) { echo(number: $n) }", {}, "3 None None False"),
        ("query($n: Int!) { echo(order: {number: $n}) }", {"n": 2}, None),
        ("query($n: [String!] = [\"x\"]) { echo(order: {names: $n}) }", {}, None),
        ("query($c: Colour!) { echo(colours: [$c, RED]) }", {"c": "GREEN"}, None),
    ],
)  # fmt: skip
async def test_arguments_reach_the_resolver_alike(
    query: str, variables: Mapping[str, Any], said: str | None, toys: Toys
) -> None:
    ran = await toys.ask(query, variables)
    assert not ran.errors
    assert said is None or ran.data["echo"] == said
    assert ran.counted == {COMPILED: 1}


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        (ECHO, {"number": "x"}),
        (ECHO, {"number": 2**31}),
        (ECHO, {"number": 1.5}),
        (ECHO, {"order": {"other": 1}}),
        (ECHO, {"order": 5}),
        (ECHO, {"order": {"names": [None]}, "colours": ["BLUE"]}),
        (ECHO, {"colours": ["RED", None, 5, "BLUE"]}),
        ("query($n: Int!) { echo(number: $n) }", {}),
        ("query($n: Int!) { echo(number: $n) }", {"n": None}),
    ],
)
async def test_variables_that_do_not_fit_are_told_alike_and_nothing_runs(
    query: str, variables: Mapping[str, Any], toys: Toys
) -> None:
    ran = await toys.ask(query, variables)
    assert ran.data is None
    assert ran.errors
    assert all(error.path is None for error in ran.errors)
    assert toys.contexts[0].calls == []


async def test_a_null_for_what_must_be_there_is_told_at_the_field(toys: Toys) -> None:
    """Valid, because the argument has a default; the resolver must not run, its neighbour must."""
    ran = await toys.ask("query($n: Int = 1) { echo(number: $n) number }", {"n": None}, number=5)
    assert ran.data == {"echo": None, "number": 5}
    assert ran.paths == [["echo"]]
    assert toys.contexts[1].calls == ["number"]


async def test_the_operation_of_that_name_runs(toys: Toys) -> None:
    text = "query A { number } query B { a: number ...F } mutation C { number } fragment F on Query { text }"
    answers = {"number": 1, "a": 2, "text": "x"}
    assert (await toys.ask(text, {}, "A", **answers)).data == {"number": 1}
    assert (await toys.ask(text, {}, "B", **answers)).data == {"a": 2, "text": "x"}
    assert (await toys.ask(text, {}, "C", **answers)).data == {"number": 1}


async def test_introspection_is_left_to_graphql_core(toys: Toys) -> None:
    ran = await toys.ask(get_introspection_query())
    assert ran.data["__schema"]["queryType"]["name"] == "Query"
    assert set(ran.counted) == {"reference: a root field that must not be null"}
    ran = await toys.ask('{ __type(name: "Thing") { name fields { name } } number }', number=1)
    assert ran.data["__type"]["name"] == "Thing"
    assert ran.counted == {"completed: type check": 1, COMPILED: 1}


async def test_a_root_field_that_must_not_be_null_takes_everything_along(toys: Toys) -> None:
    ran = await toys.ask("{ sure { must } number }", sure=thing(must=None), number=1)
    assert ran.data is None
    assert ran.counted == {"reference: a root field that must not be null": 1}


@pytest.mark.parametrize("query", ["{ number @defer }", "{ ... @defer { number } }", "{ number @other }"])
def test_unknown_directives_are_refused_before_anything_runs(query: str, toys: Toys) -> None:
    assert validate(toys.both.schema, parse(query))


async def test_mutations_run_one_after_the_other(toys: Toys) -> None:
    """Each is answered as a whole, what is below it too, before the next begins."""
    steps: list[str] = []

    class Slowly(Later):
        def __await__(self) -> Any:
            steps.append(f"{self.name} begins")
            value = yield from super().__await__()
            steps.append(f"{self.name} ends")
            return value

        def __init__(self, name: str, value: Any) -> None:
            super().__init__(value)
            self.name = name

    def answers() -> dict[str, Any]:
        return {
            "a": Slowly("a", thing(whole=Slowly("below a", 5))),
            "b": Slowly("b", Raised(ValueError("no"))),
            "c": Slowly("c", thing()),
        }

    query = "mutation { a: thing { whole } b: thing { must } c: thing { must } }"
    ran = await toys.ask(query, **answers())
    assert ran.data == {"a": {"whole": 5}, "b": None, "c": {"must": 1}}
    half = len(steps) // 2
    assert steps[:half] == steps[half:]
    assert steps[:half] == ["a begins", "a ends", "below a begins", "below a ends", "b begins", "c begins", "c ends"]


async def test_queries_run_side_by_side(toys: Toys) -> None:
    both = asyncio.Barrier(2)

    class Meeting(Later):
        def __await__(self) -> Any:
            yield from asyncio.ensure_future(both.wait()).__await__()
            return 5

    async with asyncio.timeout(10):
        ran = await toys.ask("{ a: number b: number }", a=Meeting(0), b=Meeting(0))
    assert ran.data == {"a": 5, "b": 5}
    assert ran.compiled


@pytest.mark.parametrize("operation", ["query", "mutation"])
async def test_no_resolver_runs_twice_whatever_becomes_of_its_value(operation: str, toys: Toys) -> None:
    """The count of calls is in `Toys.ask`; here it is seen to count."""
    query = f"{operation} {{ a: thing {{ must }} b: laterThing {{ told must }} c: laterThing {{ must }} d: number }}"
    ran = await toys.ask(
        query, a=thing(must=None), b=thing(text="x"), c=Raised(ValueError("no")), d="no number"
    )  # fmt: skip
    assert ran.data == {"a": None, "b": {"told": "xx", "must": 1}, "c": None, "d": None}
    assert ran.counted == {IRREGULAR: 2, "completed: resolver": 1}
    assert sorted(toys.contexts[1].calls) == ["a", "b", "c", "d"]


async def test_resolvers_are_told_the_same(toys: Toys) -> None:
    """What a resolver may ask of its field: name, path, parent, operation, variables, fragments."""
    seen: list[Any] = []

    class Asked(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            import inspect

            frame = inspect.currentframe()
            while frame is not None and "info" not in frame.f_locals:
                frame = frame.f_back
            assert frame is not None
            raw = frame.f_locals["info"]._raw_info
            seen.append(
                (
                    raw.field_name, raw.path, str(raw.return_type), raw.parent_type.name, raw.schema, raw.operation,
                    raw.field_nodes, raw.variable_values.coerced, raw.root_value, sorted(raw.fragments),
                )
            )  # fmt: skip
            return thing()

    toys.contexts, toys._answers = [], Asked()
    query = "query Q($f: Boolean = true) { x: thing { must @include(if: $f) } ...F } "
    query += "fragment F on Query { x: thing { whole } }"
    await toys.both.run(query, {"f": False}, "Q")
    assert seen[0] == seen[1]
