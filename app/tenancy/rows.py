"""What the guard does with rows that are about patients or hold sealed values, on their way in and out.

Collections with neither pass by at no cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from app.errors import TenantGuardRefused
from app.tenancy import sealing
from app.tenancy.criteria import Document, sort_names
from app.tenancy.scope import TenantId, current_scope

MOST_NAMED = 1_000
"""So many patients of one write are looked up; a write to more is told without their names."""


_ID = {ObjectId}
_NAMING = ("$set", "$setOnInsert", "$push", "$addToSet")
"""Operators by which a change can say whose a row is."""


@dataclass(frozen=True, slots=True)
class RowHandling:
    """For one collection: `patients` is the column that holds the patient's id, None where no row has one."""

    collection: str
    patients: str | None
    sealed: bool

    # --- out ------------------------------------------------------------------------------------------------------

    def columns(self, shape: Any) -> Any:
        """The projection with the columns that must be read to know whose a row is and to open what is sealed."""
        if not shape:
            return shape
        fields = dict(shape) if isinstance(shape, Mapping) else dict.fromkeys(shape, 1)
        wanted = {self.patients} if self.patients else set()
        if self.sealed and sealing.reads_sealed(self.collection, fields):
            wanted.add("_id")
        if not any(fields.values()):  # leaves columns out
            return {name: value for name, value in fields.items() if name not in wanted} or None
        for name in wanted:
            if name == "_id":
                fields.pop("_id", None)
            elif not fields.get(name):
                fields[name] = 1
        return fields or None

    def asking(self, criteria: Any) -> None:
        """Raises `TenantGuardRefused` for a filter on what is sealed."""
        if self.sealed:
            sealing.refuse_sealed_filter(self.collection, criteria)

    def ordering(self, by: Any) -> None:
        """Raises `TenantGuardRefused` for an order by, or the distinct values of, what is sealed."""
        if self.sealed:
            sealing.refuse_sealed_names(self.collection, sort_names(by))

    def reckoning(self, pipeline: Any) -> None:
        """Raises `TenantGuardRefused` for stages that would have to know what is sealed."""
        if self.sealed:
            sealing.refuse_sealed_pipeline(self.collection, pipeline)

    def opens(self, shape: Any) -> bool:
        """Whether rows of that projection may hold anything sealed, or a blind column."""
        if not self.sealed or not shape:
            return self.sealed
        return sealing.reads_sealed(self.collection, shape) or not sealing.blinds_of(self.collection).isdisjoint(shape)

    async def arrived(self, own: TenantId, rows: Sequence[Document], opens: bool = True) -> None:
        """Notes whose data the rows are, and opens what is sealed in them, unless they were read without it."""
        if self.patients is not None:
            self.note(rows)
        if opens and self.sealed and rows:
            await sealing.open_rows(own, self.collection, rows)

    def note(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Notes whose data the rows are."""
        scope = current_scope()
        if scope.trail is not None and self.patients is not None:
            scope.trail.note(scope, self.collection, self._named(rows))

    def looked(self) -> None:
        """Notes a look that shows no rows, such as an aggregation."""
        self.note(())

    def _named(self, rows: Iterable[Mapping[str, Any]]) -> list[ObjectId]:
        column = self.patients
        values: list[Any] = [row.get(column) for row in rows] if column is not None else []
        if {*map(type, values)} <= _ID:
            return values
        found: list[ObjectId] = []
        for value in values:
            if isinstance(value, ObjectId):
                found.append(value)
            elif isinstance(value, list):
                found += [one for one in value if isinstance(one, ObjectId)]
        return found

    # --- in -------------------------------------------------------------------------------------------------------

    async def inserting(self, own: TenantId, documents: Sequence[Document]) -> list[Document]:
        """The documents to store, announced and sealed."""
        scope = current_scope()
        if self.patients is not None and scope.trail is not None:
            if self.patients == "_id":
                documents = [{"_id": ObjectId(), **document} for document in documents]
            await scope.trail.announce(scope, self.collection, self._named(documents))
        if self.sealed:
            return [await sealing.seal_document(own, self.collection, document) for document in documents]
        return list(documents)

    async def updating(self, own: TenantId, criteria: Any, update: Any) -> Any:
        """The update to send, sealed."""
        if not self.sealed:
            return update
        return await sealing.seal_update(own, self.collection, criteria, update)

    async def replacing(self, own: TenantId, criteria: Any, document: Document) -> Document:
        """The whole document to put in place of the one of the filter, sealed for its id."""
        if not self.sealed:
            return document
        pinned = _pinned(criteria, "_id")
        if pinned is None or len(pinned) != 1:
            raise TenantGuardRefused("a document with sealed values is replaced by its id")
        return await sealing.seal_document(own, self.collection, {**document, "_id": pinned[0]})

    async def announcing(self, stored: Any, criteria: Document, change: Any, session: Any) -> None:
        """Announces a change of the rows that match, by the patients whom they are about and those whom the change
        makes them be about: an upsert may find none, and a row may pass to another patient."""
        scope = current_scope()
        if self.patients is None or scope.trail is None:
            return
        named = _pinned(criteria, self.patients)
        if named is None:
            rows = stored.find(criteria, {self.patients: 1}, limit=MOST_NAMED, session=session)
            named = self._named(await rows.to_list())
        if isinstance(change, Mapping):
            named += self._named([change, *(change[one] for one in _NAMING if one in change)])
        await scope.trail.announce(scope, self.collection, named)


def _pinned(criteria: Any, column: str) -> list[ObjectId] | None:
    """The ids to which a filter holds the column, at its top or within `$and`; None when it does not say."""
    if not isinstance(criteria, Mapping):
        return None
    value = criteria.get(column)
    if isinstance(value, ObjectId):
        return [value]
    if isinstance(value, Mapping) and set(value) == {"$in"}:
        return [one for one in value["$in"] if isinstance(one, ObjectId)]
    for part in criteria.get("$and", ()):
        found = _pinned(part, column)
        if found is not None:
            return found
    return None
