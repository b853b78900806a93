"""Operations compiled once and run many times.

A root field runs its resolver as ever: permission, audit and guard are in it. What the resolver returned is then
completed by the plan: the related rows of each level are read in one go, and one generated function writes the answer.
Whatever is not as the types promise is handed to graphql-core, value and all, so that nothing is resolved twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, TypeAlias

from graphql import (
    DirectiveNode,
    DocumentNode,
    ExecutionResult,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLField,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    TypeNameMetaFieldDef,
    VariableNode,
    Visitor,
    default_field_resolver,
    located_error,
    visit,
)
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.values import VariableValues, get_argument_values, get_variable_values
from graphql.pyutils import Path, gather_with_cancel, is_awaitable
from graphql.type import GraphQLResolveInfoHelpers

from app.graphql.execution.counting import Completions
from app.graphql.execution.planning import Attribute, Chosen, Planner, Unplannable
from app.graphql.execution.plans import Plans
from app.graphql.execution.reading import Reads, plan_reads
from app.graphql.execution.reference import ReferenceOperation
from app.graphql.execution.writing import Write, Writer

Plan: TypeAlias = "Sequence[PlannedField] | str"
"""The root fields, or why graphql-core runs the whole operation."""


def _gather(values: Sequence[Awaitable[Any]]) -> Awaitable[list[Any]]:
    return gather_with_cancel(*values)


def _track(values: Sequence[Any]) -> None:
    """Resolvers here leave nothing running behind them."""


_HELPERS = GraphQLResolveInfoHelpers(gather=_gather, track=_track)


class PlannedInfo(GraphQLResolveInfo[Any]):
    """What resolvers are told of their field. `memo` keeps what was worked out from its selection."""

    memo: dict[Any, Any]


@dataclass(slots=True)
class PlannedField:
    """A root field. Without `write`, graphql-core completes it, for the `reason` given."""

    key: str
    parent: GraphQLObjectType
    definition: GraphQLField
    details: FieldDetailsList
    path: Path
    constant: Mapping[str, Any] | None
    """The arguments, where no variable stands in them."""
    reads: Reads | None = None
    write: Write | None = None
    reason: str = ""
    memos: dict[int, dict[Any, Any]] = field(default_factory=dict)
    """What was worked out from selections: the root field's own (-1) and those of its slots."""

    def info(self, run: Run, chosen: Chosen | None = None) -> GraphQLResolveInfo[Any]:
        """What the resolver of the field is told, or that of a field below it."""
        details = self.details if chosen is None else chosen.details
        definition = self.definition if chosen is None else chosen.definition
        of = run.operation
        info = PlannedInfo(
            details[0].node.name.value,
            [one.node for one in details],
            definition.type,
            self.parent,
            self.path,
            of.reference.schema,
            of.fragments,
            of.reference.root,
            of.reference.operation,
            run.variables,
            run.context,
            is_awaitable,
            None,
            _HELPERS,
        )
        info.memo = self.memos.setdefault(-1 if chosen is None else chosen.slot, {})
        return info


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an operation."""

    operation: CompiledOperation
    raw: Mapping[str, Any]
    variables: VariableValues
    context: Any


class CompiledOperation:
    """One operation of a document. Its plans hold nothing of any clinic and are shared by all requests."""

    def __init__(self, reference: ReferenceOperation, plans: Plans[Plan], counted: Completions) -> None:
        """`counted` counts root fields by who completed them, and why it was not the plan."""
        self.reference = reference
        self.fragments = {
            node.name.value: node for node in reference.document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._counted = counted
        self._switches = _switches(reference.document)
        self._plans = plans

    async def run(self, variables: Mapping[str, Any], context: Any) -> ExecutionResult:
        """The whole answer. Raises nothing that graphql-core would not."""
        of = self.reference
        values = get_variable_values(
            of.schema,
            of.operation.variable_definitions or (),
            dict(variables),
            max_errors=50,
            hide_suggestions=of.hide_suggestions,
        )
        if isinstance(values, list):
            return ExecutionResult(None, values)
        plan = self._plan(values)
        if isinstance(plan, str):
            self._counted.note(f"reference: {plan}")
            return await of.run(variables, context)
        run = Run(self, variables, values, context)
        if len(plan) == 1 or of.operation.operation is OperationType.MUTATION:
            answers = [await self._answer(one, run) for one in plan]
        else:
            answers = await gather_with_cancel(*(self._answer(one, run) for one in plan))
        errors = [error for _, found in answers for error in found]
        return ExecutionResult({one.key: value for one, (value, _) in zip(plan, answers, strict=True)}, errors or None)

    # --- planning ----------------------------------------------------------------------------------------------------

    def _plan(self, values: VariableValues) -> Plan:
        """The plan for these values of the directives' variables."""
        variant = tuple(values.coerced.get(switch) for switch in self._switches)
        plan = self._plans.get(self, variant)
        if plan is None:
            planner = Planner(
                self.reference.schema, self.fragments, self.reference.operation, values, self.reference.hide_suggestions
            )
            plan = self._planned(planner)
            self._plans.put(self, variant, plan, 1 + planner.fields)
        return plan

    def _planned(self, planner: Planner) -> Plan:
        of = self.reference
        root = of.schema.get_root_type(of.operation.operation)
        if root is None or of.operation.operation is OperationType.SUBSCRIPTION:
            return "subscription"
        try:
            return [self._field(planner, root, key, found) for key, found in planner.root_fields(root).items()]
        except Unplannable as why:
            return str(why)
        except GraphQLError:  # a directive whose value is wrong: graphql-core says where
            return "directive"

    def _field(self, planner: Planner, root: GraphQLObjectType, key: str, details: FieldDetailsList) -> PlannedField:
        definition = planner.schema.get_field(root, details[0].node.name.value)
        if definition is TypeNameMetaFieldDef:
            return PlannedField(
                key, root, definition, details, Path(None, key, root.name), {}, Reads(0, []), lambda value, _: value
            )
        if definition is None or isinstance(definition.type, GraphQLNonNull):
            raise Unplannable("a root field that must not be null")
        field = PlannedField(key, root, definition, details, Path(None, key, root.name), _constant(definition, details))
        planner.slots = 0
        try:
            chosen = Chosen(key, definition, details, Attribute(key), planner.below(definition.type, details))
            field.reads = plan_reads(chosen.below, planner.slots)
            field.write = Writer(lambda below: self._static_info(field, below)).compile(chosen)
        except Unplannable as why:
            field.reason = str(why)
        return field

    def _static_info(self, field: PlannedField, below: Chosen) -> GraphQLResolveInfo[Any]:
        """What type resolvers are told: they ask for the schema and the field's name alone."""
        return field.info(Run(self, {}, VariableValues({}, {}), None), below)

    # --- running -----------------------------------------------------------------------------------------------------

    async def _answer(self, field: PlannedField, run: Run) -> tuple[Any, list[GraphQLError]]:
        """A root field's place in the answer, and its errors."""
        try:
            resolve = field.definition.resolve or default_field_resolver
            value = resolve(self.reference.root, field.info(run), **self._arguments(field, run))
            if isawaitable(value):
                value = await value
        except Exception as error:  # noqa: BLE001 - as graphql-core does: told at the field's place
            return None, [located_error(error, [one.node for one in field.details], [field.key])]
        return await self._completed(field, value, run)

    def _arguments(self, field: PlannedField, run: Run) -> Mapping[str, Any]:
        if field.constant is not None:
            return field.constant
        hide = self.reference.hide_suggestions
        return get_argument_values(field.definition, field.details[0].node, run.variables, None, hide)

    async def _completed(self, field: PlannedField, value: Any, run: Run) -> tuple[Any, list[GraphQLError]]:
        reason = field.reason
        if field.write is not None and field.reads is not None:
            try:
                found = await field.reads.run(value, lambda chosen: field.info(run, chosen), run.variables)
                written = field.write(value, found)
            except Exception:  # noqa: BLE001 - not as promised: graphql-core says what becomes of it
                reason = "irregular"
            else:
                self._counted.note("compiled")
                return written, []
        self._counted.note(f"completed: {reason}")
        return await self.reference.complete(field.parent, field.key, field.details, value, run.raw, run.context)


