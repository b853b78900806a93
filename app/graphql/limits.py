"""Bounds on a GraphQL document, counted in one memoised pass before it is validated or run.

Each fragment is measured once and its figures are reused wherever it is spread, so a document whose fragments
double at each level costs no more to refuse than its own text is long.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    ArgumentNode,
    DocumentNode,
    FieldNode,
    FloatValueNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    NameNode,
    Node,
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
    values: int = 250
    """Within one argument. Whatever is wrong with it, its whole text is part of each complaint."""
    operations: int = 20
    variables: int = 100
    name: int = 200
    digits: int = 50
    pairs: int = 4_000
    """Pairs of fields with one name in one place of the answer: validation compares each with each."""
    steps: int = 20_000
    """Selections that are looked at to find those pairs, fragments opened up."""
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


class Measurer:
    """Measures selections, and judges what stands in them on the way: values, directives and names.

    `steps` counts what was looked at; it grows with the text of a document and not with what it opens up to.
    """

    def __init__(self, document: DocumentNode, bounds: Bounds) -> None:
        self.fragments = {n.name.value: n for n in document.definitions if isinstance(n, FragmentDefinitionNode)}
        self.steps = 0
        self._values = 0
        self._measured: dict[str, Measure] = {}
        self._open: set[str] = set()
        self._bounds = bounds

    def definition(self, node: FragmentDefinitionNode | OperationDefinitionNode) -> Measure:
        """The measure of an operation or of a fragment by itself. Raises QUERY_TOO_COMPLEX for a wrong head."""
        self._name(node.name)
        directives = self._directives(node)
        if isinstance(node, OperationDefinitionNode):
            variables = node.variable_definitions or ()
            _refuse_over("variables", len(variables), self._bounds.variables)
            for variable in variables:
                self._name(variable.variable.name)
                directives += self._directives(variable)
                if variable.default_value is not None:
                    self._argument(variable.default_value)
        return self.selection_set(node.selection_set, 1).beside(Measure(directives=directives))

    def selection_set(self, node: SelectionSetNode | None, level: int) -> Measure:
        if level > 4 * self._bounds.depth:
            raise QueryTooComplex(f"The query is nested deeper than {self._bounds.depth} levels.")
        total = Measure()
        for selection in node.selections if node else ():
            total = total.beside(self._selection(selection, level))
        return total

    def _selection(self, node: SelectionNode, level: int) -> Measure:
        self.steps += 1
        directives = self._directives(node)
        if isinstance(node, FieldNode):
            self._name(node.alias or node.name)
            self._arguments(node.arguments)
            below = self.selection_set(node.selection_set, level + 1)
            return below.under(alias=node.alias is not None, directives=directives, rows=_rows(node))
        if isinstance(node, InlineFragmentNode):
            return self.selection_set(node.selection_set, level + 1).beside(Measure(directives=directives))
        if isinstance(node, FragmentSpreadNode):
            return self._fragment(node.name.value, level).beside(Measure(directives=directives))
        raise QueryTooComplex("The query has a selection of an unknown kind.")

    def _fragment(self, name: str, level: int) -> Measure:
        if name in self._open or name not in self.fragments:
            return Measure()  # a cycle or an unknown name: validation says so, with its place
        if name not in self._measured:
            self._open.add(name)
            self._measured[name] = self.selection_set(self.fragments[name].selection_set, level + 1)
            self._open.discard(name)
        return self._measured[name]

    def _directives(self, node: Node) -> int:
        found = getattr(node, "directives", None) or ()
        for directive in found:
            self._name(directive.name)
            self._arguments(directive.arguments)
        return len(found)

    def _arguments(self, nodes: Iterable[ArgumentNode] | None) -> None:
        for argument in nodes or ():
            self._name(argument.name)
            self._argument(argument.value)

    def _argument(self, node: ValueNode) -> None:
        self._values = 0
        self._value(node, 1)

    def _value(self, node: ValueNode, level: int) -> None:
        self.steps += 1
        self._values += 1
        _refuse_over("values in one argument", self._values, self._bounds.values)
        if level > self._bounds.value_depth:
            raise QueryTooComplex(f"An argument is nested deeper than {self._bounds.value_depth} levels.")
        if isinstance(node, ListValueNode):
            for value in node.values:
                self._value(value, level + 1)
        elif isinstance(node, ObjectValueNode):
            for field in node.fields:
                self._name(field.name)
                self._value(field.value, level + 1)
        elif isinstance(node, IntValueNode | FloatValueNode) and len(node.value) > self._bounds.digits:
            raise QueryTooComplex(f"A number in the query is longer than {self._bounds.digits} characters.")

    def _name(self, node: NameNode | None) -> None:
        if node is not None and len(node.value) > self._bounds.name:
            raise QueryTooComplex(f"A name in the query is longer than {self._bounds.name} characters.")


class Collisions:
    """Counts the pairs of fields that share a place in the answer, which validation compares one with another.

    For documents whose opened-up size is within bounds already. `steps` counts what was looked at.
    """

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode], bounds: Bounds) -> None:
        self._fragments = fragments
        self._bounds = bounds
        self._pairs = 0
        self.steps = 0
        self.reached: set[str] = set()

    def count(self, *nodes: SelectionSetNode | None) -> None:
        """Counts at one place of the answer, whose selections are `nodes`, and at those below it."""
        found: dict[str, list[SelectionSetNode | None]] = {}
        for node in nodes:
            self._collect(node, found, frozenset())
        for below in found.values():
            self._pairs += len(below) * (len(below) - 1) // 2
            _refuse_over("fields of the same name in one place", self._pairs, self._bounds.pairs)
            if any(below):
                self.count(*below)

    def _collect(
        self, node: SelectionSetNode | None, found: dict[str, list[SelectionSetNode | None]], above: frozenset[str]
    ) -> None:
        for selection in node.selections if node else ():
            self.steps += 1
            _refuse_over("spread fragments", self.steps, self._bounds.steps)
            if isinstance(selection, FieldNode):
                found.setdefault((selection.alias or selection.name).value, []).append(selection.selection_set)
            elif isinstance(selection, InlineFragmentNode):
                self._collect(selection.selection_set, found, above)
            elif isinstance(selection, FragmentSpreadNode):
                name = selection.name.value
                if name in self._fragments and name not in above:
                    self.reached.add(name)
                    self._collect(self._fragments[name].selection_set, found, above | {name})


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


def check_document(document: DocumentNode) -> int:
    """Raises QUERY_TOO_COMPLEX, naming the bound, when the document goes over one. Returns the steps that it took."""
    bounds = INTROSPECTION_BOUNDS if _is_introspection(document) else BOUNDS
    heads = [
        node for node in document.definitions if isinstance(node, FragmentDefinitionNode | OperationDefinitionNode)
    ]
    operations = [node for node in heads if isinstance(node, OperationDefinitionNode)]
    _refuse_over("fragments", len(heads) - len(operations), bounds.fragments)
    _refuse_over("operations", len(operations), bounds.operations)
    measurer = Measurer(document, bounds)
    for node in heads:
        measure = measurer.definition(node)
        _refuse_measure(measure, bounds)
        if isinstance(node, OperationDefinitionNode):
            _refuse_over("root fields", measure.width, bounds.root_fields)
    collisions = Collisions(measurer.fragments, bounds)
    for node in operations:
        collisions.count(node.selection_set)
    for name in measurer.fragments.keys() - collisions.reached:
        collisions.count(measurer.fragments[name].selection_set)
    return measurer.steps + collisions.steps


def _refuse_measure(measure: Measure, bounds: Bounds) -> None:
    _refuse_over("levels", measure.depth, bounds.depth)
    _refuse_over("fields", measure.fields, bounds.fields)
    _refuse_over("aliases", measure.aliases, bounds.aliases)
    _refuse_over("rows times fields", measure.cost, bounds.cost)
    _refuse_over("directives", measure.directives, bounds.directives)


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
