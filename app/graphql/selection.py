"""What the client asked for, and which columns that takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from graphql import FieldNode, FragmentDefinitionNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode
from strawberry.types import Info

from app.graphql.fields import Computed, Related, Stored

Fragments = dict[str, FragmentDefinitionNode]


def _fields(selection_set: SelectionSetNode | None, fragments: Fragments) -> Iterator[FieldNode]:
    """The field nodes of a selection set, with fragments opened up. Directives are left to the executor."""
    for node in selection_set.selections if selection_set else ():
        if isinstance(node, FieldNode):
            yield node
        elif isinstance(node, InlineFragmentNode):
            yield from _fields(node.selection_set, fragments)
        elif isinstance(node, FragmentSpreadNode):
            yield from _fields(fragments[node.name.value].selection_set, fragments)


def nodes_under(info: Info[Any, Any], *path: str) -> list[FieldNode]:
    """The field nodes selected below this field along `path`, such as `("edges", "node")`."""
    raw = info._raw_info
    nodes: list[FieldNode] = list(raw.field_nodes)
    for step in path:
        nodes = [
            child for node in nodes for child in _fields(node.selection_set, raw.fragments) if child.name.value == step
        ]
    return [child for node in nodes for child in _fields(node.selection_set, raw.fragments)]


def asks_for(info: Info[Any, Any], *path: str) -> bool:
    """Whether the client selected the field at the end of `path`."""
    return any(node.name.value == path[-1] for node in nodes_under(info, *path[:-1]))


def columns_of(row: type, nodes: Sequence[FieldNode]) -> frozenset[str]:
    """The columns that the selected fields of a row type take."""
    fields: dict[str, Any] = row.__row_fields__  # type: ignore[attr-defined]
    columns: set[str] = set()
    for node in nodes:
        field = fields.get(node.name.value)
        if field is not None:
            columns.update(_columns(field))
    return frozenset(columns)


def _columns(field: Any) -> tuple[str, ...]:
    source = field.metadata["source"]
    if isinstance(source, Stored):
        return (source.column or field.python_name,)
    if isinstance(source, Computed):
        return source.needs
    related: Related = source
    return (related.key,)


def columns(info: Info[Any, Any], row: type, *path: str) -> frozenset[str]:
    """The columns of `row` that this field's selection takes, looked up along `path`."""
    return columns_of(row, nodes_under(info, *path))


def projection(names: frozenset[str]) -> dict[str, int]:
    """A MongoDB projection of exactly these columns. The id comes only when asked for."""
    shown = dict.fromkeys(sorted(names), 1)
    if "_id" not in names:
        shown["_id"] = 0
    return shown if shown != {"_id": 0} else {"_id": 1}
