"""What one run of a plan has read, where the plan leads to the same collection several times: nothing is read twice.

A patient's appointment leads to the same patient again. Nothing here outlives the run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

Read = Callable[[list[Any]], Awaitable[Mapping[Any, Any]]]


@dataclass(slots=True)
class _Known:
    """Values by key, None for keys that led to nothing; rows have these columns at least."""

    columns: frozenset[str]
    values: dict[Any, Any] = field(default_factory=dict)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True)
class Kept:
    """By name of what is read."""

    _known: dict[Hashable, list[_Known]] = field(default_factory=dict)

    async def values(self, name: Hashable, columns: frozenset[str], keys: list[Any], read: Read) -> dict[Any, Any]:
        """The values of the keys that have one. `read` finds those of keys that were not asked for before."""
        before = self._known.setdefault(name, [])
        known = next((one for one in before if columns <= one.columns), None)
        if known is None:
            known = _Known(columns)
            before.append(known)
        async with known.reading:
            new = [key for key in keys if key not in known.values]
            if new:
                found = await read(new)
                known.values.update({key: found.get(key) for key in new})
        return {key: value for key in keys if (value := known.values[key]) is not None}
