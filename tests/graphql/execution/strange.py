"""Values that are no plain ones: awaited, or gone through item by item; both executors can use the same one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from typing import Any

from tests.graphql.execution.things import Raised


class Later:
    """A value that must be awaited; it can be again and again."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, Any, Any]:
        yield from asyncio.sleep(0).__await__()
        if isinstance(self._value, Raised):
            raise self._value.args[0]
        return self._value


class Some:
    """Items in an iterable that is no list."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)


class SomeLater:
    """Items that come one after the other."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    async def __aiter__(self) -> AsyncIterator[Any]:
        for item in self._items:
            await asyncio.sleep(0)
            yield item
