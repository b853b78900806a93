"""What an operation selects, worked out once: each field with where its value comes from.

Selections are collected by graphql-core itself (merging, fragments, `@skip` and `@include`), so that a plan cannot
differ from it; a plan is for one set of values of the variables that those two directives name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    GraphQLUnionType,
    OperationDefinitionNode,
    TypeNameMetaFieldDef,
    get_named_type,
)
from graphql.execution.collect_fields import FieldDetailsList, FragmentDetails, collect_fields, collect_subfields
from graphql.execution.values import VariableValues
from strawberry.types.field import StrawberryField

from app.graphql.fields import Computed, ComputedField, Loaded, Related, RelatedPage, Stored, StoredField

DEFINITION = "strawberry-definition"
ABSTRACT = (GraphQLInterfaceType, GraphQLUnionType)


class Unplannable(Exception):
    """Why a selection is left to graphql-core, in one word or two."""


@dataclass(frozen=True, slots=True)
class TypeName:
    """The name of the runtime type."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of a plain object."""

    name: str


Batched: TypeAlias = Related | RelatedPage | Loaded
Source: TypeAlias = TypeName | Attribute | Stored | Computed | Batched


@dataclass(frozen=True, slots=True)
class Chosen:
    """One entry of the answer. `slot` numbers those whose values are loaded in batches."""

    key: str
    definition: GraphQLField
    details: FieldDetailsList
    source: Source
    below: Mapping[str, Selection]
    """The selections of the object types that the value may be of, by their names; none for leaves."""
    slot: int = -1

    @property
    def nodes(self) -> list[FieldNode]:
        return [one.node for one in self.details]


@dataclass(frozen=True, slots=True)
class Selection:
    """What is selected of one object type."""

    type: GraphQLObjectType
    fields: list[Chosen]

    def batched(self) -> Iterator[Chosen]:
        """Those of its own fields whose values are loaded in batches."""
        return (one for one in self.fields if one.slot >= 0)


@dataclass(slots=True)
class Planner:
    """Plans selections of one operation for one set of the directives' variables."""

    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    operation: OperationDefinitionNode
    variables: VariableValues
    hide_suggestions: bool
    slots: int = field(default=0, init=False)
    """Of the root field at hand."""
    fields: int = field(default=0, init=False)
    """Of the whole operation, for each type that they may be of."""

    @property
    def _details(self) -> dict[str, FragmentDetails]:
        return {name: FragmentDetails(node) for name, node in self.fragments.items()}

    def root_fields(self, root: GraphQLObjectType) -> dict[str, FieldDetailsList]:
        """The operation's own fields, by their keys in the answer."""
        collected = collect_fields(
            self.schema, self._details, self.variables, root, self.operation, self.hide_suggestions
        )
        return dict(collected.grouped_field_set)

    def below(self, returned: GraphQLOutputType, details: FieldDetailsList) -> dict[str, Selection]:
        """The selections below a field, one for each object type that its value may be of.

        Raises `Unplannable`.
        """
        named = get_named_type(returned)
        if isinstance(named, GraphQLObjectType):
            return {named.name: self._selection(named, details)}
        if isinstance(named, ABSTRACT):
            if getattr(named.extensions.get(DEFINITION), "resolve_type", None):
                raise Unplannable("type resolver")
            possible = self.schema.get_possible_types(named)
            return {one.name: self._selection(one, details) for one in possible}
        return {}

    def _selection(self, type_: GraphQLObjectType, details: FieldDetailsList) -> Selection:
        definition = type_.extensions.get(DEFINITION)
        if definition is None or definition.is_type_of:
            raise Unplannable("type check")
        collected = collect_subfields(
            self.schema, self._details, self.variables, self.operation, type_, details, self.hide_suggestions
        )
        fields = [self._chosen(type_, key, found) for key, found in collected.grouped_field_set.items()]
        return Selection(type_, fields)

    def _chosen(self, parent: GraphQLObjectType, key: str, details: FieldDetailsList) -> Chosen:
        definition = self.schema.get_field(parent, details[0].node.name.value)
        if definition is None:
            raise Unplannable("unknown field")
        source = _source(definition)
        self.fields += 1
        slot = -1
        if isinstance(source, Related | RelatedPage | Loaded):
            slot, self.slots = self.slots, self.slots + 1
        return Chosen(key, definition, details, source, self.below(definition.type, details), slot)


def _source(definition: GraphQLField) -> Source:
    """Where a field's value comes from. Raises `Unplannable` for a resolver."""
    if definition is TypeNameMetaFieldDef:
        return TypeName()
    declared = definition.extensions.get(DEFINITION)
    if isinstance(declared, StoredField):
        return Stored(declared.column)
    if isinstance(declared, ComputedField):
        computed: Computed = declared.metadata["source"]
        return computed
    source: Any = getattr(declared, "metadata", {}).get("source")
    if isinstance(source, Related | RelatedPage | Loaded):
        return source
    if type(declared) is StrawberryField and declared.is_basic_field and declared.default_resolver is getattr:
        return Attribute(declared.python_name)
    raise Unplannable("resolver")


def list_depth(returned: GraphQLOutputType) -> int:
    """How many lists lie within each other in a type."""
    depth = 0
    while isinstance(returned, GraphQLNonNull | GraphQLList):
        depth += isinstance(returned, GraphQLList)
        returned = returned.of_type
    return depth
