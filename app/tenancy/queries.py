"""Beanie's queries, tied to the clinic under which they were built."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NoReturn

from beanie.exceptions import DocumentNotFound
from beanie.odm.bulk import BulkWriter
from beanie.odm.queries.aggregation import AggregationQuery
from beanie.odm.queries.delete import DeleteMany, DeleteOne
from beanie.odm.queries.find import FindMany, FindOne
from beanie.odm.queries.update import UpdateMany, UpdateOne
from bson import ObjectId
from pymongo.results import BulkWriteResult, UpdateResult

from app.errors import NotFound, TenantGuardRefused
from app.tenancy.cursor import tenant_in_scope
from app.tenancy.kinds import Kind, kind_of


class Bound:
    """Remembers the clinic of its making and refuses to run under another, or under none."""

    document_model: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._built_under: ObjectId | None = tenant_in_scope()
        super().__init__(*args, **kwargs)

    def _same_clinic(self) -> None:
        if self._built_under == tenant_in_scope():
            return
        if kind_of(self.document_model.Settings.name) is not Kind.PLATFORM:
            raise TenantGuardRefused("the query was built under another clinic than it runs under")

    def upsert(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        """Beanie updates, then inserts: two racers insert twice. Use an update with `upsert=True`."""
        raise TenantGuardRefused("upsert() is not atomic; use update(..., upsert=True)")


class BoundUpdateOne(Bound, UpdateOne):
    async def _update(self) -> Any:
        self._same_clinic()
        must_exist = self.pymongo_kwargs.pop("must_exist", False)
        result = await super()._update()  # type: ignore[no-untyped-call]
        if must_exist and result is None and self.bulk_writer is None:
            raise NotFound
        return result


class BoundUpdateMany(Bound, UpdateMany):
    async def _update(self) -> Any:
        self._same_clinic()
        return await super()._update()  # type: ignore[no-untyped-call]


class BoundDeleteOne(Bound, DeleteOne):
    def __await__(self) -> Generator[Any, None, Any]:
        self._same_clinic()
        return super().__await__()


class BoundDeleteMany(Bound, DeleteMany):
    def __await__(self) -> Generator[Any, None, Any]:
        self._same_clinic()
        return super().__await__()


class BoundAggregation(Bound, AggregationQuery[Any]):
    async def get_cursor(self) -> Any:
        self._same_clinic()
        return await super().get_cursor()


class BoundFindMany(Bound, FindMany[Any]):
    UpdateQueryType = BoundUpdateMany
    DeleteQueryType = BoundDeleteMany
    AggregationQueryType = BoundAggregation

    def get_filter_query(self) -> dict[str, Any]:
        """Every way to run the query, or to build another one from it, asks for the filter."""
        self._same_clinic()
        return super().get_filter_query()


class BoundFindOne(Bound, FindOne[Any]):
    UpdateQueryType = BoundUpdateOne
    DeleteQueryType = BoundDeleteOne

    def get_filter_query(self) -> dict[str, Any]:
        self._same_clinic()
        return super().get_filter_query()

    async def _find_one(self) -> Any:
        self._same_clinic()
        return await super()._find_one()  # type: ignore[no-untyped-call]

    async def count(self) -> int:
        self._same_clinic()
        return await super().count()

    async def replace_one(
        self, document: Any, session: Any = None, bulk_writer: BulkWriter | None = None
    ) -> UpdateResult | None:
        """Raises `NotFound` when this clinic has no such document."""
        try:
            return await super().replace_one(document, session=session, bulk_writer=bulk_writer)
        except DocumentNotFound:
            raise NotFound from None


class BoundBulkWriter(BulkWriter):
    """Queues operations for one clinic: the one under which it was made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._built_under = tenant_in_scope()
        super().__init__(*args, **kwargs)

    def _same_clinic(self) -> None:
        name = self._collection_name
        if self._built_under != tenant_in_scope() and kind_of(name) is not Kind.PLATFORM:
            raise TenantGuardRefused("the bulk write was queued under another clinic")

    def add_operation(self, object_class: Any, operation: Any) -> None:
        super().add_operation(object_class, operation)
        self._same_clinic()

    async def commit(self) -> BulkWriteResult | None:
        """Sends what was queued. Raises `TenantGuardRefused` under another clinic."""
        self._same_clinic()
        if not self.operations or self.object_class is None:
            return None
        if self.bypass_document_validation:
            raise TenantGuardRefused("the validators of the database are not bypassed")
        collection: Any = self.object_class.get_pymongo_collection()
        result: BulkWriteResult = await collection.bulk_write(
            self.operations, ordered=self.ordered, session=self.session, comment=self.comment
        )
        return result
