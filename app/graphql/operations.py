"""Prepares each distinct document once (parse, bounds, validation, plan) and runs it for each request."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from bson import ObjectId
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    GraphQLSchema,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    get_operation_ast,
    parse,
    specified_rules,
    validate,
)
from graphql.validation.rules import overlapping_fields_can_be_merged

from app.errors import AppError, ErrorCode, QueryTooComplex, ValidationFailed
from app.graphql.context import Context
from app.graphql.cost import SMALL, Bill, OperationCost, cost_of, payers
from app.graphql.execution.compiled import CompiledOperation, Execution
from app.graphql.execution.reference import ReferenceOperation
from app.graphql.fair_share import FairShare
from app.graphql.limits import BOUNDS, check_document, check_variables
from app.graphql.persisted import Documents, Mode
from app.services.budgets import Budgets
from app.tenancy.scope import current_scope

CACHED_CHARACTERS = 300_000
"""So much query text is kept prepared: a tree takes up to some 200 bytes for each of its characters."""
MAX_VALIDATION_ERRORS = 10
REQUEST = 50
"""What a request itself weighs in points among those of other clinics, however little it asks for."""
STEPS_OF_A_POINT, CHARACTERS_OF_A_POINT = 2, 100
"""What reading a document costs: each of its fields is looked at twice, so one operation alone seldom costs less."""
LONGEST_MESSAGE = 500
"""Messages quote names of the document, which may be long."""
overlapping_fields_can_be_merged.MAX_COMPLEXITY_BUDGET = 20_000  # its own 500,000 take more than a second


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document that may run, or the errors that say why it may not."""

    document: DocumentNode | None
    errors: Sequence[GraphQLError] = ()
    costs: Mapping[int, OperationCost] = field(default_factory=dict)
    """By the identity of the document's operations, as are `runs`."""
    runs: Mapping[int, CompiledOperation | ReferenceOperation] = field(default_factory=dict)
    least: int = 0
    """Points for reading it, which each of its operations costs at least: what it holds beside them is read too."""


@dataclass(frozen=True, slots=True)
class Request:
    """One GraphQL request as the client sent it: a document, the id or hash of one, or both."""

    query: str | None
    variables: Mapping[str, Any]
    operation_name: str | None = None
    document: str | None = None
    reads_only: bool = False
    """Whether a change is refused, as it must be when a link can make the request."""


class ChangeByReading(AppError):
    """A change came by a method that only reads."""

    code = ErrorCode.VALIDATION_FAILED
    http_status = 405
    default_message = "A change must be sent by POST."


