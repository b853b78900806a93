"""One case of execution: what is asked, what the root fields answer, what must come of it, and who has done it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.graphql.execution.things import Toys

COMPILED = "compiled"
IRREGULAR = "completed: irregular"


@dataclass(frozen=True, slots=True)
class Case:
    """`answers` are made anew for each case. `how` counts as `Execution.counted` does."""

    name: str
    query: str
    answers: Callable[[], Mapping[str, Any]]
    data: Any
    how: str = COMPILED
    errors: tuple[tuple[str, list[str | int]], ...] = ()
    """Message and path of each."""
    variables: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    async def holds(self, toys: Toys) -> None:
        """Asks both executors."""
        ran = await toys.ask(self.query, self.variables, **self.answers())
        assert ran.data == self.data
        assert [(error.message, error.path) for error in ran.errors] == list(self.errors)
        assert ran.compiled if self.how == COMPILED else ran.counted[self.how]
