"""Bounds on a GraphQL document, counted in one memoised pass before it is validated or run.

Each fragment is measured once and its figures are reused wherever it is spread, so a document whose fragments
double at each level costs no more to refuse than its own text is long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
)

from app.errors import QueryTooComplex


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most of each that a document may have. `fields` counts after fragments are opened up."""

    characters: int = 50_000
    tokens: int = 5_000
    depth: int = 15
    fields: int = 2_000
    aliases: int = 100
    directives: int = 50
    fragments: int = 100
    root_fields: int = 20
    value_depth: int = 12
    cost: int = 250_000
    """Fields of the answer, with each list as long as it may get."""


USUAL_PAGE, LONGEST_PAGE = 20, 100
BOUNDS = Bounds()
INTROSPECTION_BOUNDS = Bounds(fields=5_000, depth=25)


@dataclass(frozen=True, slots=True)
class Measure:
    """How large a selection is once its fragments are opened up."""

    depth: int = 0
    fields: int = 0
    aliases: int = 0
    directives: int = 0
    width: int = 0
    """Fields at the topmost level alone."""
    cost: int = 0

    def beside(self, other: Measure) -> Measure:
        return Measure(
            max(self.depth, other.depth),
            self.fields + other.fields,
            self.aliases + other.aliases,
            self.directives + other.directives,
            self.width + other.width,
            self.cost + other.cost,
        )

    def under(self, *, alias: bool, directives: int, rows: int) -> Measure:
        """The measure of a field that has this selection, `rows` times."""
        aliases, directives = self.aliases + alias, self.directives + directives
        return Measure(self.depth + 1, self.fields + 1, aliases, directives, 1, 1 + rows * self.cost)


class _Measurer:
    def __init__(self, document: DocumentNode, bounds: Bounds) -> None:
        definitions = document.definitions
        self._fragments = {n.name.value: n for n in definitions if isinstance(n, FragmentDefinitionNode)}
        self._measured: dict[str, Measure] = {}
        self._open: set[str] = set()
        self._bounds = bounds

    def selection_set(self, node: SelectionSetNode | None, level: int) -> Measure:
        if level > 4 * self._bounds.depth:
            raise QueryTooComplex(f"The query is nested deeper than {self._bounds.depth} levels.")
        total = Measure()
        for selection in node.selections if node else ():
            total = total.beside(self._selection(selection, level))
        return total

    def _selection(self, node: SelectionNode, level: int) -> Measure:
        directives = len(node.directives or ())
        if isinstance(node, FieldNode):
            for argument in node.arguments or ():
                self._value(argument.value, 1)
            below = self.selection_set(node.selection_set, level + 1)
            return below.under(alias=node.alias is not None, directives=directives, rows=_rows(node))
        if isinstance(node, InlineFragmentNode):
            return self.selection_set(node.selection_set, level + 1).beside(Measure(directives=directives))
        if isinstance(node, FragmentSpreadNode):
            return self._fragment(node.name.value, level).beside(Measure(directives=directives))
        raise QueryTooComplex("The query has a selection of an unknown kind.")

    def _fragment(self, name: str, level: int) -> Measure:
        if name in self._open or name not in self._fragments:
            return Measure()  # a cycle or an unknown name: validation says so, with its place
        if name not in self._measured:
            self._open.add(name)
            self._measured[name] = self.selection_set(self._fragments[name].selection_set, level + 1)
            self._open.discard(name)
        return self._measured[name]

    def _value(self, node: ValueNode, level: int) -> None:
        if level > self._bounds.value_depth:
            raise QueryTooComplex(f"An argument is nested deeper than {self._bounds.value_depth} levels.")
        if isinstance(node, ListValueNode):
            for value in node.values:
                self._value(value, level + 1)
        elif isinstance(node, ObjectValueNode):
            for field in node.fields:
                self._value(field.value, level + 1)


def _rows(node: FieldNode) -> int:
    """How often a field's selection may be answered: `edges` by a page of usual length, what has `first` by so many
    of these pages. A variable counts as the most."""
    if node.name.value == "edges":
        return USUAL_PAGE
    first = next((one.value for one in node.arguments or () if one.name.value == "first"), None)
    if first is None:
        return 1
    asked = int(first.value) if isinstance(first, IntValueNode) and len(first.value) <= 3 else LONGEST_PAGE
    return max(1, -(-min(asked, LONGEST_PAGE) // USUAL_PAGE))


VARIABLE_VALUES = 10_000
"""The most values that the variables of one request may hold, at whatever depth."""


def check_variables(variables: Mapping[str, Any]) -> None:
    """Raises QUERY_TOO_COMPLEX when coercing the variables would take long. Their depth is bounded with the body's."""
    waiting: list[Any] = [variables]
    found = 0
    while waiting:
        value = waiting.pop()
        inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        found += len(inner)
        _refuse_over("values in its variables", found, VARIABLE_VALUES)
        waiting.extend(inner)


def check_document(document: DocumentNode) -> None:
    """Raises QUERY_TOO_COMPLEX, naming the bound, when the document goes over one."""
    bounds = INTROSPECTION_BOUNDS if _is_introspection(document) else BOUNDS
    fragments = sum(isinstance(node, FragmentDefinitionNode) for node in document.definitions)
    _refuse_over("fragments", fragments, bounds.fragments)
    measurer = _Measurer(document, bounds)
    for node in document.definitions:
        if isinstance(node, FragmentDefinitionNode | OperationDefinitionNode):
            measure = measurer.selection_set(node.selection_set, 1)
            _refuse_over("levels", measure.depth, bounds.depth)
            _refuse_over("fields", measure.fields, bounds.fields)
            _refuse_over("aliases", measure.aliases, bounds.aliases)
            _refuse_over("rows times fields", measure.cost, bounds.cost)
            _refuse_over("directives", measure.directives + len(node.directives or ()), bounds.directives)
            if isinstance(node, OperationDefinitionNode):
                _refuse_over("root fields", measure.width, bounds.root_fields)


def _refuse_over(what: str, found: int, most: int) -> None:
    if found > most:
        raise QueryTooComplex(f"The query has too many {what}: at most {most} are allowed.")


def _is_introspection(document: DocumentNode) -> bool:
    """Whether every operation asks for nothing but the schema, as tools do with deeply nested type references."""
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return bool(operations) and all(
        isinstance(field, FieldNode) and field.name.value in ("__schema", "__type")
        for operation in operations
        for field in operation.selection_set.selections
    )