class Operations:
    """Runs GraphQL requests against one schema. Holds documents and budgets only, never a clinic's data."""

    def __init__(
        self,
        schema: GraphQLSchema,
        *,
        root: object,
        introspection: bool,
        budgets: Budgets | None = None,
        gate: FairShare | None = None,
        documents: Documents | None = None,
        compiled: bool = True,
    ) -> None:
        self._schema = schema
        self._open = introspection
        self.execution = Execution(schema, root=root, hide_suggestions=not introspection, compiled=compiled)
        self._rules = [*specified_rules, *(() if introspection else (NoSchemaIntrospectionCustomRule,))]
        self._prepared: OrderedDict[bytes, tuple[Prepared, int]] = OrderedDict()
        self._kept = 0
        self._budgets = budgets or Budgets()
        self._gate = gate or FairShare(places=32, queue=256)
        self._documents = documents or Documents(Mode.AUTOMATIC)

    def prepare(self, query: str) -> Prepared:
        """The prepared document of `query`, from the cache when it was seen before."""
        name = _name_of(query)
        known = self._known(name)
        if known is not None:
            return known
        prepared = self._prepare(query)
        self._prepared[name] = prepared, len(query)
        self._kept += len(query)
        while self._kept > CACHED_CHARACTERS:
            self._kept -= self._prepared.popitem(last=False)[1][1]
        return prepared

    def _known(self, name: bytes) -> Prepared | None:
        if name not in self._prepared:
            return None
        self._prepared.move_to_end(name)
        return self._prepared[name][0]

    def _prepare(self, query: str) -> Prepared:
        try:
            if len(query) > BOUNDS.characters:
                raise QueryTooComplex(f"The query is longer than {BOUNDS.characters} characters.")
            document = parse(query, max_tokens=BOUNDS.tokens)
            steps = check_document(document)
        except AppError as error:
            return Prepared(None, [GraphQLError(error.message, original_error=error)])
        except GraphQLError as error:
            return Prepared(None, [_shortened(_bound(error))])
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
        if errors:
            return Prepared(None, [_shortened(_bound(error)) for error in errors])
        operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        return Prepared(
            document,
            costs={id(node): cost_of(document, node) for node in operations},
            runs={id(node): self.execution.operation(document, node) for node in operations},
            least=max(steps // STEPS_OF_A_POINT, len(query) // CHARACTERS_OF_A_POINT),
        )

    async def run(self, request: Request, context: Context) -> ExecutionResult:
        """Executes one request. `data` is None when it could not be started.

        Its cost is charged first, then it waits for a place among the operations of all clinics. Raises RATE_LIMITED
        when a budget is spent or too many of the clinic's operations wait; nothing was executed then.
        """
        bill = Bill(self._budgets, payers(context.settings))
        try:
            return await self._run(request, context, bill)
        finally:
            context.cost = bill.shown()

    async def _run(self, request: Request, context: Context, bill: Bill) -> ExecutionResult:
        check_variables(request.variables)
        clinic = _clinic()
        if request.document is not None or self._documents.looks_up:
            await bill.charge(SMALL)  # the look for it may ask the database
        text = await self._documents.text_of(clinic, request.query, request.document)
        prepared = await self._bounded(text, bill)
        if prepared.document is None:
            return ExecutionResult(None, list(prepared.errors))
        self._documents.keep(clinic, request.document, text)
        operation = get_operation_ast(prepared.document, request.operation_name)
        if operation is None:
            raise ValidationFailed.at("operationName", "must name one of the document's operations")
        if request.reads_only and operation.operation is not OperationType.QUERY:
            raise ChangeByReading
        points = prepared.costs[id(operation)].points(request.variables)
        read = min(bill.charged, prepared.least)
        await bill.charge(max(points, prepared.least))
        started = False
        try:
            async with self._gate.place(clinic, REQUEST + points, context.gone):
                started = True
                return await prepared.runs[id(operation)].run(request.variables, context)
        finally:
            if not started:
                bill.reduce(read)

    async def _bounded(self, text: str, bill: Bill) -> Prepared:
        """The prepared document. One that was not seen before is paid for by its length, unless it turns out to run;
        one that is known not to run costs little."""
        known = self._known(_name_of(text))
        if known is None:
            await bill.charge(SMALL + min(len(text), BOUNDS.characters) // 10)
        elif known.document is None:
            await bill.charge(SMALL)
        return known or self.prepare(text)


def _name_of(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _clinic() -> ObjectId | None:
    tenant = current_scope().tenant
    return tenant.id if tenant is not None else None


def _shortened(error: GraphQLError) -> GraphQLError:
    if len(error.message) <= LONGEST_MESSAGE:
        return error
    return GraphQLError(f"{error.message[:LONGEST_MESSAGE]}…", error.nodes, original_error=error.original_error)


def _bound(error: GraphQLError) -> GraphQLError:
    """graphql-core tells of too many tokens, levels or comparisons in its own way; here they are bounds like others."""
    for beginning, message in _BOUNDS_OF_CORE.items():
        if error.message.startswith(beginning):
            return GraphQLError(message, original_error=QueryTooComplex(message))
    return error


_BOUNDS_OF_CORE = {
    "Syntax Error: Document contains more than": f"The query has too many tokens: at most {BOUNDS.tokens} are allowed.",
    "Syntax Error: Document is nested too deeply": f"The query is nested deeper than {BOUNDS.depth} levels.",
    "Validation aborted.": "The query has too many fields of the same name in one place.",
}
