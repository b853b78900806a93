"""The base of every query and mutation class: the shared verbs, and the refusal of undeclared fields."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from strawberry.types.field import StrawberryField

from app.errors import NotFound
from app.graphql.access import Access
from app.graphql.context import Info
from app.graphql.fields import model_of
from app.graphql.inputs import object_id
from app.graphql.paging import DEFAULT_PAGE, Page, Sort, read_page
from app.graphql.selection import columns, projection
from app.services import catalog
from app.services.merging import redirects
from app.services.search import Way
from app.tenancy.scope import current_scope


class Resolver:
    """Queries and mutations inherit from this. Each verb works inside the clinic of the current scope.

    A subclass whose field declares neither a permission nor that it is public cannot be defined. Fields of a class
    `…Mutation` need a plan that has not ended, unless they say otherwise.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, value in vars(cls).items():
            if isinstance(value, StrawberryField):
                access = value.metadata.get("access")
                if not isinstance(access, Access):
                    raise TypeError(f"{cls.__name__}.{name} declares neither a permission nor that it is public")
                access.changes = cls.__name__.endswith("Mutation")
            if inspect.isfunction(value):
                raise TypeError(f"{cls.__name__}.{name} would not be found: root fields run against Resolver itself")
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
        ways: Sequence[Way] = (),
        along: str = "",
    ) -> Any:
        """One page of the rows that match `where`, in the order `sort` (which ends with `_id`).

        With `ways`, of those that match in any of them too; `along` names the index that has the order. A list of a
        patient who was merged is the survivor's: a record must never look empty because its id is an old one.
        """
        found = await read_page(info, row, Page(where, sort, first, after, ways, along))
        if found["edges"] or found.get("total_count") or current_scope().actor is None:
            return found
        moved = await redirects.of_survivor(where)
        return await read_page(info, row, Page(moved, sort, first, after, ways, along)) if moved else found

    @staticmethod
    async def create(row: type, values: Mapping[str, Any]) -> Any:
        """Stores a new document from the values of an input; answers with its row."""
        return await catalog.create(model_of(row), values)

    @staticmethod
    async def change(row: type, changes: Mapping[str, Any]) -> Any:
        """Applies the values of an input to the document of the `id` and `version` among them; its new row.

        Raises NOT_FOUND at `input.id`, or CONFLICT at `input.version` when it has another version by now.
        """
        values = dict(changes)
        key, version = object_id(values.pop("id"), "input.id"), values.pop("version")
        return await catalog.change(model_of(row), key, version, values)

    @staticmethod
    async def archive(row: type, id: str, version: int) -> Any:
        """Takes the document of that version out of use; answers with its new row."""
        return await catalog.archive(model_of(row), object_id(id, "input.id"), version)

    @staticmethod
    async def restore(row: type, id: str, version: int) -> Any:
        """Takes the document of that version back into use; answers with its new row."""
        return await catalog.restore(model_of(row), object_id(id, "input.id"), version)


def shown(row: Any) -> Any:
    """A row, or rows, standing for their GraphQL type: what the schema reads is a dict all along."""
    return row
