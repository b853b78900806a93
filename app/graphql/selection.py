"""What the client asked for, and which columns that takes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

from graphql import FieldNode, FragmentDefinitionNode, FragmentSpreadNode, InlineFragmentNode, SelectionSetNode
from strawberry.types import Info

from app.graphql.fields import Computed, Stored

Fragments = dict[str, FragmentDefinitionNode]
T = TypeVar("T")


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
    return _remembered(
        info, ("asks for", *path), lambda: any(node.name.value == path[-1] for node in nodes_under(info, *path[:-1]))
    )


def columns_of(row: type, nodes: Sequence[FieldNode]) -> frozenset[str]:
    """The columns that the selected fields of a row type take."""
    fields: dict[str, Any] = row.__row_fields__  # type: ignore[attr-defined]
    found: set[str] = set()
    for node in nodes:
        field = fields.get(node.name.value)
        if field is not None:
            found.update(columns_behind(field))
    return frozenset(found)


def columns_behind(field: Any) -> tuple[str, ...]:
    """The columns that one field of a row type takes."""
    source = field.metadata["source"]
    if isinstance(source, Stored):
        return (source.column or field.python_name,)
    if isinstance(source, Computed):
        return source.needs
    key: str = source.key
    return (key,)


def columns(info: Info[Any, Any], row: type, *path: str) -> frozenset[str]:
    """The columns of `row` that this field's selection takes, looked up along `path`."""
    return _remembered(info, ("columns", row, *path), lambda: columns_of(row, nodes_under(info, *path)))


def _remembered(info: Info[Any, Any], name: Hashable, find: Callable[[], T]) -> T:
    """What was found for this field's selection before: a planned field has the same for each of its requests."""
    memo: dict[Hashable, Any] | None = getattr(info._raw_info, "memo", None)
    if memo is None:
        return find()
    if name not in memo:
        memo[name] = find()
    found: T = memo[name]
    return found


def projection(names: frozenset[str]) -> dict[str, int]:
    """A MongoDB projection of exactly these columns. The id comes only when asked for."""
    shown = dict.fromkeys(sorted(names), 1)
    if "_id" not in names:
        shown["_id"] = 0
    return shown if shown != {"_id": 0} else {"_id": 1}
