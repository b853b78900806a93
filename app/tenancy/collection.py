"""The guard: the only way to a clinic's documents. Each operation finds its clinic in the scope, and stays inside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple, NoReturn

import bson
from bson import ObjectId
from pymongo import DeleteMany, DeleteOne, InsertOne, ReplaceOne, ReturnDocument, UpdateMany, UpdateOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.results import BulkWriteResult, DeleteResult, InsertManyResult, InsertOneResult, UpdateResult

from app.errors import Conflict, NotFound, TenantGuardRefused
from app.shared_commands import SharedCommands
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
from app.tenancy.cursor import Arrived, GuardedCursor
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
    failures_of,
    foreign_id_is_not_found,
)
from app.tenancy.pipelines import reshapes, scoped_pipeline
from app.tenancy.places import database_of, standings
from app.tenancy.rows import RowHandling
from app.tenancy.scope import Database, Place, TenantId, current_scope, open_scope
from app.wire import commands
from app.wire.commands import Found

Stored = AsyncCollection[Document]

COLLECTIONS_KEPT = 1_024
SHAPES_KEPT = 1_000
LEAVE_TRIES = 5
SHORT = 500
"""So many documents at most are sent at once without asking the driver to cut them into pieces."""


class _Shape(NamedTuple):
    """A projection as it is sent, by name and never changed; and whether what comes may have to be opened."""

    columns: Any
    opens: bool


class GuardedCollection:
    """An allow-list of operations on one stored collection. Holds no tenant: each call asks the current scope."""

    kind: ClassVar[Kind]

    def __init__(self, name: str, home: Callable[[], Database], handling: RowHandling | None = None) -> None:
        """`home` gives the platform's database, used when the scope names none; `handling` is what else is done to
        the rows."""
        self._name = name
        self._home = home
        self._opened: dict[int, Stored] = {}
        self._shapes: dict[Any, _Shape] = {}
        self._handling = handling

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
        return own, self._at(database_of(scope, self._home))

    async def _enter_writing(self, session: AsyncClientSession | None) -> tuple[TenantId, Stored]:
        """As `_enter`, for an operation that writes. Raises `BeingMoved` while the clinic cannot be written to."""
        entered = self._enter(session)
        await standings.check(current_scope(), self._name, self._home)
        return entered

    def _filter(self, own: TenantId, criteria: Any) -> Document:
        if self._handling is not None:
            self._handling.asking(criteria)
        return joined(self.kind, own, criteria)

    def _new(self, own: TenantId, document: Any) -> Document:
        return stamped(self.kind, own, document)

    def _update(self, own: TenantId, update: Any, upsert: bool) -> Any:
        check_update(self.kind, own, update)
        return update

    def _replacement(self, own: TenantId, document: Any) -> Document:
        return stamped(self.kind, own, document)

    # --- rows on their way in and out, where patients' data or sealed values are kept --------------------------------

    def _shape(self, projection: Any) -> _Shape:
        """What to send for a projection. Those that are written the same are checked once: there are as many as there
        are selections."""
        try:
            name = None if projection is None else tuple(projection.items())
            known = self._shapes.get(name)
        except (AttributeError, TypeError):  # a list of names, or expressions: seldom
            return self._shaped(projection)
        if known is None:
            if len(self._shapes) >= SHAPES_KEPT:
                self._shapes.clear()
            known = self._shapes[name] = self._shaped(projection)
        return known

    def _shaped(self, projection: Any) -> _Shape:
        columns = checked_projection(self.kind, projection)
        if self._handling is None:
            return _Shape(columns, False)
        columns = self._handling.columns(columns)
        return _Shape(columns, self._handling.opens(columns))

    def _arriving(self, own: TenantId, *, opens: bool = True) -> Arrived | None:
        handling = self._handling
        return None if handling is None else partial(handling.arrived, own, opens=opens)

    async def _arrived(self, own: TenantId, row: Document | None, shape: _Shape) -> Document | None:
        if self._handling is not None:
            await self._handling.arrived(own, [] if row is None else [row], shape.opens)
        return row

    async def _inserting(self, own: TenantId, documents: list[Document]) -> list[Document]:
        return documents if self._handling is None else await self._handling.inserting(own, documents)

    async def _changing(self, own: TenantId, criteria: Document, change: Any, stored: Stored, session: Any) -> Any:
        """The update or replacement to send, announced and sealed; None for a deletion."""
        if self._handling is None:
            return change
        await self._handling.announcing(stored, criteria, change, session)
        return None if change is None else await self._handling.updating(own, criteria, change)

    # --- reads ----------------------------------------------------------------------------------------------------

    def _at(self, place: Database) -> Stored:
        """Opened collections are kept by the identity of their database: two clients of one server are equal."""
        stored = self._opened.get(id(place))
        if stored is None or stored.database is not place:
            if len(self._opened) >= COLLECTIONS_KEPT:
                self._opened.clear()
            stored = self._opened[id(place)] = place[self._name]
        return stored

    def _read_options(self, options: Mapping[str, Any], allowed: frozenset[str]) -> None:
        allow(options, allowed)
        check_sort(self.kind, options.get("sort"))
        if self._handling is not None:
            self._handling.ordering(options.get("sort"))

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
        criteria, shape = self._filter(own, filter), self._shape(projection)
        found = Found(stored, criteria, shape.columns, session, options)
        return GuardedCursor(found, own, self._arriving(own, opens=shape.opens))

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
        criteria, shape = self._filter(own, filter), self._shape(projection)
        row = await commands.find_one(stored, criteria, shape.columns, session, options)
        return await self._arrived(own, row, shape)

    async def count_documents(
        self,
        filter: Mapping[str, Any] | None = None,
        *,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> int:
        allow(options, COUNT)
        own, stored = self._enter(session)
        self._looked()
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
        if self._handling is not None:
            self._handling.ordering(key)
        self._looked()
        return await stored.distinct(key, self._filter(own, filter), session=session, **options)

    async def aggregate(
        self, pipeline: Any, *, session: AsyncClientSession | None = None, **options: Any
    ) -> GuardedCursor:
        """Runs the pipeline, rewritten for the clinic (see `pipelines`)."""
        allow(options, AGGREGATE)
        own, stored = self._enter(session)
        stages = scoped_pipeline(self.kind, own, pipeline)
        if self._handling is not None:
            self._handling.reckoning(pipeline)
        cursor = await commands.aggregate(stored, stages, session, options)
        if not reshapes(pipeline):
            return GuardedCursor(cursor, own, self._arriving(own))
        self._looked()
        return GuardedCursor(cursor, own)

    def _looked(self) -> None:
        if self._handling is not None:
            self._handling.looked()

    async def received(self, rows: list[Document]) -> None:
        """Does for rows that an aggregation had wrapped up what is done for rows that are found."""
        own, _ = self._enter(None)
        if self._handling is not None:
            await self._handling.arrived(own, rows)

    # --- writes ---------------------------------------------------------------------------------------------------

    async def insert_one(
        self, document: Mapping[str, Any], *, session: AsyncClientSession | None = None, **options: Any
    ) -> InsertOneResult:
        allow(options, INSERT)
        own, stored = await self._enter_writing(session)
        [row] = await self._inserting(own, [self._new(own, document)])
        if session is not None or options:
            return await stored.insert_one(row, session=session, **options)
        await commands.insert(stored, [row], ordered=True)
        return InsertOneResult(row["_id"], acknowledged=True)

    async def insert_many(
        self,
        documents: Iterable[Mapping[str, Any]],
        *,
        ordered: bool = True,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> InsertManyResult:
        allow(options, INSERT)
        own, stored = await self._enter_writing(session)
        rows = await self._inserting(own, [self._new(own, document) for document in documents])
        if session is not None or options or not 0 < len(rows) <= SHORT:
            return await stored.insert_many(rows, ordered=ordered, session=session, **options)
        await commands.insert(stored, rows, ordered=ordered)
        return InsertManyResult([row["_id"] for row in rows], acknowledged=True)

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
        own, stored = await self._enter_writing(session)
        criteria = self._filter(own, filter)
        change = await self._changing(own, criteria, self._update(own, update, upsert), stored, session)
        with foreign_id_is_not_found(upsert):
            return await stored.update_one(criteria, change, upsert=upsert, session=session, **options)

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
        own, stored = await self._enter_writing(session)
        criteria = self._filter(own, filter)
        change = await self._changing(own, criteria, self._update(own, update, upsert), stored, session)
        with foreign_id_is_not_found(upsert):
            return await stored.update_many(criteria, change, upsert=upsert, session=session, **options)

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
        own, stored = await self._enter_writing(session)
        criteria = self._filter(own, filter)
        document = self._replacement(own, replacement)
        if self._handling is not None:
            await self._handling.announcing(stored, criteria, document, session)
            document = await self._handling.replacing(own, criteria, document)
        with foreign_id_is_not_found(upsert):
            return await stored.replace_one(criteria, document, upsert=upsert, session=session, **options)

    async def delete_one(
        self, filter: Mapping[str, Any], *, session: AsyncClientSession | None = None, **options: Any
    ) -> DeleteResult:
        allow(options, DELETE)
        own, stored = await self._enter_writing(session)
        criteria = self._filter(own, filter)
        await self._changing(own, criteria, None, stored, session)
        return await stored.delete_one(criteria, session=session, **options)

    async def delete_many(
        self, filter: Mapping[str, Any], *, session: AsyncClientSession | None = None, **options: Any
    ) -> DeleteResult:
        allow(options, DELETE)
        own, stored = await self._enter_writing(session)
        criteria = self._filter(own, filter)
        await self._changing(own, criteria, None, stored, session)
        return await stored.delete_many(criteria, session=session, **options)

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
        own, stored = await self._enter_writing(session)
        criteria = self._filter(own, filter)
        change = await self._changing(own, criteria, self._update(own, update, upsert), stored, session)
        shape = self._shape(projection)
        with foreign_id_is_not_found(upsert):
            row = await stored.find_one_and_update(
                criteria,
                change,
                projection=shape.columns,
                upsert=upsert,
                return_document=return_document,
                session=session,
                **options,
            )
        return await self._arrived(own, row, shape)

    async def find_one_and_delete(
        self,
        filter: Mapping[str, Any],
        projection: Any = None,
        *,
        session: AsyncClientSession | None = None,
        **options: Any,
    ) -> Document | None:
        self._read_options(options, FIND_AND - {"array_filters"})
        own, stored = await self._enter_writing(session)
        criteria = self._filter(own, filter)
        await self._changing(own, criteria, None, stored, session)
        shape = self._shape(projection)
        row = await stored.find_one_and_delete(criteria, projection=shape.columns, session=session, **options)
        return await self._arrived(own, row, shape)

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
        own, stored = await self._enter_writing(session)
        rewritten = [self._operation(own, request) for request in requests]
        if self._handling is not None:
            rewritten = [await self._handled(own, one, stored, session) for one in rewritten]
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

    async def _handled(self, own: TenantId, request: Any, stored: Stored, session: AsyncClientSession | None) -> Any:
        """The same operation, announced and sealed."""
        if isinstance(request, InsertOne):
            [document] = await self._inserting(own, [dict(request._doc)])
            return InsertOne(document)
        assert self._handling is not None  # noqa: S101 - asked for by the caller
        await self._handling.announcing(stored, request._filter, getattr(request, "_doc", None), session)
        if isinstance(request, ReplaceOne):
            request._doc = await self._handling.replacing(own, request._filter, dict(request._doc))
        elif isinstance(request, UpdateOne | UpdateMany):
            request._doc = await self._handling.updating(own, request._filter, request._doc)
        return request


@dataclass(frozen=True, slots=True, eq=False)
class Insert:
    """One document on its way, announced and sealed. No two are the same."""

    row: Document


async def stored_together(stored: Stored, inserts: Sequence[Insert]) -> Mapping[Insert, PyMongoError]:
    """Stores documents by one command, each by itself. Answers with what failed, and why."""
    try:
        await commands.insert(stored, [one.row for one in inserts], ordered=False)
    except BulkWriteError as error:
        return {inserts[at]: failure for at, failure in failures_of(error).items()}
    return {}


class TenantCollection(GuardedCollection):
    """Documents that belong to one clinic each."""

    kind = Kind.TENANT

    def __init__(self, name: str, home: Callable[[], Database], handling: RowHandling | None = None) -> None:
        super().__init__(name, home, handling)
        self._inserts: SharedCommands[Insert, PyMongoError] = SharedCommands(self._insert_together)

    async def insert_shared(self, document: Mapping[str, Any]) -> None:
        """As `insert_one`, by a command that inserts of the clinic share which come while another is on its way.

        Each is announced and sealed for its own request first, succeeds or fails by itself, and raises what
        `insert_one` would. For small documents that many store at once; never inside a transaction.
        """
        own, _ = await self._enter_writing(None)
        [row] = await self._inserting(own, [self._new(own, document)])
        bson.encode(row)  # what cannot be sent is nobody else's failure
        place = Place.here()
        failure = await self._inserts.get(Insert(row), place=place, at=place.name)
        if failure is not None:
            raise failure

    async def _insert_together(self, place: Place, inserts: Sequence[Insert]) -> Mapping[Insert, PyMongoError]:
        """What failed, and why."""
        with open_scope(place.scope("inserts")) as scope:
            return await stored_together(self._at(database_of(scope, self._home)), inserts)


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

    async def strip(self, id: ObjectId, columns: Iterable[str], *, session: AsyncClientSession | None = None) -> bool:
        """Takes columns off a document that this clinic shares with nobody; False when others have it too."""
        own, stored = await self._enter_writing(session)
        alone = {"$and": [{"_id": id, **tenant_clause(self.kind, own)}, {SHARED_FIELD: [own]}]}
        change = self._update(own, {"$unset": dict.fromkeys(columns, "")}, False)
        change = await self._changing(own, alone, change, stored, session)
        return bool((await stored.update_one(alone, change, session=session)).matched_count)

    async def is_shared(self, id: ObjectId, *, session: AsyncClientSession | None = None) -> bool:
        """Whether other clinics have a document of this clinic too. Which ones is told to nobody."""
        own, stored = self._enter(session)
        mine = {"_id": id, **tenant_clause(self.kind, own)}
        others = {"$and": [mine, {SHARED_FIELD: {"$elemMatch": {"$ne": own}}}]}
        return await stored.find_one(others, {"_id": 1}, session=session) is not None

    async def restore(self, id: ObjectId, *, session: AsyncClientSession | None = None) -> None:
        """Takes the document out of this clinic's archive. Raises `NotFound` when it is not here."""
        await self._change_owners(id, {"$pull": {ARCHIVED_FIELD: current_scope().tenant_id}}, session)

    async def leave(self, id: ObjectId, *, session: AsyncClientSession | None = None) -> bool:
        """Takes this clinic off the document, which goes for good when it was the last one.

        Each try is one atomic step; a clinic that joins in between makes the other step apply.
        Returns True when the document was deleted. Raises `NotFound` when it is not here.
        """
        own, stored = await self._enter_writing(session)
        mine = {"_id": id, **tenant_clause(self.kind, own)}
        others = {"$and": [mine, {SHARED_FIELD: {"$elemMatch": {"$ne": own}}}]}
        alone = {"$and": [mine, {SHARED_FIELD: [own]}]}
        await self._changing(own, mine, None, stored, session)
        for _ in range(LEAVE_TRIES):
            if (await stored.update_one(others, _without(own), session=session)).matched_count:
                return False
            if (await stored.delete_one(alone, session=session)).deleted_count:
                return True
            if await stored.find_one(mine, {"_id": 1}, session=session) is None:
                raise NotFound
        raise Conflict

    async def leave_all(self, ids: Sequence[ObjectId]) -> int:
        """As `leave`, for many documents by two commands; how many of `ids` this clinic left.

        One on which another clinic came or went in between may stay as it is: whoever wants all gone asks again.
        """
        own, stored = await self._enter_writing(None)
        mine = {"_id": {"$in": list(ids)}, **tenant_clause(self.kind, own)}
        await self._changing(own, mine, None, stored, None)
        gone = await stored.delete_many({"$and": [mine, {SHARED_FIELD: [own]}]})
        others = {"$and": [mine, {SHARED_FIELD: {"$elemMatch": {"$ne": own}}}]}
        left = await stored.update_many(others, _without(own))
        return gone.deleted_count + left.modified_count

    async def _change_owners(self, id: ObjectId, change: Document, session: AsyncClientSession | None) -> None:
        own, stored = await self._enter_writing(session)
        mine = {"_id": id, **tenant_clause(self.kind, own)}
        await self._changing(own, mine, None, stored, session)
        if not (await stored.update_one(mine, change, session=session)).matched_count:
            raise NotFound


def _without(own: TenantId) -> Document:
    return {"$pull": {SHARED_FIELD: own, ARCHIVED_FIELD: own}}


class PlatformCollection(GuardedCollection):
    """Documents above the clinics: no tenant is joined, and no clinic's collection can be."""

    kind = Kind.PLATFORM

    def _enter(self, session: AsyncClientSession | None) -> tuple[None, Stored]:  # type: ignore[override]
        return None, self._at(self._home())

    async def _enter_writing(self, session: AsyncClientSession | None) -> tuple[None, Stored]:  # type: ignore[override]
        return self._enter(session)

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
