"""One schema under both executors: every answer is compared, byte for byte, and how it was made is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import strawberry
from graphql import DocumentNode, ExecutionResult, GraphQLError, GraphQLSchema, get_operation_ast, parse, validate
from strawberry.schema.config import StrawberryConfig
from strawberry.types.scalar import ScalarDefinition

from app.graphql.execution.compiled import CompiledOperation, Execution
from app.graphql.execution.reference import ReferenceOperation
from app.graphql.scalars import SCALARS


@dataclass(frozen=True, slots=True)
class Told:
    """One answer as a client could tell it from another, with the kind of each error's cause."""

    data: bytes
    errors: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, result: ExecutionResult) -> Told:
        """Errors stand in the order in which they came, but for root fields, which run side by side."""
        errors = sorted(result.errors or (), key=_root)
        return cls(orjson.dumps(result.data), tuple(map(_error, errors)))


def _root(error: GraphQLError) -> tuple[int, int]:
    """Where the error's root field stands; those of one root field keep their order."""
    node = error.nodes[0] if error.nodes else None
    return (1, 0) if node is None or error.path is None else (0, hash(str(error.path[0])))


def _error(error: GraphQLError) -> tuple[Any, ...]:
    cause = error.original_error
    where = [(at.line, at.column) for at in error.locations or ()]
    return error.message, where, error.path, type(cause).__name__, str(cause), error.extensions


@dataclass(frozen=True, slots=True)
class Ran:
    """What both executors said."""

    data: Any
    errors: list[GraphQLError]
    counted: Counter[str]
    """How the compiled one went about it: see `Execution.counted`."""

    @property
    def messages(self) -> list[str]:
        return [error.message for error in self.errors]

    @property
    def paths(self) -> list[Any]:
        return [error.path for error in self.errors]

    @property
    def compiled(self) -> bool:
        """Whether nothing at all was left to graphql-core."""
        return set(self.counted) <= {"compiled"}


def nothing() -> None:
    """The context of operations that need none."""


@dataclass(slots=True)
class Both:
    """Runs operations of a schema by both executors. `context` makes one for each run."""

    schema: GraphQLSchema
    context: Callable[[], Any] = nothing
    root: object = None
    compiled: Execution = field(init=False)
    reference: Execution = field(init=False)
    _prepared: dict[str, tuple[DocumentNode, dict[Any, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.compiled = Execution(self.schema, root=self.root, hide_suggestions=False)
        self.reference = Execution(self.schema, root=self.root, hide_suggestions=False, compiled=False)

    async def run(self, text: str, variables: Mapping[str, Any] | None = None, name: str | None = None) -> Ran:
        """The answer, which must be the same from both. The document must be valid."""
        compiled, reference = self._operations(text, name)
        before = Counter(self.compiled.counted)
        theirs = await reference.run(variables or {}, self.context())
        ours = await compiled.run(variables or {}, self.context())
        if Told.of(ours) != Told.of(theirs):
            raise AssertionError(f"{text}\n{variables}\ncompiled:\n{Told.of(ours)}\ngraphql-core:\n{Told.of(theirs)}")
        return Ran(ours.data, list(ours.errors or ()), self.compiled.counted - before)

    def operation(self, text: str, name: str | None = None) -> CompiledOperation:
        """The compiled operation, which stays the same for the same text."""
        compiled, _ = self._operations(text, name)
        return compiled

    def _operations(self, text: str, name: str | None) -> tuple[CompiledOperation, ReferenceOperation]:
        if text not in self._prepared:
            document = parse(text)
            errors = [error.message for error in validate(self.schema, document)]
            assert not errors, f"{errors}\n{text}"
            self._prepared[text] = document, {}
        document, known = self._prepared[text]
        node = get_operation_ast(document, name)
        assert node is not None
        if name not in known:
            known[name] = self.compiled.operation(document, node), self.reference.operation(document, node)
        compiled, reference = known[name]
        assert isinstance(compiled, CompiledOperation)
        assert isinstance(reference, ReferenceOperation)
        return compiled, reference


def both(
    query: type,
    mutation: type | None = None,
    *,
    types: tuple[type, ...] = (),
    scalars: Mapping[object, ScalarDefinition] = SCALARS,
    **more: Any,
) -> Both:
    """Both executors on the Strawberry schema of these classes."""
    config = StrawberryConfig(scalar_map=dict(scalars))
    schema = strawberry.Schema(query=query, mutation=mutation, types=types, config=config)
    return Both(schema._schema, **more)
