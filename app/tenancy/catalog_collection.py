"""The guard of collections whose rows processes remember: each write is counted before it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import PyMongoError
from pymongo.results import BulkWriteResult, DeleteResult, UpdateResult

from app.tenancy.collection import TenantCollection
from app.tenancy.remembered import remembered
from app.tenancy.scope import current_scope

P = ParamSpec("P")
T = TypeVar("T")

TENANTS = "tenants"


def _counted(write: Callable[P, Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """The same write, followed by the count where it has changed anything; in one transaction where it is part of one.

    A write that broke off may have changed something before it did, so it counts too. Within a transaction it ends the
    transaction, and nothing of it is seen.
    """

    @wraps(write)
    async def counted(*args: P.args, **kwargs: P.kwargs) -> T:
        collection: Any = args[0]
        session: Any = kwargs.get("session")
        try:
            result = await write(*args, **kwargs)
        except (PyMongoError, asyncio.CancelledError):
            if session is None:
                await collection._count_up(None)
            raise
        if _has_changed(result, bool(kwargs.get("upsert"))):
            await collection._count_up(session)
        return result

    return counted


def _has_changed(result: Any, upsert: bool) -> bool:
    """Whether a write has changed anything, by what it answers. One that returns a document as it was before may have
    made one by an upsert and then returns none."""
    if isinstance(result, UpdateResult):
        return bool(result.modified_count) or result.upserted_id is not None
    if isinstance(result, DeleteResult):
        return bool(result.deleted_count)
    if isinstance(result, BulkWriteResult):
        counts = (result.inserted_count, result.modified_count, result.deleted_count, result.upserted_count)
        return any(counts)
    return result is not None or upsert


class CatalogCollection(TenantCollection):
    """A clinic's collection that few change and many read: doctors, rooms, services."""

    insert_one = _counted(TenantCollection.insert_one)
    insert_many = _counted(TenantCollection.insert_many)
    update_one = _counted(TenantCollection.update_one)
    update_many = _counted(TenantCollection.update_many)
    replace_one = _counted(TenantCollection.replace_one)
    delete_one = _counted(TenantCollection.delete_one)
    delete_many = _counted(TenantCollection.delete_many)
    find_one_and_update = _counted(TenantCollection.find_one_and_update)
    find_one_and_delete = _counted(TenantCollection.find_one_and_delete)
    bulk_write = _counted(TenantCollection.bulk_write)

    async def insert_shared(self, document: Mapping[str, Any]) -> None:
        """As `insert_one`: what seldom comes shares its command with nothing."""
        await self.insert_one(document)

    async def _count_up(self, session: AsyncClientSession | None) -> None:
        own = current_scope().tenant_id
        row: dict[str, Any] | None = await self._home()[TENANTS].find_one_and_update(
            {"_id": own},
            {"$inc": {"catalog_version": 1}},
            {"_id": 0, "catalog_version": 1},
            return_document=ReturnDocument.AFTER,
            session=session,
        )
        if row is not None:
            remembered.changed(own, row["catalog_version"])
