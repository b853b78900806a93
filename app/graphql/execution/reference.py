"""Execution by graphql-core: of whole operations, and of what a plan cannot express or found irregular."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    execute,
)
from graphql.execution import Executor
from graphql.execution.collect_fields import FieldDetailsList
from graphql.pyutils import Path


class ReferenceOperation:
    """One operation of a document, run by graphql-core."""

    def __init__(
        self,
        schema: GraphQLSchema,
        document: DocumentNode,
        operation: OperationDefinitionNode,
        *,
        root: object,
        hide_suggestions: bool,
    ) -> None:
        self.schema = schema
        self.document = document
        self.operation = operation
        self.root = root
        self.hide_suggestions = hide_suggestions

    @property
    def name(self) -> str | None:
        """The operation's name, if it has one: a document with several has named ones alone."""
        return self.operation.name.value if self.operation.name else None

    async def run(self, variables: Mapping[str, Any], context: Any) -> ExecutionResult:
        """The whole answer."""
        result = execute(
            self.schema,
            self.document,
            root_value=self.root,
            context_value=context,
            variable_values=dict(variables),
            operation_name=self.name,
            hide_suggestions=self.hide_suggestions,
        )
        return await result if inspect.isawaitable(result) else result

    async def complete(
        self,
        parent: GraphQLObjectType,
        key: str,
        details: FieldDetailsList,
        value: Any,
        variables: Mapping[str, Any],
        context: Any,
    ) -> tuple[Any, list[GraphQLError]]:
        """What becomes of a root field whose resolver has returned `value`: its place in the answer, and the errors.

        The resolver is not run again. Raises a GraphQLError when the field must not be null and is.
        """
        executor = Executor.build(
            self.schema,
            self.document,
            self.root,
            context,
            dict(variables),
            self.name,
            hide_suggestions=self.hide_suggestions,
        )
        assert isinstance(executor, Executor)  # noqa: S101 - the variables were good a moment ago
        definition = self.schema.get_field(parent, details[0].node.name.value)
        if definition is None:
            return Undefined, []
        path = Path(None, key, parent.name)
        info = executor.build_resolve_info(definition, [one.node for one in details], parent, path)
        completed = await executor.complete_awaitable_value(definition.type, details, info, path, _ready(value), None)
        return completed, executor.collected_errors.errors


async def _ready(value: Any) -> Any:
    return value
