"""The guard: the only way to a clinic's documents. Each operation finds its clinic in the scope, and stays inside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NoReturn

from bson import ObjectId
from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, ReturnDocument, UpdateMany, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.results import BulkWriteResult, DeleteResult, InsertManyResult, InsertOneResult, UpdateResult

from app.errors import Conflict, NotFound, TenantGuardRefused
from app.tenancy.criteria import (
    Document,
    check_filter,
    check_sort,
    check_update,
    checked_projection,
    joined,
    names_hidden,
    refuse_javascript,
    stamped,
    tenant_clause,
)
from app.tenancy.cursor import GuardedCursor
from app.tenancy.kinds import ARCHIVED_FIELD, SHARED_FIELD, Kind
from app.tenancy.operations import (
    AGGREGATE,
    COUNT,
    DELETE,
    DISTINCT,
    FIND_AND,
    INSERT,
    READ,
    WRITE,
    allow,
    claim_session,
    foreign_id_is_not_found,
)
from app.tenancy.pipelines import scoped_pipeline
from app.tenancy.scope import Database, TenantId, current_scope

Stored = AsyncCollection[Document]

COLLECTIONS_KEPT = 256
LEAVE_TRIES = 5


class GuardedCollection:
    """An allow-list of operations on one stored collection. Holds no tenant: each call asks the current scope."""

    kind: ClassVar[Kind]

    def __init__(self, name: str, home: Callable[[], Database]) -> None:
        """`home` gives the platform's database, used when the scope names none."""
        self._name = name
        self._home = home
        self._opened: dict[int, Stored] = {}

    @property
    def name(self) -> str:
        return self._name

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        if self.kind is not Kind.PLATFORM:
            current_scope().tenant_id  # noqa: B018 - without a clinic this is the clearer error
        raise TenantGuardRefused(f"{name!r} is not an operation of a guarded collection")

    # --- what the kinds of collections do differently -------------------------------------------------------------

    def _enter(self, session: AsyncClientSession | None) -> tuple[TenantId, Stored]:
        """The clinic and the driver's collection for one operation."""
        scope = current_scope()
        own = scope.tenant_id
        claim_session(session, own)
        return own, self._at(scope.database)

    def _filter(self, own: TenantId, criteria: Any) -> Document:
        return joined(self.kind, own, criteria)

    def _new(self, own: TenantId, document: Any) -> Document:
        return stamped(self.kind, own, document)

    def _update(self, own: TenantId, update: Any, upsert: bool) -> Any:
        check_update(self.kind, own, update)
        return update

    def _replacement(self, own: TenantId, document: Any) -> Document:
        return stamped(self.kind, own, document)

    # --- reads ----------------------------------------------------------------------------------------------------

    def _at(self, database: Database | None) -> Stored:
        """Opened collections are kept by the identity of their database: two clients of one server are equal."""
        place = database if database is not None else self._home()
        stored = self._opened.get(id(place))
        if stored is None or stored.database is not place:
            if len(self._opened) >= COLLECTIONS_KEPT:
                self._opened.clear()
            stored = self._opened[id(place)] = place[self._name]
        return stored

    def _read_options(self, options: Mapping[str, Any], allowed: frozenset[str]) -> None:
        allow(options, allowed)
        check_sort(self.kind, options.get("sort"))

    def find(
        self,
        filter: Mapping[str, Any] | None = None,
        projection: Any = None,
        *,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> GuardedCursor:
        """A cursor over plain dicts of this clinic; it must be read under the same clinic."""
        self._read_options(options, READ)
        own, stored = self._enter(session)
        shape = checked_projection(self.kind, projection)
        return GuardedCursor(stored.find(self._filter(own, filter), shape, session=session, **options), own)

    async def find_one(
        self,
        filter: Mapping[str, Any] | None = None,
        projection: Any = None,
        *,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> Document | None:
        self._read_options(options, READ - {"limit", "batch_size"})
        own, stored = self._enter(session)
        shape = checked_projection(self.kind, projection)
        return await stored.find_one(self._filter(own, filter), shape, session=session, **options)

    async def count_documents(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> int:
        allow(options, COUNT)
        own, stored = self._enter(session)
        return await stored.count_documents(self._filter(own, filter), session=session, **options)

    async def distinct(
        self,
        key: str,
        filter: Mapping[str, Any] | None = None,
        *,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> list[Any]:
        allow(options, DISTINCT)
        if self.kind is Kind.SHARED and names_hidden(key):
            raise TenantGuardRefused("which clinics share a document is not for callers to read")
        own, stored = self._enter(session)
        return await stored.distinct(key, self._filter(own, filter), session=session, **options)

    async def aggregate(
        self, pipeline: Any, *, session: AsyncClientSession | None = None, **options: Any
    ) -> GuardedCursor:
        """Runs the pipeline, rewritten for the clinic (see `pipelines`)."""
        allow(options, AGGREGATE)
        own, stored = self._enter(session)
        stages = scoped_pipeline(self.kind, own, pipeline)
        return GuardedCursor(await stored.aggregate(stages, session=session, **options), own)

    # --- writes ---------------------------------------------------------------------------------------------------

    async def insert_one(
        self, document: Mapping[str, Any], *, session: AsyncClientSession | None = None, **options: Any
    ) -> InsertOneResult:
        allow(options, INSERT)
        own, stored = self._enter(session)
        return await stored.insert_one(self._new(own, document), session=session, **options)

    async def insert_many(
        self,
        documents: Iterable[Mapping[str, Any]],
        *,
        ordered: bool = True,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> InsertManyResult:
        allow(options, INSERT)
        own, stored = self._enter(session)
        rows = [self._new(own, document) for document in documents]
        return await stored.insert_many(rows, ordered=ordered, session=session, **options)

    async def update_one(
        self,
        filter: Mapping[str, Any],
        update: Any,
        *,
        upsert: bool = False,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> UpdateResult:
        """Raises `NotFound` when an upsert meets an `_id` that is another clinic's."""
        allow(options, WRITE)
        own, stored = self._enter(session)
        change = self._update(own, update, upsert)
        with foreign_id_is_not_found(upsert):
            return await stored.update_one(self._filter(own, filter), change, upsert=upsert, session=session, **options)

    async def update_many(
        self,
        filter: Mapping[str, Any],
        update: Any,
        *,
        upsert: bool = False,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> UpdateResult:
        allow(options, WRITE)
        own, stored = self._enter(session)
        change = self._update(own, update, upsert)
        with foreign_id_is_not_found(upsert):
            return await stored.update_many(
                self._filter(own, filter), change, upsert=upsert, session=session, **options
            )

    async def replace_one(
        self,
        filter: Mapping[str, Any],
        replacement: Mapping[str, Any],
        *,
        upsert: bool = False,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> UpdateResult:
        allow(options, DELETE)
        own, stored = self._enter(session)
        document = self._replacement(own, replacement)
        with foreign_id_is_not_found(upsert):
            return await stored.replace_one(
                self._filter(own, filter), document, upsert=upsert, session=session, **options
            )

    async def delete_one(
        self, filter: Mapping[str, Any], *, session: AsyncClientSession | None = None, **options: Any
    ) -> DeleteResult:
        allow(options, DELETE)
        own, stored = self._enter(session)
        return await stored.delete_one(self._filter(own, filter), session=session, **options)

    async def delete_many(
        self, filter: Mapping[str, Any], *, session: AsyncClientSession | None = None, **options: Any
    ) -> DeleteResult:
        allow(options, DELETE)
        own, stored = self._enter(session)
        return await stored.delete_many(self._filter(own, filter), session=session, **options)

    async def find_one_and_update(
        self,
        filter: Mapping[str, Any],
        update: Any,
        projection: Any = None,
        *,
        upsert: bool = False,
        return_document: bool = ReturnDocument.BEFORE,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> Document | None:
        """Raises `NotFound` when an upsert meets an `_id` that is another clinic's."""
        self._read_options(options, FIND_AND)
        own, stored = self._enter(session)
        change = self._update(own, update, upsert)
        with foreign_id_is_not_found(upsert):
            return await stored.find_one_and_update(
                self._filter(own, filter),
                change,
                projection=checked_projection(self.kind, projection),
                upsert=upsert,
                return_document=return_document,
                session=session,
                **options,
            )

    async def find_one_and_delete(
        self,
        filter: Mapping[str, Any],
        projection: Any = None,
        *,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> Document | None:
        self._read_options(options, FIND_AND - {"array_filters"})
        own, stored = self._enter(session)
        shape = checked_projection(self.kind, projection)
        return await stored.find_one_and_delete(self._filter(own, filter), projection=shape, session=session, **options)

    async def bulk_write(
        self,
        requests: Iterable[Any],
        *,
        ordered: bool = True,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> BulkWriteResult:
        """Runs the operations in one go. To queue over time, use `Model.bulk_writer()`, which remembers the clinic."""
        allow(options, INSERT)
        own, stored = self._enter(session)
        rewritten = [self._operation(own, request) for request in requests]
        with foreign_id_is_not_found(True):
            return await stored.bulk_write(rewritten, ordered=ordered, session=session, **options)

    def _operation(self, own: TenantId, request: Any) -> Any:
        """One operation of a bulk write, held to the clinic. The driver's classes keep their parts in these fields."""
        if isinstance(request, InsertOne):
            return InsertOne(self._new(own, request._doc))
        if not isinstance(request, UpdateOne | UpdateMany | ReplaceOne | DeleteOne | DeleteMany):
            raise TenantGuardRefused(f"{type(request).__name__} is not an operation of a bulk write")
        options: dict[str, Any] = {"collation": request._collation, "hint": request._hint}
        criteria = self._filter(own, request._filter)
        if isinstance(request, DeleteOne | DeleteMany):
            return type(request)(criteria, **options)
        upsert = bool(request._upsert)
        if isinstance(request, ReplaceOne):
            return ReplaceOne(criteria, self._replacement(own, request._doc), upsert=upsert, **options)
        change = self._update(own, request._doc, upsert)
        return type(request)(criteria, change, upsert=upsert, array_filters=request._array_filters, **options)


class TenantCollection(GuardedCollection):
    """Documents that belong to one clinic each."""

    kind = Kind.TENANT


class SharedCollection(GuardedCollection):
    """Documents that several clinics may share. Who shares them is changed by these methods and shown by none."""

    kind = Kind.SHARED

    def _update(self, own: TenantId, update: Any, upsert: bool) -> Any:
        change = super()._update(own, update, upsert)
        if not upsert:
            return change
        if not isinstance(change, Mapping):
            raise TenantGuardRefused("a shared document is not made by an update pipeline")
        return {**change, "$setOnInsert": {**change.get("$setOnInsert", {}), SHARED_FIELD: [own]}}

    def _replacement(self, own: TenantId, document: Any) -> Document:
        raise TenantGuardRefused("replacing a shared document would lose its other clinics; update its fields")

    async def grant(self, id: ObjectId, tenant_id: TenantId, *, session: AsyncClientSession | None = None) -> None:
        """Shares a document of this clinic with `tenant_id` as well. Raises `NotFound` when it is not here."""
        await self._change_owners(id, {"$addToSet": {SHARED_FIELD: tenant_id}}, session)

    async def archive(self, id: ObjectId, *, session: AsyncClientSession | None = None) -> None:
        """Archives the document for this clinic alone. Raises `NotFound` when it is not here."""
        await self._change_owners(id, {"$addToSet": {ARCHIVED_FIELD: current_scope().tenant_id}}, session)

    async def restore(self, id: ObjectId, *, session: AsyncClientSession | None = None) -> None:
        """Takes the document out of this clinic's archive. Raises `NotFound` when it is not here."""
        await self._change_owners(id, {"$pull": {ARCHIVED_FIELD: current_scope().tenant_id}}, session)

    async def leave(self, id: ObjectId, *, session: AsyncClientSession | None = None) -> bool:
        """Takes this clinic off the document, which goes for good when it was the last one.

        Each try is one atomic step; a clinic that joins in between makes the other step apply.
        Returns True when the document was deleted. Raises `NotFound` when it is not here.
        """
        own, stored = self._enter(session)
        mine = {"_id": id, **tenant_clause(self.kind, own)}
        others = {"$and": [mine, {SHARED_FIELD: {"$elemMatch": {"$ne": own}}}]}
        alone = {"$and": [mine, {SHARED_FIELD: [own]}]}
        for _ in range(LEAVE_TRIES):
            if (await stored.update_one(others, _without(own), session=session)).matched_count:
                return False
            if (await stored.delete_one(alone, session=session)).deleted_count:
                return True
            if await stored.find_one(mine, {"_id": 1}, session=session) is None:
                raise NotFound
        raise Conflict

    async def _change_owners(self, id: ObjectId, change: Document, session: AsyncClientSession | None) -> None:
        own, stored = self._enter(session)
        mine = {"_id": id, **tenant_clause(self.kind, own)}
        if not (await stored.update_one(mine, change, session=session)).matched_count:
            raise NotFound


def _without(own: TenantId) -> Document:
    return {"$pull": {SHARED_FIELD: own, ARCHIVED_FIELD: own}}


class PlatformCollection(GuardedCollection):
    """Documents above the clinics: no tenant is joined, and no clinic's collection can be."""

    kind = Kind.PLATFORM

    def _enter(self, session: AsyncClientSession | None) -> tuple[None, Stored]:  # type: ignore[override]
        return None, self._at(None)

    def _filter(self, own: TenantId | None, criteria: Any) -> Document:
        check_filter(self.kind, None, criteria)
        return dict(criteria or {})

    def _new(self, own: TenantId | None, document: Any) -> Document:
        return dict(document)

    def _update(self, own: TenantId | None, update: Any, upsert: bool) -> Any:
        refuse_javascript(update)
        return update

    def _replacement(self, own: TenantId | None, document: Any) -> Document:
        return dict(document)
