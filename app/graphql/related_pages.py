"""Pages of related rows: `patient { appointments(first: 10) { … } }`, one query for all sibling rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import strawberry
from bson import ObjectId

from app.graphql.access import require
from app.graphql.context import Info
from app.graphql.cursors import keyset
from app.graphql.fields import RelatedPage, Row, model_of, spec_of
from app.graphql.paging import Page, Sort, connection_of, cursors_for, cursors_wanted
from app.graphql.selection import columns, projection

First = Annotated[int, strawberry.argument(description="How many rows, 1 to 100.")]
After = Annotated[str | None, strawberry.argument(description="The cursor to go on behind.")]


def related_page(target: Callable[[], type], *, foreign: str, sort: Sort, description: str) -> Any:
    """A field with a page of the rows whose `foreign` column is this row's id; annotate it as their Connection."""
    source = RelatedPage(foreign, target, sort)

    async def resolve(root: Any, info: Info, first: First = 20, after: After = None) -> Any:
        row = target()
        permission = spec_of(row).read
        if permission is not None:
            require(permission)
        pages = Pages(info, source, first, after, columns(info, row, "edges", "node"))

        async def batch(keys: list[ObjectId]) -> Sequence[Any]:
            found = await pages.by(keys)
            return [found[key] for key in keys]

        return await info.context.loaders.load(pages.name, batch, root["_id"])

    del resolve.__annotations__["return"]  # the class that declares the field says it
    return strawberry.field(resolver=resolve, description=description, metadata={"source": source})


class Pages:
    """The same page of the related rows of several rows."""

    def __init__(self, info: Info, source: RelatedPage, first: int, after: str | None, node: frozenset[str]) -> None:
        """`node` are the columns of a row that are shown. Raises VALIDATION_FAILED for a page that cannot be."""
        self._row = source.target()
        self._foreign = source.foreign
        self._page = Page({}, source.sort, first, after)
        self._cursors = cursors_for(info, self._row, source.sort)
        self._wanted = cursors_wanted(info)
        self._beyond = {} if after is None else keyset(source.sort, self._cursors.read(after))
        self._needed = node | {column for column, _ in source.sort} | {source.foreign}
        self.name = (self._row, self._foreign, self._needed, first, after, tuple(source.sort), self._wanted)

    async def by(self, keys: list[ObjectId]) -> dict[ObjectId, Any]:
        """Each row's page, by the row's id."""
        found = await self._rows(keys)
        return {key: connection_of(found.get(key, ()), self._page, self._cursors, self._wanted) for key in keys}

    async def _rows(self, keys: list[ObjectId]) -> Mapping[ObjectId, Sequence[Row]]:
        model, limit = model_of(self._row), self._page.first + 1
        shape, sort = projection(self._needed), list(self._page.sort)
        if len(keys) == 1:
            criteria = {"$and": [{self._foreign: keys[0]}, dict(self._beyond)]}
            return {keys[0]: await model.rows(criteria, projection=shape, sort=sort, limit=limit)}
        cursor = await model.guarded().aggregate(
            [
                {"$match": {"$and": [{self._foreign: {"$in": keys}}, dict(self._beyond)]}},
                {"$sort": dict(sort)},
                {"$project": shape},
                {"$group": {"_id": f"${self._foreign}", "rows": {"$firstN": {"input": "$$ROOT", "n": limit}}}},
            ]
        )
        found = {group["_id"]: group["rows"] for group in await cursor.to_list()}
        await model.guarded().received([row for rows in found.values() for row in rows])
        return found
