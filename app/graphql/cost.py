"""What an operation costs, in points, and who pays for it.

A point is a field of the answer, with each list as long as the client asked for it. What is static is worked out once
per document; only the lengths that come in variables are put in for each request.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache, reduce
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
)

from app.config import Settings
from app.errors import QueryTooComplex
from app.graphql.limits import LONGEST_PAGE, USUAL_PAGE
from app.services.budgets import Account, Budgets, Spent
from app.services.rate_limits import Limit, network_of
from app.tenancy.scope import Scope, current_scope

MUTATION = 10
"""Points that a change costs beside its answer."""
SMALL = 1
"""Points for a request that runs nothing, and of which nothing had to be read."""
MINUTE = timedelta(minutes=1)

Variables = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cost:
    """A static part, and parts that come once for each row of a page whose length is a variable."""

    fixed: float = 0.0
    paged: tuple[tuple[str, Cost], ...] = ()

    def beside(self, other: Cost) -> Cost:
        return Cost(self.fixed + other.fixed, (*self.paged, *other.paged))

    def times(self, factor: float) -> Cost:
        return Cost(self.fixed * factor, tuple((name, cost.times(factor)) for name, cost in self.paged))

    def with_variables(self, variables: Variables) -> float:
        """The points, with these variables' lengths."""
        return self.fixed + sum(
            _pages(variables.get(name)) * cost.with_variables(variables) for name, cost in self.paged
        )


@dataclass(frozen=True, slots=True)
class OperationCost:
    """What one operation of a document costs; `defaults` are those of its variables that are numbers."""

    cost: Cost
    defaults: Variables

    def points(self, variables: Variables) -> int:
        """Whole points, at least one."""
        return max(1, math.ceil(self.cost.with_variables({**self.defaults, **variables}) - 1e-6))


def cost_of(document: DocumentNode, operation: OperationDefinitionNode) -> OperationCost:
    """The cost of an operation of a document that is valid and within bounds."""
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    reader = _Reader(fragments)
    cost = reader.selection_set(operation.selection_set)
    if operation.operation is OperationType.MUTATION:
        cost = cost.beside(Cost(MUTATION * reader.width(operation.selection_set)))
    defaults = {
        one.variable.name.value: int(one.default_value.value)
        for one in operation.variable_definitions or ()
        if isinstance(one.default_value, IntValueNode)
    }
    return OperationCost(cost, defaults)


class _Reader:
    """Adds up selections; each fragment once."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._known: dict[str, Cost] = {}

    def selection_set(self, node: SelectionSetNode | None) -> Cost:
        return _sum(map(self._selection, node.selections if node else ()))

    def width(self, node: SelectionSetNode) -> int:
        """How many fields stand at the topmost level, those in fragments among them; bounded with the document."""
        return sum(map(self._width, node.selections))

    def _width(self, node: SelectionNode) -> int:
        if isinstance(node, InlineFragmentNode):
            return self.width(node.selection_set)
        if isinstance(node, FragmentSpreadNode):
            return self.width(self._fragments[node.name.value].selection_set)
        return 1

    def _selection(self, node: SelectionNode) -> Cost:
        if isinstance(node, FieldNode):
            return Cost(1.0).beside(_rows(node, self.selection_set(node.selection_set)))
        if isinstance(node, InlineFragmentNode):
            return self.selection_set(node.selection_set)
        assert isinstance(node, FragmentSpreadNode)  # noqa: S101 - there is no other kind
        name = node.name.value
        if name not in self._known:
            self._known[name] = self.selection_set(self._fragments[name].selection_set)
        return self._known[name]


def _sum(costs: Iterable[Cost]) -> Cost:
    return reduce(Cost.beside, costs, Cost())


def _rows(node: FieldNode, below: Cost) -> Cost:
    """What stands below a field, as often as it is answered: `edges` by pages of usual length, and what has `first`
    by so many of these pages."""
    if node.name.value == "edges":
        return below.times(USUAL_PAGE)
    first = next((one.value for one in node.arguments or () if one.name.value == "first"), None)
    if isinstance(first, VariableNode):
        return Cost(paged=((first.name.value, below),))
    return below.times(_pages(int(first.value))) if isinstance(first, IntValueNode) else below


def _pages(first: Any) -> float:
    """How many pages of usual length `first` rows are. What is no length is refused before anything is read."""
    if isinstance(first, bool) or not isinstance(first, int | float):
        return 1.0
    return min(max(first, 1), LONGEST_PAGE) / USUAL_PAGE


def payers(settings: Settings, scope: Scope | None = None) -> list[Account]:
    """Whose budgets a request spends: a person's or an address's, and one of the clinic's.

    Visitors and patients spend another budget of the clinic than its people, so a flood of them keeps nobody from
    working.
    """
    scope = scope or current_scope()
    actor = scope.actor
    works_here = actor is not None and not scope.mismatch and bool(actor.membership_id or actor.entry_id)
    at_work = scope.tenant is not None and works_here
    if actor is not None:
        paying = [Account(_limit("cost-person", settings.cost_per_person, platform=not at_work), str(actor.user_id))]
    else:
        paying = [Account(_limit("cost-address", settings.cost_per_address, platform=True), network_of(scope.address))]
    if scope.tenant is not None:
        limit = _limit("cost-clinic", settings.cost_per_clinic, platform=False)
        paying.append(Account(limit, "staff" if at_work else "public"))
    return paying


@lru_cache(maxsize=64)  # as many as there are settings: the same for every request
def _limit(name: str, points: int, *, platform: bool) -> Limit:
    return Limit(name, points, MINUTE, platform)


class Bill:
    """What one request costs, and what its payers have left."""

    def __init__(self, budgets: Budgets, accounts: list[Account]) -> None:
        self._budgets = budgets
        self._accounts = accounts
        self._most = min([account.limit.tries for account in accounts])
        self._spent: list[Spent] = []
        self.requested = 0
        self.charged = 0
        """Points that are charged now."""

    async def charge(self, points: int) -> None:
        """Charges `points` in place of what was charged before, which stays charged when these cannot be.

        Raises RATE_LIMITED when that is not left, QUERY_TOO_COMPLEX when it is more than a whole budget.
        """
        self.requested = points
        if points > self._most:
            raise QueryTooComplex(f"The query costs {points} points, and a minute's budget is {self._most}.")
        if points > self.charged:
            more = points - self.charged
            self._spent.append(await self._budgets.spend(self._accounts, more))
            self.charged += more
        else:
            self.reduce(points)

    def reduce(self, points: int) -> None:
        """Gives back what was charged beyond `points`, the latest first."""
        while self.charged > points:
            last = self._spent.pop()
            given = min(last.points, self.charged - points)
            self._budgets.put_back(replace(last, points=given))
            self.charged -= given
            if given < last.points:
                self._spent.append(replace(last, points=last.points - given))

    def shown(self) -> dict[str, Any]:
        """`extensions.cost`: of the account with the least part of its budget left."""
        standing = self._budgets.standing(self._accounts)
        return {
            "requested": self.requested,
            "limit": standing.limit,
            "remaining": standing.remaining,
            "resetAt": standing.reset_at.isoformat(),
        }
