"""The schema as the contract tests walk it: root fields with their access, and operations made for each of them.

Everything is found in the schema itself. A new field, argument or input is covered without a line here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLSyntaxError,
    GraphQLType,
    get_named_type,
    is_required_argument,
    is_required_input_field,
    parse,
)

from app.errors import QueryTooComplex
from app.graphql.access import Access, Level
from app.graphql.fields import Related, RowSpec
from app.graphql.limits import BOUNDS, check_document
from app.permissions import Permission, PlatformRight
from models.base import GuardedDocument
from resolvers.schema import build_schema, core_schema

Slot = GraphQLArgument | GraphQLInputField


@cache
def schema() -> GraphQLSchema:
    """The schema that the application serves."""
    return core_schema(build_schema())


@dataclass(frozen=True, slots=True)
class RootField:
    """One field of Query or Mutation."""

    operation: str
    name: str
    core: GraphQLField

    def __str__(self) -> str:
        return f"{self.operation} {self.name}"

    @property
    def access(self) -> Access:
        """What it asks of its caller. Raises AssertionError when it declares nothing."""
        declared = self.core.extensions["strawberry-definition"].metadata.get("access")
        assert isinstance(declared, Access), f"{self} declares neither a permission nor that it is public"
        return declared

    @property
    def permission(self) -> Permission | None:
        rule = self.access.rule
        return rule if isinstance(rule, Permission) else None

    @property
    def is_public(self) -> bool:
        return self.access.rule is Level.PUBLIC

    @property
    def is_for_patients(self) -> bool:
        """Whether it answers patients alone, each about themselves."""
        return self.access.rule is Level.PATIENT

    @property
    def is_above_clinics(self) -> bool:
        """Whether it is for those who run the system, on the root host alone."""
        return isinstance(self.access.rule, PlatformRight)

    @property
    def is_mutation(self) -> bool:
        return self.operation == "mutation"

    @property
    def answer_type(self) -> GraphQLNamedType:
        return get_named_type(self.core.type)

    @property
    def model(self) -> type[GuardedDocument] | None:
        """The document behind the answer: that of its type, or of its connection's nodes."""
        return model_of_type(node_type(self.core.type) or self.answer_type)

    @property
    def is_connection(self) -> bool:
        return node_type(self.core.type) is not None

    def document(self, selection: str) -> str:
        """An operation of this field alone, with its arguments as variables; pages have their usual length."""
        slots = {name: slot for name, slot in self.core.args.items() if name != "first"}
        variables = ", ".join(f"${name}: {_variable_type(slot)}" for name, slot in slots.items())
        arguments = ", ".join(f"{name}: ${name}" for name in slots)
        head = f"{self.operation}({variables})" if variables else self.operation
        return f"{head} {{ {self.name}{f'({arguments})' if arguments else ''} {selection} }}"

    @property
    def briefly(self) -> str:
        """The operation that asks for as little of the answer as can be."""
        return self.document("{ __typename }" if isinstance(self.answer_type, GraphQLObjectType) else "")

    @property
    def fully(self) -> str:
        """The operation that asks for everything below, relations of relations included, as deep as may be asked."""
        return _fully(self.name)


@cache
def _fully(name: str) -> str:
    root = next(root for root in root_fields() if root.name == name)
    if not isinstance(root.answer_type, GraphQLObjectType):
        return root.document("")
    deepest = None
    for depth in range(2, BOUNDS.depth + 1):
        text = root.document(_select(root.answer_type, depth, ()))
        if text != deepest and not _fits(text):
            break
        deepest = text
    assert deepest is not None, f"{root} is too wide to be asked for as a whole"
    return deepest


def _fits(text: str) -> bool:
    """Whether a document is within the bounds. Most that are not are found by their length, without a look inside."""
    if len(text) > BOUNDS.characters:
        return False
    try:
        check_document(parse(text, max_tokens=BOUNDS.tokens))
    except (QueryTooComplex, GraphQLSyntaxError):
        return False
    return True


def _variable_type(slot: GraphQLArgument) -> str:
    """Nullable where the argument has a default, so that the variable may be left out."""
    return str(slot.type) if is_required_argument(slot) else str(slot.type).removesuffix("!")


@cache
def root_fields() -> tuple[RootField, ...]:
    """All fields of Query and Mutation."""
    assert schema().subscription_type is None, "walk subscriptions here as well"
    types = (("query", schema().query_type), ("mutation", schema().mutation_type))
    return tuple(
        RootField(operation, name, field)
        for operation, type_ in types
        if type_ is not None
        for name, field in type_.fields.items()
    )


