"""Rows of several collections by one command, where each would cost a round trip of its own.

    found = await read_together(Part(Session, {"_id": id}), Part(User, {"_id": user_id}, {"name": 1}))
    found[User]     # the rows of that part

The guard holds each part to the clinic in scope, as it does with every union; clinics' collections and the platform's
are not mixed. What comes is neither opened nor noted in the trail: for rows about patients call `received` of their
collection, and ask for no sealed columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from models.base import GuardedDocument

Row = dict[str, Any]

_OF = "_of"
"""By which column, put on each row on its way out, one knows where it comes from."""


class Part(NamedTuple):
    """What to read of one collection: the rows that match, with these columns (a value may be an expression)."""

    model: type[GuardedDocument]
    where: Mapping[str, Any]
    columns: Mapping[str, Any]

    def stages(self) -> list[Row]:
        mark = {"$literal": self.model.guarded_name()}
        return [{"$match": dict(self.where)}, {"$project": {**self.columns, _OF: mark}}]


async def read_together(first: Part, *others: Part) -> Mapping[type[GuardedDocument], list[Row]]:
    """The rows of each part under its model, which must not come twice."""
    also = [{"$unionWith": {"coll": part.model.guarded_name(), "pipeline": part.stages()}} for part in others]
    cursor = await first.model.get_pymongo_collection().aggregate([*first.stages(), *also])
    found: dict[str, list[Row]] = {part.model.guarded_name(): [] for part in (first, *others)}
    for row in await cursor.to_list():
        found[row.pop(_OF)].append(row)
    return {part.model: found[part.model.guarded_name()] for part in (first, *others)}
