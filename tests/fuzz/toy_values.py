"""What the toys hold: values as their types promise, and at a chosen rate anything else that Python can hand over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random
from typing import Any

from bson import Decimal128, ObjectId
from graphql import (
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    GraphQLUnionType,
    Undefined,
    is_leaf_type,
)

from app.errors import Forbidden, NotFound
from app.graphql.fields import Stored
from tests.fuzz.toys import Colour, OddNumber, Size
from tests.graphql.execution.strange import Later, Some, SomeLater
from tests.graphql.execution.things import Raised

FIT: Mapping[str, Sequence[Any]] = {
    "Int": (0, 7, -1, 2**31 - 1, -(2**31)),
    "Float": (0.5, -1.25, 3, 1e300),
    "String": ("a", "", '\u00e9\u2028"\\', "true"),
    "Boolean": (True, False),
    "ID": ("a", 7, ObjectId("0" * 24), "", -3),
    "Colour": (Colour.RED, "red", "green-ish"),
    "Size": (Size.LARGE, 1, 2),
    "DateTime": (datetime(2030, 1, 7, 9, 30, tzinfo=UTC), datetime(2030, 1, 7, 9, 30, 0, 5000)),  # noqa: DTZ001
    "Date": (date(2030, 1, 7), datetime(2030, 1, 7, tzinfo=UTC)),
    "Decimal": (Decimal("1.50"), Decimal(0), Decimal128("2.25")),
    "Odd": (1, 3, OddNumber(5)),
}
UNFIT: Sequence[Any] = (
    "red",
    "RED",
    "5",
    "",
    "2030-01-07",
    5,
    0,
    2**31,
    -(2**40),
    1.0,
    1.5,
    float("nan"),
    float("inf"),
    True,
    b"bytes",
    (),
    [],
    ["a"],
    {},
    {"a": 1},
    {"__typename": "First"},
    {1, 2},
    Colour.RED,
    Size.SMALL,
    Undefined,
    object,
    ObjectId("1" * 24),
    Decimal128("NaN"),
)
FAILURES: Sequence[Exception] = (
    ValueError("broken"),
    RuntimeError(),
    GraphQLError("said", extensions={"code": "SAID"}),
    NotFound.at("id"),
    Forbidden("Not for you."),
    KeyError("missing"),
)


@dataclass(slots=True)
class ValueMaker:
    """Makes values for types of the toys; `wrong` is how often they are something else."""

    schema: GraphQLSchema
    chance: Random
    wrong: float
    origins: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.origins = {
            name: type_.extensions["strawberry-definition"].origin
            for name, type_ in self.schema.type_map.items()
            if isinstance(type_, GraphQLObjectType) and "strawberry-definition" in (type_.extensions or {})
        }

    def answer(self, returned: GraphQLOutputType) -> Any:
        """What a resolver returns, or raises (`Raised`)."""
        kind = self.chance.random()
        if kind < 0.04:
            return Raised(self.chance.choice(FAILURES))
        value = self.value(returned)
        return Later(value) if kind < 0.4 else value

    def value(self, returned: GraphQLOutputType) -> Any:
        """A value for a field of this type."""
        if self.chance.random() < self.wrong:
            return self._wrong(returned)
        if not isinstance(returned, GraphQLNonNull):
            if self.chance.random() < 0.15:
                return None
        else:
            returned = returned.of_type
        if isinstance(returned, GraphQLList):
            return [self.value(returned.of_type) for _ in range(self.chance.choice((0, 1, 1, 2, 3)))]
        if is_leaf_type(returned):
            return self.leaf(returned)
        return self._object(returned)

    def leaf(self, leaf: GraphQLLeafType, *, plain: bool = True) -> Any:
        fit = FIT[leaf.name]
        return self.chance.choice([one for one in fit if not (plain and isinstance(one, Decimal128))])

    def attribute(self, thing: Any, name: str) -> Any:
        """The value of a plain object's attribute; the same each time."""
        core: GraphQLObjectType = thing.__dict__["core"]
        absent = thing.__dict__.setdefault("absent", set())
        if name in absent or self.chance.random() < self.wrong / 4:
            absent.add(name)
            raise AttributeError(name)
        for definition in core.fields.values():
            if definition.extensions["strawberry-definition"].python_name == name:
                value = self.value(definition.type)
                setattr(thing, name, value)
                return value
        raise AttributeError(name)

    def _object(self, returned: Any) -> Any:
        if isinstance(returned, GraphQLInterfaceType | GraphQLUnionType):
            returned = self.chance.choice(self.schema.get_possible_types(returned))
        origin = self.origins[returned.name]
        if hasattr(origin, "__row__"):
            return Rows(self).row(returned)
        made = origin.__new__(origin)
        made.__dict__.update(maker=self, core=returned)
        return made

    def _wrong(self, returned: GraphQLOutputType) -> Any:
        inner = returned.of_type if isinstance(returned, GraphQLNonNull) else returned
        kinds: list[Callable[[], Any]] = [
            lambda: None,
            lambda: self.chance.choice(UNFIT),
            lambda: self.chance.choice(FAILURES),
            lambda: Later(self.value(returned)),
            lambda: Later(Raised(self.chance.choice(FAILURES))),
        ]
        if isinstance(inner, GraphQLList):
            items = [self.value(inner.of_type) for _ in range(2)]
            kinds += [lambda: tuple(items), lambda: Some(items), lambda: SomeLater(items), lambda: items[0]]
        elif not is_leaf_type(inner):
            other = self.schema.type_map[self.chance.choice(("First", "Loose", "Leaf", "Thing", "Plain"))]
            kinds += [lambda: self._object(other), lambda: self._object(other)]
        return self.chance.choice(kinds)()


