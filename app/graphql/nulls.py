"""Refuses null, at its path, for inputs that may be left out but not emptied: `Maybe[str]`, not `Maybe[str | None]`.

GraphQL has no such type, so the schema shows both as nullable and Strawberry finds the null without saying where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from graphql import (
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLSchema,
    get_named_type,
    get_nullable_type,
)
from strawberry.types.base import StrawberryMaybe, StrawberryOptional

from app.errors import FieldError, ValidationFailed

Inputs = Mapping[str, GraphQLInputType]


def refuse_nulls(schema: GraphQLSchema) -> None:
    """Puts the check before each root field that takes an input object."""
    for root in filter(None, (schema.query_type, schema.mutation_type, schema.subscription_type)):
        for field in root.fields.values():
            types = {name: argument.type for name, argument in field.args.items()}
            inputs = {name: taken for name, taken in types.items() if _may_be_wrong(taken)}
            if inputs and field.resolve is not None:
                field.resolve = _checked(field.resolve, inputs)


def _may_be_wrong(taken: GraphQLInputType, above: frozenset[str] = frozenset()) -> bool:
    """Whether somewhere in values of this type a null is forbidden that GraphQL lets pass."""
    named = get_named_type(taken)
    if not isinstance(named, GraphQLInputObjectType) or named.name in above:
        return False
    return any(
        _needs_value(field) or _may_be_wrong(field.type, above | {named.name}) for field in named.fields.values()
    )


def _checked(resolve: Callable[..., Any], inputs: Inputs) -> Callable[..., Any]:
    def checked(source: Any, info: Any, **arguments: Any) -> Any:
        wrong = [
            path for name, taken in inputs.items() if name in arguments for path in _nulls(arguments[name], taken, name)
        ]
        if wrong:
            raise ValidationFailed(fields=[FieldError(path, "must not be null") for path in wrong])
        return resolve(source, info, **arguments)

    return checked


def _nulls(value: Any, taken: GraphQLInputType, path: str) -> Iterator[str]:
    """The paths of forbidden nulls in a coerced input value."""
    nullable = get_nullable_type(taken)
    if isinstance(nullable, GraphQLList) and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _nulls(item, nullable.of_type, f"{path}.{index}")
    elif isinstance(nullable, GraphQLInputObjectType) and isinstance(value, Mapping):
        for name, item in value.items():
            field = nullable.fields[name]
            if item is None and _needs_value(field):
                yield f"{path}.{name}"
            yield from _nulls(item, field.type, f"{path}.{name}")


def _needs_value(field: GraphQLInputField) -> bool:
    declared = field.extensions["strawberry-definition"].type
    return isinstance(declared, StrawberryMaybe) and not isinstance(declared.of_type, StrawberryOptional)