def node_type(type_: GraphQLType) -> GraphQLNamedType | None:
    """The type of a connection's nodes; None when `type_` is no connection."""
    named = get_named_type(type_)
    if not isinstance(named, GraphQLObjectType) or not {"edges", "pageInfo"} <= named.fields.keys():
        return None
    edge = get_named_type(named.fields["edges"].type)
    assert isinstance(edge, GraphQLObjectType)
    node: GraphQLNamedType = get_named_type(edge.fields["node"].type)
    return node


def model_of_type(type_: GraphQLNamedType) -> type[GuardedDocument] | None:
    """The document that a row type shows; None for parts of rows and scalars."""
    spec: RowSpec | None = getattr(origin_of(type_), "__row__", None)
    if spec is None or spec.model is None:
        return None
    assert issubclass(spec.model, GuardedDocument), f"{type_.name} shows a document that goes around the guard"
    return spec.model


def origin_of(type_: GraphQLNamedType) -> Any:
    """The class that declares a type; None for GraphQL's own."""
    definition = (type_.extensions or {}).get("strawberry-definition")
    return getattr(definition, "origin", None)


def types_below(type_: GraphQLNamedType) -> list[GraphQLNamedType]:
    """A type and all that can be reached from it."""
    found: dict[str, GraphQLNamedType] = {}
    waiting = [type_]
    while waiting:
        one = waiting.pop()
        if one.name not in found:
            found[one.name] = one
            fields = one.fields.values() if isinstance(one, GraphQLObjectType) else ()
            waiting += [get_named_type(field.type) for field in fields]
    return list(found.values())


def source_of(field: GraphQLField) -> Any:
    """Where a row type's field comes from."""
    definition = field.extensions.get("strawberry-definition")
    return definition.metadata.get("source") if definition is not None else None


def is_relation(field: GraphQLField) -> bool:
    return isinstance(source_of(field), Related)


# --- selections -------------------------------------------------------------------------------------------------------


def _select(type_: GraphQLObjectType, depth: int, above: tuple[str, ...]) -> str:
    parts = ["__typename"]
    for name, field in type_.fields.items():
        named = get_named_type(field.type)
        if any(is_required_argument(argument) for argument in field.args.values()):
            raise AssertionError(f"{type_.name}.{name} requires an argument: give it a default")
        if not isinstance(named, GraphQLObjectType):
            parts.append(name)
        elif depth > 2 and (*above, type_.name).count(named.name) < 2:
            parts.append(f"{name} {_select(named, depth - 1, (*above, type_.name))}")
    return "{ " + " ".join(parts) + " }"


# --- places in inputs -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """One argument, or one field of a nested input: the names that lead to it, and its type without `!` and lists."""

    root: RootField
    path: tuple[str, ...]
    type: GraphQLNamedType
    is_list: bool
    required: bool

    def __str__(self) -> str:
        return f"{self.root} {'.'.join(self.path)}"

    @property
    def name(self) -> str:
        return self.path[-1]


def places(root: RootField) -> Iterator[Place]:
    """Every leaf of a field's arguments, at any depth."""
    for name, argument in root.core.args.items():
        yield from _leaves(root, (name,), argument, ())


def _leaves(root: RootField, path: tuple[str, ...], slot: Slot, above: tuple[str, ...]) -> Iterator[Place]:
    named = get_named_type(slot.type)
    if not isinstance(named, GraphQLInputObjectType):
        yield Place(root, path, named, _is_list(slot.type), is_required(slot))
    elif named.name not in above:
        for name, field in named.fields.items():
            yield from _leaves(root, (*path, name), field, (*above, named.name))


def _is_list(type_: GraphQLType) -> bool:
    bare = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
    return isinstance(bare, GraphQLList)


def is_required(slot: Slot) -> bool:
    return is_required_argument(slot) if isinstance(slot, GraphQLArgument) else is_required_input_field(slot)


def id_places(root: RootField) -> list[Place]:
    """Where a field takes ids."""
    return [place for place in places(root) if place.type.name == "ID"]


def leaf_values(place: Place) -> tuple[Any, ...]:
    """All values of an enum or Boolean, for walking through them."""
    if isinstance(place.type, GraphQLEnumType):
        return tuple(place.type.values)
    return (True, False) if place.type.name == "Boolean" else ()


def own_types() -> Iterator[GraphQLNamedType]:
    """The schema's types, without GraphQL's own."""
    return (type_ for name, type_ in schema().type_map.items() if not name.startswith("__"))


def scalars() -> Iterator[GraphQLScalarType]:
    return (type_ for type_ in own_types() if isinstance(type_, GraphQLScalarType))
