"""Arguments of root fields, from what graphql-core coerced to what resolvers take: input classes, `Maybe`s, lists.

Strawberry looks the types up again at each call. Here each field's converter is made once. What it does not know, such
as an input class that converts itself, stays with Strawberry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING
from functools import partial
from typing import Any

import strawberry
from graphql import GraphQLField
from strawberry import UNSET, Some
from strawberry.schema.compat import is_scalar
from strawberry.types import Info
from strawberry.types.base import (
    StrawberryList,
    StrawberryMaybe,
    StrawberryOptional,
    get_object_definition,
    has_object_definition,
)
from strawberry.types.enum import StrawberryEnumDefinition, has_enum_definition
from strawberry.types.field import StrawberryField
from strawberry.types.lazy_type import LazyType

from app.errors import ValidationFailed

Convert = Callable[[Any], Any]


class _Unknown(Exception):
    """A type that is left to Strawberry."""


def convert_once(schema: strawberry.Schema) -> None:
    """Gives each root field a resolver with a converter of its own."""
    converters = _Converters(schema)
    for root in (schema._schema.query_type, schema._schema.mutation_type):
        for field in root.fields.values() if root is not None else ():
            try:
                field.resolve = converters.resolver(field)
            except _Unknown:
                continue


class _Converters:
    def __init__(self, schema: strawberry.Schema) -> None:
        self._names = schema.config.name_converter
        self._scalars = schema.schema_converter.scalar_registry
        self._inputs: dict[type, Convert] = {}

    def resolver(self, field: GraphQLField) -> Callable[..., Any]:
        """What graphql-core calls for the field. Raises `_Unknown`."""
        declared: StrawberryField = field.extensions["strawberry-definition"]
        base = declared.base_resolver
        if base is None or declared.extensions or base.root_parameter or base.parent_parameter:
            raise _Unknown
        arguments = [
            (self._names.from_argument(one), one.python_name, self._of(one.type)) for one in declared.arguments
        ]
        function: Callable[..., Any] = base.wrapped_func  # type: ignore[assignment]
        takes_self = base.self_parameter is not None
        info_name = base.info_parameter.name if base.info_parameter is not None else None

        def resolve(source: Any, info: Any, **given: Any) -> Any:
            taken = {name: convert(given[key]) for key, name, convert in arguments if key in given}
            if info_name is not None:
                taken[info_name] = Info(_raw_info=info, _field=declared)
            return function(source, **taken) if takes_self else function(**taken)

        return resolve

    def _of(self, taken: Any) -> Convert:
        """The converter of values of a type; None stays None in all but `Maybe`."""
        if isinstance(taken, StrawberryMaybe):
            return self._maybe(taken)
        if isinstance(taken, StrawberryOptional):
            return self._of(taken.of_type)
        if isinstance(taken, StrawberryList):
            return self._list(taken)
        if isinstance(taken, LazyType):
            return self._of(taken.resolve_type())
        if self._is_leaf(taken):
            return _same
        if has_object_definition(taken):
            return self._input(taken)
        raise _Unknown

    def _is_leaf(self, taken: Any) -> bool:
        return (
            isinstance(taken, StrawberryEnumDefinition) or has_enum_definition(taken) or is_scalar(taken, self._scalars)
        )

    def _maybe(self, taken: StrawberryMaybe) -> Convert:
        inner, may_be_null = self._of(taken.of_type), isinstance(taken.of_type, StrawberryOptional)

        def convert(value: Any) -> Any:
            if value is None and not may_be_null:  # refused at its path before (`app.graphql.nulls`)
                raise ValidationFailed("A value must not be null.")
            return Some(inner(value))

        return convert

    def _list(self, taken: StrawberryList) -> Convert:
        inner = self._of(taken.of_type)
        if inner is _same:
            return lambda value: value if value is None or value is UNSET else list(value)
        return lambda value: value if value is None or value is UNSET else [inner(item) for item in value]

    def _input(self, taken: type) -> Convert:
        """Builds the input class. It is known under its name before its fields are, for classes that hold their own."""
        if taken in self._inputs:
            return partial(self._convert, taken)
        definition = get_object_definition(taken, strict=True)
        if definition.from_input is not None or definition.is_one_of:
            raise _Unknown
        self._inputs[taken] = _same
        absent: Mapping[str, None] = {
            one.python_name: None
            for one in definition.fields
            if one.default_value is MISSING and one.default_factory is MISSING
        }
        fields = [
            (self._names.from_field(one), one.python_name, self._of(one.resolve_type(type_definition=definition)))
            for one in definition.fields
        ]

        def convert(value: Any) -> Any:
            if value is None or value is UNSET:
                return value
            return taken(**{**absent, **{name: of(value[key]) for key, name, of in fields if key in value}})

        self._inputs[taken] = convert
        return convert

    def _convert(self, taken: type, value: Any) -> Any:
        return self._inputs[taken](value)


def _same(value: Any) -> Any:
    return value
