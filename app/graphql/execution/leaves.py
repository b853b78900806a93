"""Leaf values: how each scalar and enum is put into the answer.

The usual stored values are recognised by their type and written without a call; all others take graphql-core's own way.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from inspect import isawaitable
from typing import Any

from bson import ObjectId
from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLInt,
    GraphQLLeafType,
    GraphQLString,
    Undefined,
)

from app.graphql.fields import output
from app.graphql.scalars import show_instant

Convert = Callable[[Any], Any]


class Irregular(Exception):
    """A value that is not as its type promises: graphql-core says what becomes of it."""


def is_missing(value: Any) -> bool:
    """Whether something stands where a value must be, and is none: graphql-core awaits or raises it, or says null."""
    return value is None or value is Undefined or isinstance(value, Exception) or isawaitable(value)


def converter(leaf: GraphQLLeafType, *, stored: bool, nullable: bool) -> Convert:
    """Puts any value into the answer as graphql-core does, or raises (`Irregular` or whatever the scalar raises)."""
    coerce = leaf.coerce_output_value

    def convert(value: Any) -> Any:
        if value is None and nullable:
            return None
        if stored:
            value = output(value)
        if is_missing(value):
            raise Irregular
        coerced = coerce(value)
        if coerced is None or coerced is Undefined:
            raise Irregular
        return coerced

    return convert


def enum_names(enum: GraphQLEnumType) -> dict[Any, str]:
    """The names of an enum's values as they are stored, each as graphql-core gives it."""
    return {one.value: enum.coerce_output_value(one.value) for one in enum.values.values()}


def statement(leaf: GraphQLLeafType, name: str, fix: str, constant: Callable[[Any], str], *, stored: bool) -> str:
    """A statement that turns the variable `name` into its place in the answer. `fix` names the converter of any
    value; `constant` gives the name of a value in the code's scope."""
    if leaf is GraphQLString or (leaf.name == "ID" and not stored):
        return f"if type({name}) is not str: {name} = {fix}({name})"
    if leaf is GraphQLBoolean:
        return f"if {name} is not True and {name} is not False: {name} = {fix}({name})"
    if leaf is GraphQLInt:
        return f"if type({name}) is not int or not -2147483648 <= {name} <= 2147483647: {name} = {fix}({name})"
    if leaf.name == "ID" and stored:
        return f"{name} = {name}.binary.hex() if type({name}) is {constant(ObjectId)} else {fix}({name})"
    if leaf.coerce_output_value is show_instant:
        return f"{name} = {name}.isoformat() if type({name}) is {constant(datetime)} else {fix}({name})"
    if isinstance(leaf, GraphQLEnumType):
        return f"{name} = {constant(enum_names(leaf))}.get({name}) or {fix}({name})"
    return f"{name} = {fix}({name})"
