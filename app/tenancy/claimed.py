"""The guard of documents that claim the time of people, who may be claimed at clinics in other databases as well.

A unique index over the claims lets one of several bookings win, within one database. So a clinic with a database of its
own leaves a shadow of each such document in the shared database, under the same id, by the same transaction: the claims
of people, and nothing else. There the one index holds them against those of all other clinics, which need to know
nothing of it. See decision 46.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from bson import ObjectId
from pymongo import DeleteOne, InsertOne, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError, DuplicateKeyError
from pymongo.results import BulkWriteResult, DeleteResult, InsertManyResult, InsertOneResult, UpdateResult

from app.tenancy.collection import Stored, TenantCollection
from app.tenancy.criteria import Document, joined
from app.tenancy.operations import DUPLICATE_KEY
from app.tenancy.pipelines import CLAIMS, PERSONAL
from app.tenancy.places import database_of, home_of
from app.tenancy.scope import POOL, Scope, TenantId, current_scope, open_scope
from app.tenancy.spanning import run_transaction

T = TypeVar("T")
Write = Callable[[AsyncClientSession], Awaitable[T]]


class ClaimedCollection(TenantCollection):
    """Documents with `claims`. Of a clinic in the shared database nothing is different."""

    @property
    def _apart(self) -> bool:
        """Whether the clinic in scope has a database of its own."""
        return database_of(current_scope(), self._home).name != self._home().name

    async def insert_one(
        self, document: Mapping[str, Any], *, session: AsyncClientSession | None = None, **options: Any
    ) -> InsertOneResult:
        if not self._apart:
            return await super().insert_one(document, session=session, **options)
        row = {"_id": ObjectId(), **document}
        return await self._both(session, [row["_id"]], lambda its: self._insert_one(row, its, options))

    async def insert_shared(self, document: Mapping[str, Any]) -> None:
        """As `insert_one`; in a database of its own it shares its command with nothing."""
        if self._apart:
            await self.insert_one(document)
        else:
            await super().insert_shared(document)

    async def insert_many(
        self,
        documents: Iterable[Mapping[str, Any]],
        *,
        ordered: bool = True,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> InsertManyResult:
        if not self._apart:
            return await super().insert_many(documents, ordered=ordered, session=session, **options)
        rows = [{"_id": ObjectId(), **document} for document in documents]

        async def write(its: AsyncClientSession) -> InsertManyResult:
            return await super(ClaimedCollection, self).insert_many(rows, ordered=ordered, session=its, **options)

        return await self._both(session, [row["_id"] for row in rows], write)

    async def update_one(
        self,
        filter: Mapping[str, Any],
        update: Any,
        *,
        upsert: bool = False,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> UpdateResult:
        async def write(its: AsyncClientSession | None) -> UpdateResult:
            one = super(ClaimedCollection, self).update_one
            return await one(filter, update, upsert=upsert, session=its, **options)

        return await self._changed(session, filter, update, write)

    async def update_many(
        self,
        filter: Mapping[str, Any],
        update: Any,
        *,
        upsert: bool = False,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> UpdateResult:
        async def write(its: AsyncClientSession | None) -> UpdateResult:
            many = super(ClaimedCollection, self).update_many
            return await many(filter, update, upsert=upsert, session=its, **options)

        return await self._changed(session, filter, update, write)

    async def replace_one(
        self,
        filter: Mapping[str, Any],
        replacement: Mapping[str, Any],
        *,
        upsert: bool = False,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> UpdateResult:
        async def write(its: AsyncClientSession | None) -> UpdateResult:
            one = super(ClaimedCollection, self).replace_one
            return await one(filter, replacement, upsert=upsert, session=its, **options)

        return await self._changed(session, filter, {CLAIMS: None}, write)

    async def delete_one(
        self, filter: Mapping[str, Any], *, session: AsyncClientSession | None = None, **options: Any
    ) -> DeleteResult:
        async def write(its: AsyncClientSession | None) -> DeleteResult:
            return await super(ClaimedCollection, self).delete_one(filter, session=its, **options)

        return await self._changed(session, filter, {CLAIMS: None}, write)

    async def delete_many(
        self, filter: Mapping[str, Any], *, session: AsyncClientSession | None = None, **options: Any
    ) -> DeleteResult:
        async def write(its: AsyncClientSession | None) -> DeleteResult:
            return await super(ClaimedCollection, self).delete_many(filter, session=its, **options)

        return await self._changed(session, filter, {CLAIMS: None}, write)

    async def find_one_and_update(
        self,
        filter: Mapping[str, Any],
        update: Any,
        projection: Any = None,
        *,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> Document | None:
        async def write(its: AsyncClientSession | None) -> Document | None:
            one = super(ClaimedCollection, self).find_one_and_update
            return await one(filter, update, projection, session=its, **options)

        return await self._changed(session, filter, update, write)

    async def find_one_and_delete(
        self,
        filter: Mapping[str, Any],
        projection: Any = None,
        *,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> Document | None:
        async def write(its: AsyncClientSession | None) -> Document | None:
            one = super(ClaimedCollection, self).find_one_and_delete
            return await one(filter, projection, session=its, **options)

        return await self._changed(session, filter, {CLAIMS: None}, write)

    async def bulk_write(
        self,
        requests: Iterable[Any],
        *,
        ordered: bool = True,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> BulkWriteResult:
        parts = list(requests)

        async def write(its: AsyncClientSession | None) -> BulkWriteResult:
            return await super(ClaimedCollection, self).bulk_write(parts, ordered=ordered, session=its, **options)

        if not self._apart:
            return await write(session)
        for part in parts:
            if isinstance(part, InsertOne):
                part._doc = {"_id": ObjectId(), **part._doc}
        new = [part._doc["_id"] for part in parts if isinstance(part, InsertOne)]
        filters = [part._filter for part in parts if not isinstance(part, InsertOne)]
        return await self._both(session, new, write, {"$or": filters} if filters else None)

    # --- both databases at once -----------------------------------------------------------------------------------

    async def _insert_one(
        self, row: Mapping[str, Any], session: AsyncClientSession, options: Mapping[str, Any]
    ) -> InsertOneResult:
        return await super().insert_one(row, session=session, **options)

    async def _changed(
        self,
        session: AsyncClientSession | None,
        filter: Mapping[str, Any],
        change: Any,
        write: Callable[[AsyncClientSession | None], Awaitable[T]],
    ) -> T:
        """Runs a write of the documents that match, and brings their shadows along where it may change claims."""
        if not self._apart or not _changes_claims(change):
            return await write(session)
        return await self._both(session, [], write, filter)

    async def _both(
        self,
        session: AsyncClientSession | None,
        ids: Sequence[Any],
        write: Write[T],
        filter: Mapping[str, Any] | None = None,
    ) -> T:
        """Runs the write and renews the shadows of the documents of `ids`, and of those that `filter` finds before, in
        one transaction: that of the session, or one of its own."""

        async def work(its: AsyncClientSession) -> T:
            own, stored = self._enter(its)
            touched = [*ids, *(await self._matching(own, stored, filter, its) if filter is not None else ())]
            result = await write(its)
            await self._shadow(own, stored, touched, its)
            return result

        if session is not None:
            return await work(session)
        return await run_transaction(home_of(current_scope(), self._home), work)

    async def _matching(self, own: TenantId, stored: Stored, filter: Any, session: AsyncClientSession) -> list[Any]:
        found = stored.find(self._filter(own, filter), {"_id": 1}, session=session)
        return [row["_id"] for row in await found.to_list()]

    async def _shadow(self, own: TenantId, stored: Stored, ids: Sequence[Any], session: AsyncClientSession) -> None:
        if not ids:
            return
        mine = joined(self.kind, own, {"_id": {"$in": list(ids)}})
        rows = {row["_id"]: row async for row in stored.find(mine, {CLAIMS: 1}, session=session)}
        changes = [self._shadow_of(own, id, personal(rows.get(id, {}).get(CLAIMS))) for id in ids]
        with open_scope(_in_the_pool(current_scope(), self)):
            try:
                await self._home()[self._name].bulk_write(changes, ordered=True, session=session)
            except BulkWriteError as error:
                raise _as_one(error) from None

    def _shadow_of(self, own: TenantId, id: Any, claims: list[str]) -> UpdateOne | DeleteOne:
        mine = joined(self.kind, own, {"_id": id})
        return UpdateOne(mine, {"$set": {CLAIMS: claims}}, upsert=True) if claims else DeleteOne(mine)


def personal(claims: Iterable[str] | None) -> list[str]:
    """Those of the claims that take a person's time, wherever they are booked."""
    return [claim for claim in claims or () if claim.startswith(PERSONAL)]


def _changes_claims(change: Any) -> bool:
    """Whether an update, or the columns that a write puts in place, may change claims."""
    if not isinstance(change, Mapping):
        return True
    names = [name for content in change.values() if isinstance(content, Mapping) for name in content]
    return any(str(name).partition(".")[0] == CLAIMS for name in (*change, *names))


def _in_the_pool(scope: Scope, collection: ClaimedCollection) -> Scope:
    tenant = replace(scope.tenant, residence=POOL) if scope.tenant is not None else None
    return replace(scope, tenant=tenant, database=collection._home())


def _as_one(error: BulkWriteError) -> BulkWriteError | DuplicateKeyError:
    """What a lone write would have raised for a claim that is taken."""
    for one in (error.details or {}).get("writeErrors", ()):
        if one.get("code") == DUPLICATE_KEY:
            return DuplicateKeyError(one.get("errmsg", ""), DUPLICATE_KEY, one)
    return error