class Execution:
    """Runs operations against one schema."""

    def __init__(self, schema: GraphQLSchema, *, root: object, hide_suggestions: bool, compiled: bool = True) -> None:
        """Without `compiled`, graphql-core runs everything."""
        self._schema = schema
        self._root = root
        self._hide_suggestions = hide_suggestions
        self._compiled = compiled
        self._plans: Plans[Plan] = Plans()
        self.counted = Completions()

    def operation(
        self, document: DocumentNode, operation: OperationDefinitionNode
    ) -> CompiledOperation | ReferenceOperation:
        """An operation of a document that is valid, ready to run. Planning waits for the first run."""
        reference = ReferenceOperation(
            self._schema, document, operation, root=self._root, hide_suggestions=self._hide_suggestions
        )
        return CompiledOperation(reference, self._plans, self.counted) if self._compiled else reference


def _constant(definition: GraphQLField, details: FieldDetailsList) -> Mapping[str, Any] | None:
    if _variables(details[0].node):
        return None
    try:
        return get_argument_values(definition, details[0].node)
    except GraphQLError:  # told at each run, at the field's place
        return None


class _Names(Visitor):
    """The variables below a node; with `directives`, those in `@skip` and `@include` alone."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, None] = {}

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        self.found[node.name.value] = None


def _variables(node: Any) -> list[str]:
    names = _Names()
    for argument in node.arguments or ():
        visit(argument, names)
    return list(names.found)


class _Switches(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, None] = {}

    def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
        self.found.update(dict.fromkeys(_variables(node)))


def _switches(document: DocumentNode) -> tuple[str, ...]:
    """The variables that directives name anywhere in the document."""
    switches = _Switches()
    visit(document, switches)
    return tuple(switches.found)
