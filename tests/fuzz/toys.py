"""A schema of everything that a schema can hold: each kind of leaf under each wrapping, objects, interfaces, unions,
generics, rows with relations. What its fields hold is made up as it is asked for (`toy_values.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Generic, TypeVar

import strawberry
from graphql import GraphQLSchema
from strawberry.types import Info

from app.graphql.fields import computed, loaded, related, row_type, stored
from app.graphql.paging import Connection
from app.graphql.related_pages import related_page
from app.graphql.scalars import SCALARS
from app.permissions import Permission
from app.tenancy.scope import current_scope
from tests.graphql.execution.shelf import ASKED, SHELVES, shelf
from tests.graphql.execution.strange import Later
from tests.graphql.execution.things import Raised

T = TypeVar("T")


@strawberry.enum
class Colour(Enum):
    RED = "red"
    GREEN = "green-ish"


@strawberry.enum
class Size(Enum):
    SMALL = 1
    LARGE = 2


def show_odd(value: Any) -> Any:
    """Shows numbers that are odd, nothing for nought, and breaks at the rest."""
    if value % 2 == 0 and value:
        raise ValueError(f"{value} is even")
    return {"odd": value} if value else None


Odd = strawberry.scalar(name="Odd", serialize=show_odd, parse_value=int)
OddNumber = type("OddNumber", (int,), {})

LEAVES: Mapping[str, Any] = {
    "whole": int,
    "real": float,
    "text": str,
    "flag": bool,
    "key": strawberry.ID,
    "colour": Colour,
    "size": Size,
    "instant": datetime,
    "day": date,
    "amount": Decimal,
    "odd": OddNumber,
}


def maybe(of: Any) -> Any:
    """The type, or null."""
    return of | None


def each(of: Any) -> Any:
    """A list of the type."""
    return list[of]


def wrapped(name: str, of: Any) -> dict[str, Any]:
    """A type under each wrapping that a field can have."""
    return {
        name: of,
        f"{name}_or_not": of | None,
        f"{name}s": list[of],
        f"{name}s_or_not": list[of] | None,
        f"some_{name}s": list[of | None],
        f"any_{name}s": list[of | None] | None,
        f"{name}_grid": list[list[of]],
        f"any_{name}_grid": list[list[of | None] | None] | None,
    }


ANNOTATIONS = {name: type_ for kind, leaf in LEAVES.items() for name, type_ in wrapped(kind, leaf).items()}


class Lazily:
    """What an object holds is made up when it is first asked for, and the same from then on."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or "maker" not in self.__dict__:
            raise AttributeError(name)
        return self.__dict__["maker"].attribute(self, name)


def plain(name: str, annotations: Mapping[str, Any], *bases: type, interface: bool = False) -> Any:
    """A Strawberry type of these attributes."""
    made = type(name, (*bases, Lazily), {"__annotations__": dict(annotations), "__module__": __name__})
    return strawberry.interface(made) if interface else strawberry.type(made)


Leaf = plain("Leaf", ANNOTATIONS)
Node = plain("Node", {"text": str, "whole": int | None, "leaf": maybe(Leaf), "next": "Node | None"}, interface=True)
First = plain("First", {"colour": Colour | None, **wrapped("inner", Leaf)}, Node)
Second = plain("Second", {"real": float, "first": maybe(First)}, Node)
Loose = plain("Loose", {"text": str | None, "flag": bool, "node": maybe(Node)})
Either = Annotated[First | Second | Loose, strawberry.union("Either")]  # type: ignore[valid-type]


class _Box(Lazily, Generic[T]):
    held: T
    maybe: T | None
    all: list[T]


Box = strawberry.type(_Box, name="Box")


@strawberry.type
class Slow(Lazily):
    """Fields with resolvers of their own, which no plan can express."""

    text: str | None
    node: Node | None  # type: ignore[valid-type]

    @strawberry.field
    def told(self, info: Info, times: int = 1) -> str | None:
        return (self.text or "") * times


Thing = plain(
    "Thing",
    {
        "whole": int,
        "text": str | None,
        "leaf": Leaf,
        "leaf_or_not": maybe(Leaf),
        "leaves": each(Leaf),
        "some_leaves": maybe(each(maybe(Leaf))),
        "leaf_grid": maybe(each(each(Leaf))),
        "thing": "Thing | None",
        "must": "Thing",
        "things": "list[Thing] | None",
        "node": maybe(Node),
        "nodes": each(Node),
        "some_nodes": maybe(each(maybe(Node))),
        "either": Either,
        "eithers": each(maybe(Either)),
        "box": maybe(Box[Leaf]),
        "numbers": maybe(Box[int]),
        "slow": maybe(Slow),
    },
)

# --- rows -------------------------------------------------------------------------------------------------------------


def rows(name: str, annotations: Mapping[str, Any], fields: Mapping[str, Any], **more: Any) -> Any:
    """A row type: what is annotated alone is stored."""
    columns = {field: stored(description=field) for field in annotations if field not in fields}
    made = type(name, (), {"__annotations__": dict(annotations), "__module__": __name__, **columns, **fields})
    return row_type(name, description=name, **more)(made)


def _length(row: Mapping[str, Any]) -> Any:
    return len(row["text"])


async def notes(keys: list[Any]) -> Mapping[Any, Any]:
    """Notes of books, of those that have any."""
    ASKED.get().append("notes")
    if "notes" in SHELVES.failing:
        raise RuntimeError("no notes can be read")
    return {row["_id"]: row["notes"] for row in SHELVES.rows["notes"] if row["_id"] in keys}


