"""Whatever fields hold, and however they are asked for: both executors say the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from bson import ObjectId
from graphql import GraphQLArgument, GraphQLSchema, Undefined
from hypothesis import given
from hypothesis import strategies as st

from app.permissions import Permission
from app.tenancy.scope import Actor, Scope, TenantId, TenantRef, open_scope
from app.tenancy.trail import Trail
from tests.fuzz.conftest import fuzzing
from tests.fuzz.documents import DocumentMaker, Made, Root
from tests.fuzz.toy_values import Rows, ValueMaker, answers
from tests.fuzz.toys import toy_schema
from tests.graphql.execution.both import Both
from tests.graphql.execution.shelf import RowContext, refill

SCHEMA = toy_schema()
CLINIC = TenantRef(TenantId(ObjectId()), "toys", "Toys")
RIGHTS: tuple[frozenset[Permission], ...] = (frozenset(), frozenset({Permission.PATIENT_READ}))


def scope(chance: Random) -> Scope:
    """A clinic, and somebody who may read patients or may not."""
    actor = Actor(ObjectId(), "session", "Toy", "toy@example.com", permissions=chance.choice(RIGHTS))
    return Scope(request_id="toys", tenant=CLINIC, actor=actor, trail=Trail("toys", announce=_nothing, write=_nothing))


async def _nothing(*_: Any) -> None:
    return None


def document(schema: GraphQLSchema, chance: Random) -> Made:
    """An operation of one to four root fields."""

    def value(name: str, slot: GraphQLArgument) -> Any:
        return chance.choice((Undefined, 1, 2, 3, 0, "x", None, "after"))

    kind = chance.choice(("query", "query", "query", "mutation"))
    root = schema.query_type if kind == "query" else schema.mutation_type
    assert root is not None
    names = list(root.fields)
    chosen = [
        chance.choice(names[:16] if chance.random() < 0.85 else names) for _ in range(chance.choice((1, 1, 2, 4)))
    ]
    roots = [Root(name, root.fields[name], _given(chance, name)) for name in chosen]
    maker = DocumentMaker(schema, chance, value, depth=chance.choice((2, 4, 6)), width=chance.choice((2, 5, 9)))
    return maker.make(kind, roots)


def _given(chance: Random, name: str) -> dict[str, Any]:
    if name != "echo":
        return {}
    told = {"text": "x", "colour": "GREEN", "numbers": [1, 2]}
    given = {"number": 5, "told": {key: told[key] for key in told if chance.random() < 0.5}, "colours": ["RED"]}
    wrong = {"number": chance.choice((2**31, "x", None)), "told": chance.choice(({"other": 1}, 5))}
    given |= {key: one for key, one in wrong.items() if chance.random() < 0.1}
    return {key: one for key, one in given.items() if chance.random() < 0.6}


@pytest.fixture(scope="module")
def counted() -> Iterator[Counter[str]]:
    """How answers were completed. At the end: if everything had fallen back, nothing would have been compared."""
    counted: Counter[str] = Counter()
    yield counted
    assert counted["compiled"] > sum(counted.values()) / 2, counted
    assert counted["completed: irregular"] > sum(counted.values()) / 20, counted
    assert {"completed: resolver", "reference: directive"} <= counted.keys(), counted


@pytest.mark.filterwarnings(
    # graphql-core cancels the siblings of what fails, some of them before they have begun.
    "ignore:coroutine .* was never awaited:RuntimeWarning",
    "ignore:Exception ignored in. <coroutine:pytest.PytestUnraisableExceptionWarning",
)
@given(seed=st.integers(0, 2**64))
@fuzzing(800)
async def test_any_answer_of_any_resolver_is_completed_alike(counted: Counter[str], seed: int) -> None:
    chance = Random(seed)
    maker = ValueMaker(SCHEMA, chance, wrong=chance.choice((0, 0, 0, 0.01, 0.05, 0.3)))
    rows = Rows(maker).shelves()
    refill(rows, [name for name in rows if chance.random() < maker.wrong / 4])
    made = document(SCHEMA, chance)
    given = {key: answers(maker, rows, root.name, root.definition.type) for key, root in made.roots.items()}
    contexts: list[RowContext] = []

    def context() -> RowContext:
        contexts.append(RowContext(given))
        return contexts[-1]

    with open_scope(scope(chance)):
        ran = await Both(SCHEMA, context).run(made.text, made.variables)
    reference, compiled = contexts
    assert sorted(compiled.calls) == sorted(reference.calls), "each resolver runs once"
    if ran.compiled and not maker.wrong:
        assert len(compiled.asked) <= len(reference.asked), made.text
    counted.update(ran.counted)
