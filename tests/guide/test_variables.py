"""The variables that a page of the guide shows fit the operation that they stand behind: they can be sent as they are,
but for ids (`…`), and nobody has to guess what an operation takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import (
    GraphQLInputObjectType,
    NamedTypeNode,
    NonNullTypeNode,
    OperationDefinitionNode,
    TypeNode,
    get_variable_values,
    is_required_input_field,
    parse,
)

from tests.contracts._schema import schema
from tests.guide.page import GUIDE

_BLOCK = re.compile(r"```(graphql|json)\n(.*?)```", re.DOTALL)
PAGES = sorted(path.stem for path in GUIDE.glob("*.md"))


def shown(page: str) -> Iterator[tuple[OperationDefinitionNode, dict[str, Any] | None]]:
    """Each operation of a page with the first JSON behind it that has its variables, if there is any."""
    current: OperationDefinitionNode | None = None
    found: dict[str, Any] | None = None
    for kind, text in _BLOCK.findall((GUIDE / f"{page}.md").read_text(encoding="utf-8")):
        if kind == "graphql":
            if current is not None:
                yield current, found
            definition = parse(text).definitions[0]
            assert isinstance(definition, OperationDefinitionNode)
            current, found = definition, None
        elif current is not None:
            given = json.loads(text)
            names = {one.variable.name.value for one in current.variable_definitions or ()}
            if found is None and given.keys() <= names:
                found = given
    if current is not None:
        yield current, found


@pytest.mark.parametrize("page", PAGES)
def test_the_variables_of_a_page_fit_its_operations(page: str) -> None:
    for operation, given in shown(page):
        assert operation.name is not None
        if given is not None:
            values = get_variable_values(schema(), list(operation.variable_definitions or ()), given)
            assert not isinstance(values, list), (operation.name.value, values)


@pytest.mark.parametrize("page", PAGES)
def test_no_input_is_left_to_be_guessed(page: str) -> None:
    """What takes an input is shown with one, but for steps, which need no more than what they move."""
    bare = [
        operation.name.value
        for operation, given in shown(page)
        for one in operation.variable_definitions or ()
        if operation.name and given is None and needed(one.type) - {"id", "version"}
    ]
    assert bare == []


def needed(type_: TypeNode) -> set[str]:
    """The fields that an input type cannot do without; none for what is no input type."""
    bare = type_.type if isinstance(type_, NonNullTypeNode) else type_
    named = schema().type_map[bare.name.value] if isinstance(bare, NamedTypeNode) else None
    fields = named.fields if isinstance(named, GraphQLInputObjectType) else {}
    return {name for name, field in fields.items() if is_required_input_field(field)}
