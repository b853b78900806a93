"""The plans that a process keeps: bounded, the least lately used go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

KEPT_FIELDS = 15_000
"""So many fields are kept planned, about a kilobyte each: some hundreds of a front end's operations."""
VARIANTS = 8
"""So many plans of one operation: one for each set of the values that `@skip` and `@include` name."""

P = TypeVar("P")


class Plans(Generic[P]):
    """Plans by operation and variant."""

    def __init__(self, fields: int = KEPT_FIELDS) -> None:
        self._most = fields
        self._plans: OrderedDict[tuple[Hashable, Hashable], tuple[P, int]] = OrderedDict()
        self._variants: dict[Hashable, list[Hashable]] = {}
        self.fields = 0

    def get(self, operation: Hashable, variant: Hashable) -> P | None:
        """The plan, if it is kept."""
        found = self._plans.get((operation, variant))
        if found is None:
            return None
        self._plans.move_to_end((operation, variant))
        return found[0]

    def put(self, operation: Hashable, variant: Hashable, plan: P, fields: int) -> None:
        """Keeps a plan of so many fields, and drops others in its place."""
        variants = self._variants.setdefault(operation, [])
        variants.append(variant)
        self._plans[operation, variant] = plan, fields
        self.fields += fields
        if len(variants) > VARIANTS:
            self._drop(operation, variants[0])
        while self.fields > self._most and len(self._plans) > 1:
            self._drop(*next(iter(self._plans)))

    def _drop(self, operation: Hashable, variant: Hashable) -> None:
        self.fields -= self._plans.pop((operation, variant))[1]
        variants = self._variants[operation]
        variants.remove(variant)
        if not variants:
            del self._variants[operation]

    def __len__(self) -> int:
        return len(self._plans)