Plain = rows("Plain", ANNOTATIONS, {})
Person: Any = rows(
    "Person",
    {"id": strawberry.ID, "text": str, "day": date | None, "best": "Book | None", "books": "Connection[Book]"},
    {
        "id": stored("_id", description="id"),
        "best": related(lambda: Book, key="best_id", description="best"),
        "books": related_page(
            lambda: Book, foreign="author_id", sort=[("rank", 1), ("_id", 1)], description="their books"
        ),
    },
    model=shelf("people"),
)
Secret = rows(
    "Secret",
    {"text": str, "person": maybe(Person)},
    {"person": related(lambda: Person, key="person_id", description="person")},
    model=shelf("secrets"),
    read=Permission.PATIENT_READ,
)
Part = rows(
    "Part",
    {"whole": int, "text": str | None, "person": maybe(Person), "plain": maybe(Plain)},
    {"person": related(lambda: Person, key="person_id", description="person")},
)
Book: Any = rows(
    "Book",
    {
        "id": strawberry.ID,
        "text": str,
        "colour": Colour,
        "amount": Decimal | None,
        "instants": list[datetime] | None,
        "length": int,
        "length_or_not": int | None,
        "plain": Plain,
        "plains": maybe(each(maybe(Plain))),
        "part": maybe(Part),
        "parts": each(Part),
        "author": Person,
        "author_or_not": maybe(Person),
        "readers": each(Person),
        "secret": maybe(Secret),
        "secrets": each(Secret),
        "notes": list[str],
        "notes_or_not": list[str | None] | None,
        "reviews": "Connection[Review]",
    },
    {
        "id": stored("_id", description="id"),
        "length": computed("text", by=_length, description="length"),
        "length_or_not": computed("text", by=_length, description="length"),
        "author": related(lambda: Person, key="author_id", description="author"),
        "author_or_not": related(lambda: Person, key="author_id", description="author"),
        "readers": related(lambda: Person, key="reader_ids", many=True, description="readers"),
        "secret": related(lambda: Secret, key="secret_id", description="secret"),
        "secrets": related(lambda: Secret, key="secret_ids", many=True, description="secrets"),
        "notes": loaded("_id", by=notes, description="notes"),
        "notes_or_not": loaded("note_id", by=notes, description="notes"),
        "reviews": related_page(
            lambda: Review, foreign="book_id", sort=[("rank", -1), ("_id", -1)], description="reviews"
        ),
    },
    model=shelf("books"),
)
Review: Any = rows(
    "Review",
    {"text": str, "whole": int | None, "person": maybe(Person), "book": maybe(Book)},
    {
        "person": related(lambda: Person, key="person_id", description="person"),
        "book": related(lambda: Book, key="book_id", description="book"),
    },
    model=shelf("reviews"),
)

# --- roots ------------------------------------------------------------------------------------------------------------


async def _answered(info: Info) -> Any:
    """What the context holds for this key of the answer, in an act of its own, as each root field has it."""
    trail = current_scope().trail
    assert trail is not None
    trail.begin(str(info.path.key))
    info.context.calls.append(info.path.key)
    value = info.context.answers[info.path.key]
    if isinstance(value, Later):
        value = await value
    if isinstance(value, Raised):
        raise value.args[0]
    return value


def _root(returned: Any) -> Any:
    async def resolve(info: Info) -> Any:
        return await _answered(info)

    resolve.__annotations__["return"] = returned
    return strawberry.field(resolver=resolve)


@strawberry.input
class Told:
    text: str = "told"
    colour: Colour = Colour.RED
    numbers: list[int] | None = None


@strawberry.type
class Echo:
    said: str

    @classmethod
    def of(cls, *said: Any) -> Any:
        return cls(said=str(said))


def _echo(info: Info, number: int = 3, told: Told | None = None, colours: list[Colour] | None = None) -> Echo | None:
    info.context.calls.append(info.path.key)
    made: Echo = Echo.of(number, told, colours, str(info.return_type), info.field_name)
    return made


ROOTS: Mapping[str, Any] = {
    "thing": maybe(Thing),
    "things": maybe(each(Thing)),
    "some_things": maybe(each(maybe(Thing))),
    "node": maybe(Node),
    "nodes": maybe(each(Node)),
    "either": maybe(Either),
    "eithers": maybe(each(maybe(Either))),
    "box": maybe(Box[Leaf]),
    "leaf": maybe(Leaf),
    "slow": maybe(Slow),
    "book": maybe(Book),
    "books": maybe(each(Book)),
    "people": maybe(each(maybe(Person))),
    "library": Connection[Book] | None,
    "plain": maybe(Plain),
    **{f"bare_{kind}": leaf | None for kind, leaf in LEAVES.items()},
    **{f"bare_{kind}s": maybe(each(leaf)) for kind, leaf in LEAVES.items()},
}


def _roots(name: str) -> Any:
    fields = {root: _root(returned) for root, returned in ROOTS.items()}
    made = type(name, (), {"__module__": __name__, **fields, "echo": strawberry.field(resolver=_echo)})
    return strawberry.type(made)


def toy_schema() -> GraphQLSchema:
    """The schema below Strawberry's."""
    schema = strawberry.Schema(
        query=_roots("Query"),
        mutation=_roots("Mutation"),
        types=[First, Second],
        config=strawberry.schema.config.StrawberryConfig(scalar_map={**SCALARS, OddNumber: Odd}),
    )
    core: GraphQLSchema = schema._schema
    return core
