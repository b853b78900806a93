"""Pages of rows that match in one of several ways, such as by the beginning of either name.

One command with `$or` leaves the server to guess between walking a whole list in its order and sorting all that match,
and to try both for thousands of documents. Here each way is read by a command of its own along an index that is named:
in the list's order where that is the same index, else few that match are sorted, and many are met soon when the list
is walked in its order. [42](../../docs/decisions/0042-searches-name-their-indexes.md)
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from app.graphql.fields import Row
from app.services.search import BY_ID, Way

FEW = 1_000
"""So many that match in one way are sorted."""


async def rows_by_ways(
    model: Any,
    where: Mapping[str, Any],
    ways: Sequence[Way],
    *,
    along: str,
    projection: Mapping[str, Any],
    sort: Sequence[tuple[str, int]],
    limit: int,
) -> list[Row]:
    """The first rows that match `where` and any of the ways, in the order `sort`, which the index `along` has.

    Only rows that are given out count as seen: until then ids and the sort's columns alone are looked at.
    """
    found = await asyncio.gather(*(_first(model, where, way, along, sort, limit) for way in ways))
    places = {row["_id"]: [row.get(column) for column, _ in sort] for rows in found for row in rows}
    ids = sorted(places, key=places.__getitem__, reverse=sort[0][1] < 0)[:limit]
    if not ids:
        return []
    rows = await model.rows({"$and": [dict(where), {"_id": {"$in": ids}}]}, projection=projection, hint=BY_ID)
    return sorted(rows, key=lambda row: ids.index(row["_id"]))


async def count_by_ways(model: Any, where: Mapping[str, Any], ways: Sequence[Way], most: int) -> int:
    """How many rows match `where` and any of the ways; any number from `most` on stands for many."""
    counts = await asyncio.gather(
        *(
            model.guarded().count_documents(_only(where, way, ways[:place]), limit=most, hint=way.index)
            for place, way in enumerate(ways)
        )
    )
    return sum(counts)


def _only(where: Mapping[str, Any], way: Way, before: Sequence[Way]) -> dict[str, Any]:
    """The filter of what matches in this way and in none before it."""
    none = [{"$nor": [dict(one.where) for one in before]}] if before else []
    return {"$and": [dict(where), dict(way.where), *none]}


async def _first(
    model: Any, where: Mapping[str, Any], way: Way, along: str, sort: Sequence[tuple[str, int]], limit: int
) -> list[Row]:
    """`_id` and sort columns of the first rows that match in one way."""
    index = way.index
    if index not in (along, BY_ID):
        matching = await model.guarded().count_documents(dict(way.where), limit=FEW + 1, hint=index)
        if not matching:
            return []
        index = along if matching > FEW else index
    shown = {"_id": "$_id"} | {column: f"${column}" for column, _ in sort}
    cursor = await model.guarded().aggregate(
        [
            {"$match": {"$and": [dict(where), dict(way.where)]}},
            {"$sort": dict(sort)},
            {"$limit": limit},
            {"$group": {"_id": None, "rows": {"$push": shown}}},
        ],
        hint=index,
    )
    return [row for group in await cursor.to_list() for row in group["rows"]]
