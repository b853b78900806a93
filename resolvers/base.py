"""The base of every query and mutation class: the shared verbs, and the refusal of undeclared fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from strawberry.types.field import StrawberryField

from app.errors import NotFound
from app.graphql.access import Access
from app.graphql.context import Info
from app.graphql.fields import model_of
from app.graphql.inputs import object_id
from app.graphql.paging import DEFAULT_PAGE, Page, Sort, read_page
from app.graphql.selection import columns, projection
from app.services.changes import change_row, row_of
from app.services.references import check_references


class Resolver:
    """Queries and mutations inherit from this. Each verb works inside the clinic of the current scope.

    A subclass whose field declares neither a permission nor that it is public cannot be defined.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, value in vars(cls).items():
            if isinstance(value, StrawberryField) and not isinstance(value.metadata.get("access"), Access):
                raise TypeError(f"{cls.__name__}.{name} declares neither a permission nor that it is public")
        for name in vars(cls).get("__annotations__", {}):
            if not name.startswith("_"):
                raise TypeError(f"{cls.__name__}.{name} is a bare attribute; declare a field with its access")

    @staticmethod
    async def one(info: Info, row: type, id: str, *, path: str = "id") -> Any:
        """The row of that id, with the columns asked for. Raises NOT_FOUND at `path`."""
        key = object_id(id, path)
        rows = await model_of(row).rows({"_id": key}, projection=projection(columns(info, row)), limit=1)
        if not rows:
            raise NotFound.at(path)
        return rows[0]

    @staticmethod
    async def page(
        info: Info,
        row: type,
        *,
        where: Mapping[str, Any],
        sort: Sort,
        first: int = DEFAULT_PAGE,
        after: str | None = None,
    ) -> Any:
        """One page of the rows that match `where`, in the order `sort` (which ends with `_id`)."""
        return await read_page(info, row, Page(where, sort, first, after))

    @staticmethod
    async def create(document: Any) -> dict[str, Any]:
        """Stores a new document whose references stay inside the clinic; answers with its row."""
        await check_references(type(document), row_of(document), at="input")
        await document.insert()
        return row_of(document)

    @staticmethod
    async def change(row: type, id: ObjectId, version: int, values: Mapping[str, Any]) -> Any:
        """Applies checked `values` to the document of that version; answers with its new row.

        Raises NOT_FOUND at `input.id`, or CONFLICT when the document has another version by now.
        """
        model = model_of(row)
        await check_references(model, values, at="input")
        return await change_row(model, id, version, values)

    @staticmethod
    async def archive(row: type, id: ObjectId, version: int, archived_at: Any) -> Any:
        """Marks a document as archived (or, with None, as in use again); answers with its new row."""
        return await change_row(model_of(row), id, version, {"archived_at": archived_at})


def shown(row: Any) -> Any:
    """A row, or rows, standing for their GraphQL type: what the schema reads is a dict all along."""
    return row
