"""The lists of the schema, found in the schema itself: who asks for them, what of, and by which arguments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

from graphql import GraphQLObjectType, get_named_type

from app.graphql.fields import Loaded, Related, RelatedPage
from tests.contracts._schema import Place, RootField, leaf_values, places, root_fields, source_of
from tests.contracts._values import BY_TYPE, NAMED, collection_of, variables
from tests.fixtures.clinics import Client
from tests.fixtures.mirror import Generation, Side
from tests.fixtures.multitude import Multitude

PAGES = tuple(root for root in root_fields() if root.is_connection and not root.is_above_clinics)
"""Root fields that answer with pages."""
BRIEFLY = "{ edges { node { id } } pageInfo { hasNextPage } totalCount }"


@dataclass(frozen=True, slots=True)
class Asked:
    """Somebody who asks for a list at a clinic where it is long, with ids of that clinic."""

    client: Client
    side: Side
    generation: Generation

    def pick(self, place: Place) -> str:
        return str(self.generation[collection_of(place)])


async def asking(root: RootField, multitude: Multitude) -> Asked:
    """Who asks where the list is long: those of one patient, doctor or ticket at the clinic where all are of one."""
    of_one = any(place.required and place.type.name == "ID" for place in places(root))
    own = root.is_for_patients and (root.model is None or root.model.patient_column is not None)
    return await _at(multitude.deep if of_one or own else multitude.wide, root)


async def long_at(root: RootField, multitude: Multitude) -> list[Asked]:
    """Who asks at both clinics: at one there are many rows, at the other rows to which many others point."""
    return [await _at(side, root) for side in (multitude.wide, multitude.deep)]


async def _at(side: Side, root: RootField) -> Asked:
    generation = side.generations[0]
    return Asked(await side.patient(generation) if root.is_for_patients else side.admin, side, generation)


def plain(root: RootField, asked: Asked) -> dict[str, Any]:
    """The variables of a list without more arguments than it needs."""
    return variables(root, asked.pick)


def page(root: RootField, first: int, selection: str) -> str:
    """The operation that asks for so many rows."""
    text = root.document(selection)
    begun = f"{root.name}("
    return (
        text.replace(begun, f"{begun}first: {first}, ", 1)
        if begun in text
        else text.replace(f"{root.name} ", f"{root.name}(first: {first}) ", 1)
    )


@cache
def with_relations(name: str) -> str:
    """All of a page: each row with its parts and with all that it points to, and that in turn without more of it."""
    answer = next(root for root in root_fields() if root.name == name).answer_type
    assert isinstance(answer, GraphQLObjectType)
    return selected(answer, relations=True)


def selected(type_: GraphQLObjectType, *, relations: bool) -> str:
    """All fields of a type and of its parts; with `relations` also what it points to, without more of that."""
    parts = ["__typename"]
    for name, field in type_.fields.items():
        named = get_named_type(field.type)
        if isinstance(source_of(field), Loaded) and not relations:
            continue
        if not isinstance(named, GraphQLObjectType):
            parts.append(name)
        elif not isinstance(source_of(field), Related | RelatedPage | Loaded):
            parts.append(f"{name} {selected(named, relations=relations)}")
        elif relations:
            parts.append(f"{name} {selected(named, relations=False)}")
    return "{ " + " ".join(parts) + " }"


# --- arguments --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
    """Arguments of a list, and the names of those that are more than it needs."""

    arguments: tuple[str, ...]
    given: dict[str, Any]

    def __str__(self) -> str:
        return f"{' and '.join(self.arguments) or 'as it is'} {self.given}"


def questions(root: RootField, asked: Asked) -> Iterator[Question]:
    """The list as it is, with each value of each argument, and with each two arguments together."""
    yield Question((), plain(root, asked))
    single = [(place, value) for place in _choices(root) for value in _values(place, asked)]
    for place, value in single:
        yield Question((_name(place),), variables(root, asked.pick, place, value))
    for (one, first), (other, second) in combinations(single, 2):
        if _name(one) != _name(other):
            given, more = (variables(root, asked.pick, *aimed) for aimed in ((one, first), (other, second)))
            yield Question((_name(one), _name(other)), _merged(given, more, other.path))


def arguments_of(root: RootField) -> set[str]:
    """The names by which questions know a list's arguments."""
    return {_name(place) for place in _choices(root)}


def _choices(root: RootField) -> list[Place]:
    return [place for place in places(root) if place.name not in ("first", "after")]


def _name(place: Place) -> str:
    return place.path[1] if place.path[0] == "filter" else place.path[0]


def _values(place: Place, asked: Asked) -> list[Any]:
    if leaf_values(place):
        return list(leaf_values(place))
    if place.type.name == "ID":
        return [asked.pick(place)]
    if place.name == "search":
        text, digits = asked.side.marker.text, asked.side.marker.digits
        return [text[:3], text, digits[:6], f"{text}@example.com", "nothing-like-it"]
    if place.type.name == "String":
        return [asked.side.marker.text]
    return [NAMED.get((place.name, place.type.name), BY_TYPE.get(place.type.name))]


def _merged(made: dict[str, Any], more: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """The first variables, with what the second have at `path`."""
    step, *rest = path
    inner = more[step]
    if rest and isinstance(inner, dict):
        return {**made, step: _merged(made.get(step) or {}, inner, tuple(rest))}
    return {**made, step: inner}
