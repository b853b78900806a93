"""Who completed root fields: the plan, or graphql-core and why."""

from __future__ import annotations

from collections import Counter

from app.metrics import count_field


class Completions(Counter[str]):
    """Counts for one schema; each also goes to the process's metrics."""

    def note(self, completed: str) -> None:
        self[completed] += 1
        count_field(completed)
