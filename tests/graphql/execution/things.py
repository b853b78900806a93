"""A small schema of plain types for the explicit cases. What a root field answers is said by the test, by key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import Enum
from types import SimpleNamespace
from typing import Annotated, Any, Generic, TypeVar

import strawberry
from strawberry.types import Info

from app.graphql.scalars import SCALARS
from tests.graphql.execution.both import Both, Ran, both

T = TypeVar("T")


@strawberry.enum
class Colour(Enum):
    RED = "red"
    GREEN = "green"


Even = strawberry.scalar(name="Even", serialize=lambda value: value if value % 2 == 0 else None, parse_value=int)
EvenNumber = type("EvenNumber", (int,), {})


@strawberry.interface
class Named:
    name: str


@strawberry.type
class Dog(Named):
    barks: int | None = None
    friend: Named | None = None


@strawberry.type
class Cat(Named):
    lives: int = 9
    friends: list[Named] = strawberry.field(default_factory=list)


@strawberry.type
class Stone:
    grams: int = 5


Find = Annotated[Dog | Stone, strawberry.union("Find")]


@strawberry.type
class Box(Generic[T]):
    held: T
    all: list[T] = strawberry.field(default_factory=list)


@strawberry.type
class Thing:
    """Every attribute may be anything: that is what the tests are about."""

    whole: int | None = 1
    must: int = 1
    real: float | None = 0.5
    text: str | None = "text"
    flag: bool | None = True
    key: strawberry.ID | None = strawberry.ID("key")
    colour: Colour | None = Colour.RED
    instant: datetime | None = None
    amount: Decimal | None = None
    even: EvenNumber | None = None  # type: ignore[valid-type]
    numbers: list[int] | None = None
    some_numbers: list[int | None] | None = None
    sure_numbers: list[int] = strawberry.field(default_factory=list)
    grid: list[list[int | None]] | None = None
    child: Thing | None = None
    children: list[Thing] | None = None
    some_children: list[Thing | None] | None = None
    sure_children: list[Thing] = strawberry.field(default_factory=list)
    pet: Named | None = None
    pets: list[Named] | None = None
    find: Find | None = None
    box: Box[int] | None = None
    link: Link | None = None

    @strawberry.field
    def told(self, times: int = 2) -> str:
        return (self.text or "") * times


@strawberry.type
class Link:
    """One that must lead to another, so that nothing bubbles up step by step."""

    label: str = "link"
    next: Link = None  # type: ignore[assignment]


class Raised(Exception):
    """In place of a value: the exception that is raised instead of returning one."""


def _answer(info: Info) -> Any:
    info.context.calls.append(info.path.key)
    value = info.context.answers[info.path.key]
    if isinstance(value, Raised):
        raise value.args[0]
    return value


async def _answer_later(info: Info) -> Any:
    return _answer(info)


@strawberry.input
class Order:
    number: int = 7
    colour: Colour | None = Colour.GREEN
    names: list[str] | None = None


def _roots(name: str) -> Any:
    fields: Mapping[str, Any] = {
        "thing": Thing | None,
        "things": list[Thing | None] | None,
        "number": int | None,
        "text": str | None,
        "key": strawberry.ID | None,
        "numbers": list[int] | None,
        "pet": Named | None,
        "pets": list[Named] | None,
        "find": Find | None,
        "link": Link | None,
        "colour": Colour | None,
    }
    made: dict[str, Any] = {}
    for field, returned in fields.items():
        for kind, resolve in (("", _answer), ("later_", _answer_later)):
            made[kind + field] = strawberry.field(resolver=_typed(resolve, returned))
    made["sure"] = strawberry.field(resolver=_typed(_answer, Thing))
    made["echo"] = strawberry.field(resolver=_echo)
    return strawberry.type(type(name, (), {"__module__": __name__, **made}))


def _typed(resolve: Any, returned: Any) -> Any:
    if resolve is _answer:

        def now(info: Info) -> Any:
            return _answer(info)

        now.__annotations__["return"] = returned
        return now

    async def later(info: Info) -> Any:
        return await _answer_later(info)

    later.__annotations__["return"] = returned
    return later


def _echo(
    info: Info, number: int = 3, order: Order | None = None, colours: list[Colour] | None = None, flag: bool = False
) -> str | None:
    info.context.calls.append(info.path.key)
    return f"{number} {order} {colours} {flag}"


Query = _roots("Query")
Mutation = _roots("Mutation")


class Toys:
    """Both executors on this schema."""

    def __init__(self) -> None:
        self.contexts: list[Any] = []
        self._answers: Mapping[str, Any] = {}
        self.both: Both = both(
            Query, Mutation, types=(Dog, Cat), scalars={**SCALARS, EvenNumber: Even}, context=self._context
        )

    def _context(self) -> Any:
        self.contexts.append(SimpleNamespace(answers=self._answers, calls=[]))
        return self.contexts[-1]

    async def ask(
        self, query: str, variables: Mapping[str, Any] | None = None, name: str | None = None, /, **answers: Any
    ) -> Ran:
        """Asks both; root fields answer what is given for their keys. Each resolver must have run once."""
        self._answers, self.contexts = answers, []
        ran = await self.both.run(query, variables, name)
        theirs, ours = [context.calls for context in self.contexts] or ([], [])
        assert (theirs == ours) if query.startswith("mutation") else (sorted(theirs) == sorted(ours))
        assert len(set(ours)) == len(ours)
        return ran


def thing(**attributes: Any) -> Thing:
    """A thing with attributes of any kind."""
    made = Thing()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made
