"""Prepares each distinct document once (parse, bounds, validation) and executes it for each request."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    NoSchemaIntrospectionCustomRule,
    execute,
    get_operation_ast,
    parse,
    specified_rules,
    validate,
)
from graphql.validation.rules import overlapping_fields_can_be_merged

from app.errors import AppError, QueryTooComplex, ValidationFailed
from app.graphql.context import Context
from app.graphql.limits import BOUNDS, check_document, check_variables

CACHED_CHARACTERS = 300_000
"""So much query text is kept prepared: a tree takes up to some 200 bytes for each of its characters."""
MAX_VALIDATION_ERRORS = 20
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 50_000  # its own 500,000 take more than a second


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that may run, or the errors that say why it may not."""

    document: DocumentNode | None
    errors: Sequence[GraphQLError] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One GraphQL request as the client sent it."""

    query: str
    variables: Mapping[str, Any]
    operation_name: str | None = None


class Operations:
    """Runs GraphQL requests against one schema. Holds documents only, never a clinic's data."""

    def __init__(self, schema: GraphQLSchema, *, root: object, introspection: bool) -> None:
        self._schema = schema
        self._root = root
        self._open = introspection
        self._rules = [*specified_rules, *(() if introspection else (NoSchemaIntrospectionCustomRule,))]
        self._prepared: OrderedDict[bytes, tuple[Prepared, int]] = OrderedDict()
        self._kept = 0

    def prepare(self, query: str) -> Prepared:
        """The prepared document of `query`, from the cache when it was seen before."""
        name = sha256(query.encode("utf-8", "surrogatepass")).digest()
        if name in self._prepared:
            self._prepared.move_to_end(name)
            return self._prepared[name][0]
        prepared = self._prepare(query)
        self._prepared[name] = prepared, len(query)
        self._kept += len(query)
        while self._kept > CACHED_CHARACTERS:
            self._kept -= self._prepared.popitem(last=False)[1][1]
        return prepared

    def _prepare(self, query: str) -> Prepared:
        try:
            if len(query) > BOUNDS.characters:
                raise QueryTooComplex(f"The query is longer than {BOUNDS.characters} characters.")
            document = parse(query, max_tokens=BOUNDS.tokens)
            check_document(document)
        except AppError as error:
            return Prepared(None, [GraphQLError(error.message, original_error=error)])
        except GraphQLError as error:
            return Prepared(None, [_bound(error)])
        except RecursionError:
            deep = QueryTooComplex(f"The query is nested deeper than {BOUNDS.depth} levels.")
            return Prepared(None, [GraphQLError(deep.message, original_error=deep)])
        errors = validate(
            self._schema,
            document,
            self._rules,
            max_errors=MAX_VALIDATION_ERRORS,
            hide_suggestions=not self._open,
        )
        return Prepared(None, errors) if errors else Prepared(document)

    async def run(self, request: Request, context: Context) -> ExecutionResult:
        """Executes one request. `data` is None when it could not be started."""
        check_variables(request.variables)
        prepared = self.prepare(request.query)
        if prepared.document is None:
            return ExecutionResult(None, list(prepared.errors))
        if get_operation_ast(prepared.document, request.operation_name) is None:
            raise ValidationFailed.at("operationName", "must name one of the document's operations")
        result = execute(
            self._schema,
            prepared.document,
            root_value=self._root,
            context_value=context,
            variable_values=dict(request.variables),
            operation_name=request.operation_name,
            hide_suggestions=not self._open,
        )
        return await result if inspect.isawaitable(result) else result


def _bound(error: GraphQLError) -> GraphQLError:
    """graphql-core tells of too many tokens or levels as a syntax error; here they are bounds like the others."""
    many = f"The query has too many tokens: at most {BOUNDS.tokens} are allowed."
    deep = f"The query is nested deeper than {BOUNDS.depth} levels."
    for beginning, message in (("contains more than", many), ("is nested too deeply", deep)):
        if error.message.startswith(f"Syntax Error: Document {beginning}"):
            return GraphQLError(message, original_error=QueryTooComplex(message))
    return error
