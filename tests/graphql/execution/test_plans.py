"""Plans are made once, kept within a bound, and belong to one schema; nothing of any clinic stays in them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import pytest
import strawberry
from graphql import GraphQLSchema, Node

from app.graphql.execution import compiled, plans
from app.graphql.execution.compiled import CompiledOperation
from app.graphql.operations import Operations
from tests.contracts._schema import root_fields
from tests.contracts._values import collection_of, variables
from tests.fixtures.mirror import Mirror
from tests.graphql.execution.both import both
from tests.graphql.execution.things import Toys, thing

FLAGS = 4
SKIPPING = "query({}) {{ thing {{ {} }} }}".format(
    ", ".join(f"$f{n}: Boolean!" for n in range(FLAGS)), " ".join(f"a{n}: must @skip(if: $f{n})" for n in range(FLAGS))
)


def flags(number: int) -> dict[str, bool]:
    return {f"f{n}": bool(number & (1 << n)) for n in range(FLAGS)}


def kept(toys: Toys) -> Any:
    return toys.both.compiled._plans


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operations that were planned."""
    seen: list[str] = []
    plan = CompiledOperation._planned

    def noted(self: CompiledOperation, *given: Any) -> Any:
        seen.append(str(self.reference.name))
        return plan(self, *given)

    monkeypatch.setattr(CompiledOperation, "_planned", noted)
    return seen


async def test_an_operation_is_planned_once_for_each_set_of_its_switches(planned: list[str]) -> None:
    toys = Toys()
    for number in (0, 1, 0, 1, 0):
        ran = await toys.ask(SKIPPING, flags(number), thing=thing())
        assert ran.compiled
    assert len(planned) == 2
    for value in (1, 2, 3):
        await toys.ask("query($n: Int!) { echo(number: $n) }", {"n": value})
    assert len(planned) == 3, "other variables make no other plan"


async def test_so_many_plans_of_one_operation_are_kept_and_each_answers_right(planned: list[str]) -> None:
    toys = Toys()
    for _ in range(2):
        for number in range(2**FLAGS):
            ran = await toys.ask(SKIPPING, flags(number), thing=thing())
            assert list(ran.data["thing"]) == [f"a{n}" for n in range(FLAGS) if not flags(number)[f"f{n}"]]
            assert ran.compiled
    assert len(kept(toys)) <= plans.VARIANTS
    assert len(planned) > 2**FLAGS, "those that were dropped were made anew"


async def test_so_many_fields_are_kept_planned_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    toys = Toys()
    monkeypatch.setattr(toys.both.compiled, "_plans", plans.Plans[compiled.Plan](fields=20))
    for number in range(30):
        ran = await toys.ask(f"query Q{number} {{ thing {{ a{number}: must whole }} }}", thing=thing())
        assert ran.compiled
        assert kept(toys).fields <= 20
    assert 0 < len(kept(toys)) < 20


async def test_another_schema_has_plans_of_its_own() -> None:
    """A changed schema gives the changed answer for the same text."""

    def schema(kind: type, name: str) -> Any:
        def told() -> Any:
            return 1

        told.__annotations__["return"] = kind
        fields = {"told": strawberry.field(resolver=told), "__module__": __name__}
        return both(strawberry.type(type("Query", (), fields), name=name))

    numbers, texts = schema(int | None, "Query"), schema(str | None, "Other")  # type: ignore[arg-type]
    assert (await numbers.run("{ told __typename }")).data == {"told": 1, "__typename": "Query"}
    assert (await texts.run("{ told __typename }")).data == {"told": "1", "__typename": "Other"}
    assert (await numbers.run("{ told __typename }")).data == {"told": 1, "__typename": "Query"}


# --- what plans hold --------------------------------------------------------------------------------------------------

APART = (ModuleType, type, GraphQLSchema, Node)
"""Where the walk ends: code, the schema, and the text of the document."""


def reached(start: Any) -> Iterator[Any]:
    """All that can be reached from an object, but for what is no plan's own."""
    waiting, seen = [start], {id(start)}
    while waiting:
        one = waiting.pop()
        yield one
        within = [one.__dict__, one.__closure__ or (), one.__defaults__ or ()] if isinstance(one, FunctionType) else (
            gc.get_referents(one)
        )  # fmt: skip
        if isinstance(one, FunctionType) and one.__code__.co_filename == "<plan>":
            within = [one.__globals__]
        for inner in within:
            if id(inner) not in seen and not isinstance(inner, APART):
                seen.add(id(inner))
                waiting.append(inner)


def texts_in(held: list[Any]) -> str:
    return " ".join(str(one) for one in held if isinstance(one, str | bytes | int)).lower()


async def test_the_walk_through_plans_finds_what_would_stay_in_them() -> None:
    toys = Toys()
    await toys.ask("{ thing { child { must } } }", thing=thing())
    (plan,) = (plan for plan, _ in kept(toys)._plans.values())
    assert "found me" not in texts_in(list(reached(kept(toys))))
    for place in (plan[0].memos.setdefault(5, {}), plan[0].write.__globals__):
        place["row"] = [{"text": "found me"}]
        assert "found me" in texts_in(list(reached(kept(toys))))
        del place["row"]


async def test_plans_hold_nothing_of_any_clinic(mirror: Mirror) -> None:
    """Everything is asked by one clinic and then by another; neither's data is in what is kept."""
    operations: Operations = mirror.a.server.app.state.operations
    for side in (mirror.a, mirror.b):
        patient = await side.patient()
        for root in root_fields():
            if root.is_mutation or root.is_above_clinics:
                continue
            given = variables(root, lambda place: str(side.latest[collection_of(place)]))  # noqa: B023 - used at once
            await (patient if root.is_for_patients else side.admin).gql(root.fully, **given)
    held = list(reached(operations.execution._plans))
    assert len(held) > 10_000, "the walk found no plans"
    texts = texts_in(held)
    ids = {str(one) for one in held if type(one).__name__ in ("ObjectId", "PydanticObjectId")}
    for side in (mirror.a, mirror.b):
        known = await mirror.ids_of(side)
        assert not [trace for trace in side.marker.traces if trace in texts]
        assert not known & ids
        assert not [one for one in known if one in texts]
        assert str(side.admin.token) not in texts