@dataclass(slots=True)
class Rows:
    """Makes rows: dicts of columns, all of them at once."""

    maker: ValueMaker
    ids: Mapping[str, Sequence[ObjectId]] = field(default_factory=dict)

    def shelves(self) -> dict[str, list[dict[str, Any]]]:
        """A few documents of each model, which point to each other and to nothing."""
        names = {"people": "Person", "secrets": "Secret", "books": "Book", "reviews": "Review", "notes": ""}
        self.ids = {name: [ObjectId() for _ in range(3)] for name in names}
        found = {name: [self._document(name, type_, id) for id in self.ids[name]] for name, type_ in names.items()}
        book = self.maker.schema.type_map["Book"]
        assert isinstance(book, GraphQLObjectType)
        notes = book.fields["notes"].type
        for row, id in zip(found["notes"], [*self.ids["books"][:2], self.ids["notes"][0]], strict=True):
            row.update(_id=id, notes=self.maker.value(notes))
        return found

    def _document(self, name: str, type_: str, id: ObjectId) -> dict[str, Any]:
        row = self.row(self.maker.schema.type_map[type_]) if type_ else {}
        return {**row, "_id": id, "rank": self.maker.chance.randrange(3)}

    def row(self, type_: Any) -> dict[str, Any]:
        """A row of a type; its keys are those of this maker's documents."""
        row: dict[str, Any] = {}
        for definition in type_.fields.values():
            declared = definition.extensions["strawberry-definition"]
            source: Any = declared.metadata.get("source")
            if isinstance(source, Stored):
                row[source.column or declared.python_name] = self._stored(definition.type)
        keys = {"people": ("person_id", "author_id", "best_id"), "secrets": ("secret_id",), "notes": ("note_id",)}
        row |= {key: self._key(name) for name, some in keys.items() for key in some}
        row |= {"best_id": self._key("books"), "book_id": self._key("books"), "_id": ObjectId()}
        row |= {"reader_ids": self._keys("people"), "secret_ids": self._keys("secrets")}
        for column in list(row):
            if column != "_id" and self.maker.chance.random() < self.maker.wrong / 4:
                del row[column]
        return row

    def _stored(self, returned: Any) -> Any:
        named = getattr(returned, "of_type", returned)
        if isinstance(named, GraphQLObjectType) and named.name.endswith("Connection"):
            return None
        if is_leaf_type(named) and self.maker.chance.random() > self.maker.wrong:
            nothing = named is returned and self.maker.chance.random() < 0.15
            return None if nothing else self.maker.leaf(named, plain=False)
        return self.maker.value(returned)

    def _key(self, name: str) -> Any:
        if self.maker.chance.random() < self.maker.wrong:
            return self.maker.chance.choice(([], {}, "abc", 5, [ObjectId()], ["x"]))
        known = self.ids.get(name, ())
        return self.maker.chance.choice((*known, *known, None, ObjectId()))

    def _keys(self, name: str) -> Any:
        if self.maker.chance.random() < self.maker.wrong:
            return self.maker.chance.choice(("abc", 5, {}, (ObjectId(),), [[]], [None], ObjectId()))
        return None if self.maker.chance.random() < 0.1 else [self._key(name) for _ in range(3)]


def answers(maker: ValueMaker, rows: Mapping[str, Sequence[Any]], name: str, returned: Any) -> Any:
    """What a root field answers: rows of the shelves where its type is a row type, else whatever fits."""
    chance = maker.chance
    if name in ("book", "books", "people") and chance.random() > maker.wrong + 0.1:
        some = [dict(row) for row in rows["people" if name == "people" else "books"]]
        value: Any = some[0] if name == "book" else some[: chance.randrange(4)]
        return Later(value) if chance.random() < 0.5 else value
    if name == "library" and chance.random() > maker.wrong + 0.1:
        edges = [{"cursor": "c", "node": dict(row)} for row in rows["books"]]
        ends = {"has_next_page": False, "has_previous_page": True, "start_cursor": "c", "end_cursor": None}
        return {"edges": edges, "page_info": ends, "total_count": 3, "total_count_is_exact": True}
    return maker.answer(returned)
