"""Pages of related rows: `patient { appointments(first: 10) { … } }`, one query for all sibling rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import strawberry
from bson import ObjectId

from app.graphql.access import require
from app.graphql.context import Info
from app.graphql.cursors import keyset
from app.graphql.fields import Related, Row, model_of, spec_of
from app.graphql.paging import Page, Sort, connection_of, cursors_for
from app.graphql.selection import columns, projection

First = Annotated[int, strawberry.argument(description="How many rows, 1 to 100.")]
After = Annotated[str | None, strawberry.argument(description="The cursor to go on behind.")]


def related_page(target: Callable[[], type], *, foreign: str, sort: Sort, description: str) -> Any:
    """A field with a page of the rows whose `foreign` column is this row's id; annotate it as their Connection."""

    async def resolve(root: Any, info: Info, first: First = 20, after: After = None) -> Any:
        row = target()
        permission = spec_of(row).read
        if permission is not None:
            require(permission)
        page = Page({}, sort, first, after)
        needed = columns(info, row, "edges", "node") | {column for column, _ in sort} | {foreign}
        name = (row, foreign, needed, first, after, tuple(sort))
        loader = info.context.loaders.get(name, _batch(row, foreign, needed, page, _after(info, row, page)))
        rows = await loader.load(root["_id"])
        return connection_of(rows, page, cursors_for(info, row, sort))

    del resolve.__annotations__["return"]  # the class that declares the field says it
    source = Related("_id", foreign, target, many=True)
    return strawberry.field(resolver=resolve, description=description, metadata={"source": source})


def _after(info: Info, row: type, page: Page) -> Mapping[str, Any]:
    return {} if page.after is None else keyset(page.sort, cursors_for(info, row, page.sort).read(page.after))


def _batch(row: type, foreign: str, needed: frozenset[str], page: Page, beyond: Mapping[str, Any]) -> Any:
    model, limit = model_of(row), page.first + 1

    async def batch(keys: list[ObjectId]) -> Sequence[Sequence[Row]]:
        if len(keys) == 1:
            criteria = {"$and": [{foreign: keys[0]}, dict(beyond)]}
            return [await model.rows(criteria, projection=projection(needed), sort=list(page.sort), limit=limit)]
        cursor = await model.guarded().aggregate(
            [
                {"$match": {"$and": [{foreign: {"$in": keys}}, dict(beyond)]}},
                {"$sort": dict(page.sort)},
                {"$project": projection(needed)},
                {"$group": {"_id": f"${foreign}", "rows": {"$firstN": {"input": "$$ROOT", "n": limit}}}},
            ]
        )
        found = {group["_id"]: group["rows"] for group in await cursor.to_list()}
        return [found.get(key, []) for key in keys]

    return batch
