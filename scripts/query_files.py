"""A front end's documents as its tools leave them: files of operations, and manifests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    Node,
    OperationDefinitionNode,
    Visitor,
    parse,
    visit,
)

from models.persisted_document import DOCUMENT_ID

SUFFIXES = frozenset({".graphql", ".gql"})
LARGEST_FILE = 20_000_000


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where."""

    file: Path
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Found:
    """One document: its text, the names of its operations, its id where the front end gave it one of its own.

    `lines` are those of the text in `file`, for documents that were put together of several places.
    """

    file: Path
    text: str
    operations: tuple[str, ...]
    id: str | None = None
    lines: Mapping[int, tuple[Path, int]] = field(default_factory=dict)
    label: str = ""

    def fault(self, line: int, message: str) -> Fault:
        """A complaint about a line of the text, told by the place that it came from."""
        file, at = self.lines.get(line, (self.file, 1 if self.label else line))
        return Fault(file, at, f"{self.label}{message}")


class Unreadable(Exception):
    """A file that is no such file. `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def read_files(path: Path) -> tuple[list[Found], list[Fault]]:
    """All documents of a file or folder, and what is wrong with its files."""
    found: list[Found] = []
    faults: list[Fault] = []
    sources: list[tuple[Path, DocumentNode]] = []
    files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
    for file in files:
        try:
            if file.suffix == ".json":
                found += _manifest(file)
            elif file.suffix in SUFFIXES:
                sources.append((file, _parsed(file, _text(file))))
            elif not path.is_dir():
                raise Unreadable(Fault(file, 1, "is neither a .graphql file nor a manifest (.json)"))
        except Unreadable as error:
            faults.append(error.fault)
    own, wrong = _operations(sources)
    return [*found, *own], [*faults, *wrong]


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise Unreadable(Fault(file, 1, "is too large"))
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise Unreadable(Fault(file, 1, error.strerror or "cannot be read")) from None
    except UnicodeDecodeError:
        raise Unreadable(Fault(file, 1, "is not UTF-8 text")) from None


def _parsed(file: Path, text: str) -> DocumentNode:
    try:
        return parse(text)
    except GraphQLError as error:
        raise Unreadable(Fault(file, error.locations[0].line if error.locations else 1, error.message)) from None
    except RecursionError:
        raise Unreadable(Fault(file, 1, "is nested too deeply")) from None


# --- .graphql ---------------------------------------------------------------------------------------------------------


def _operations(sources: list[tuple[Path, DocumentNode]]) -> tuple[list[Found], list[Fault]]:
    """One document for each operation, with the fragments that it uses, wherever they are."""
    fragments: dict[str, tuple[Path, FragmentDefinitionNode]] = {}
    operations: dict[str, tuple[Path, OperationDefinitionNode]] = {}
    faults = []
    for file, document in sources:
        for node in document.definitions:
            if not isinstance(node, FragmentDefinitionNode | OperationDefinitionNode):
                faults.append(Fault(file, _line(node), "is neither an operation nor a fragment"))
            elif node.name is None:
                faults.append(Fault(file, _line(node), "an operation needs a name"))
            else:
                known: dict[str, Any] = fragments if isinstance(node, FragmentDefinitionNode) else operations
                if known.setdefault(node.name.value, (file, node))[1] is not node:
                    faults.append(Fault(file, _line(node), f"{node.name.value} is defined twice"))
    made = [_document(name, file, node, fragments) for name, (file, node) in operations.items()]
    return made, faults


def _document(
    name: str,
    file: Path,
    operation: OperationDefinitionNode,
    fragments: Mapping[str, tuple[Path, FragmentDefinitionNode]],
) -> Found:
    """Each definition as it is written; each line knows where it came from."""
    used: dict[str, None] = {}
    waiting: list[Node] = [operation]
    while waiting:
        for spread in _spreads(waiting.pop()):
            if spread in fragments and spread not in used:
                used[spread] = None
                waiting.append(fragments[spread][1])
    parts = [(file, operation), *(fragments[one] for one in sorted(used))]
    text, lines = "", {}
    for where, node in parts:
        first = text.count("\n") + 1
        text += _written(node) + "\n\n"
        for line in range(first, text.count("\n") + 1):
            lines[line] = (where, _line(node) + line - first)
    return Found(file, text.strip(), (name,), lines=lines, label=f"{name}: ")


class _Spreads(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: Any) -> None:
        self.names.append(node.name.value)


def _spreads(node: Node) -> list[str]:
    visitor = _Spreads()
    visit(node, visitor)
    return visitor.names


def _written(node: Node) -> str:
    assert node.loc is not None  # noqa: S101 - parsed just now
    return node.loc.source.body[node.loc.start : node.loc.end]


def _line(node: Node) -> int:
    return node.loc.start_token.line if node.loc is not None else 1


# --- manifests --------------------------------------------------------------------------------------------------------


def _manifest(file: Path) -> Iterator[Found]:
    """Apollo's (`operations` with id, name and body) or Relay's (id → text)."""
    text = _text(file)
    try:
        given = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        raise Unreadable(Fault(file, line, "is not valid JSON")) from None
    pairs = _apollo(file, given) if isinstance(given, dict) and "operations" in given else _relay(file, given)
    for id, body in pairs:
        label = f"{id}: "
        if not DOCUMENT_ID.fullmatch(id):
            raise Unreadable(Fault(file, 1, f"{label[:100]}cannot be an id"))
        if len(id) == 64 and _is_hex(id) and sha256(body.encode()).hexdigest() != id:
            raise Unreadable(Fault(file, _place(text, id), f"{label}is not the SHA-256 of its text"))
        try:
            names = _names(parse(body))
        except (GraphQLError, RecursionError) as error:
            message = error.message if isinstance(error, GraphQLError) else "is nested too deeply"
            raise Unreadable(Fault(file, _place(text, id), f"{label}{message}")) from None
        lines = dict.fromkeys(range(1, body.count("\n") + 2), (file, _place(text, id)))
        yield Found(file, body, names, id, lines, label)


def _apollo(file: Path, given: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if given.get("format") != "apollo-persisted-query-manifest" or given.get("version") != 1:
        raise Unreadable(Fault(file, 1, "is no apollo-persisted-query-manifest of version 1"))
    operations = given["operations"]
    for one in operations if isinstance(operations, list) else [None]:
        if not isinstance(one, dict) or not isinstance(one.get("id"), str) or not isinstance(one.get("body"), str):
            raise Unreadable(Fault(file, 1, "each operation needs an id and a body"))
        yield one["id"], one["body"]


def _relay(file: Path, given: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(given, dict) or not all(isinstance(text, str) for text in given.values()):
        raise Unreadable(Fault(file, 1, "must map ids to documents"))
    yield from given.items()


def _names(document: DocumentNode) -> tuple[str, ...]:
    operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
    return tuple(node.name.value for node in operations if node.name is not None)


def _is_hex(text: str) -> bool:
    return set(text) <= set("0123456789abcdef")


def _place(text: str, id: str) -> int:
    """The line of a manifest on which an id stands."""
    at = text.find(json.dumps(id))
    return text.count("\n", 0, at) + 1 if at >= 0 else 1
