"""A cursor that is read under the clinic that opened it, and gives no way back to the driver's collection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from bson import ObjectId
from pymongo.asynchronous.command_cursor import AsyncCommandCursor

from app.errors import TenantGuardRefused
from app.tenancy.scope import scope_or_none
from app.wire.commands import Came, Found

Arrived = Callable[[list[dict[str, Any]]], Awaitable[None]]
DriverCursor = AsyncCommandCursor[dict[str, Any]] | Found | Came


def tenant_in_scope() -> ObjectId | None:
    """The tenant of the current scope; None when there is no scope or it has no tenant."""
    scope = scope_or_none()
    return scope.tenant.id if scope is not None and scope.tenant is not None else None


class GuardedCursor:
    """Rows as plain dicts, by `async for` or `to_list`. Raises `TenantGuardRefused` under another clinic."""

    __slots__ = ("_arrived", "_cursor", "_own")

    def __init__(self, cursor: DriverCursor, own: ObjectId | None, arrived: Arrived | None = None) -> None:
        """`own` is the clinic that opened it; None for the platform's collections. `arrived` sees each row first."""
        self._cursor = cursor
        self._own = own
        self._arrived = arrived

    def _check(self) -> None:
        if self._own is not None and tenant_in_scope() != self._own:
            raise TenantGuardRefused("the cursor was opened under another clinic")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        self._check()
        row = await self._cursor.__anext__()
        if self._arrived is not None:
            await self._arrived([row])
        return row

    async def to_list(self, length: int | None = None) -> list[dict[str, Any]]:
        """All rows, or at most `length`."""
        self._check()
        rows = await self._cursor.to_list(length)
        if self._arrived is not None:
            await self._arrived(rows)
        return rows

    async def close(self) -> None:
        """Gives the cursor up on the server; safe to call twice."""
        await self._cursor.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
