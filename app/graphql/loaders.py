"""Batches the reads of related rows: one query per relation and level, however many rows there are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from strawberry.dataloader import DataLoader

from app.graphql.access import require
from app.graphql.fields import Related, model_of, spec_of
from app.graphql.selection import columns, projection
from app.tenancy.remembered import remembered
from app.tenancy.scope import current_scope

if TYPE_CHECKING:
    from app.graphql.context import Info

Batch = Callable[[list[Any]], Coroutine[Any, Any, Sequence[Any]]]


class Loaders:
    """The loaders of one request. Nothing outlives the request, so nothing can cross clinics."""

    def __init__(self) -> None:
        self._loaders: dict[Hashable, DataLoader[Any, Any]] = {}
        self._columns: dict[Hashable, frozenset[str]] = {}

    async def load(self, name: Hashable, batch: Batch, key: Any) -> Any:
        """What `batch` finds for a key, in one call with all keys that wait under this name."""
        # Several fields may wait for one key; one that is given up must not end the others' waiting.
        return await asyncio.shield(self._loader(name, batch).load(key))

    async def load_all(self, name: Hashable, batch: Batch, keys: list[Any]) -> list[Any]:
        """What `batch` finds for each of these keys, without those for which there is nothing."""
        found = await asyncio.shield(self._loader(name, batch).load_many(keys))
        return [one for one in found if one is not None]

    def _loader(self, name: Hashable, batch: Batch) -> DataLoader[Any, Any]:
        """Each root field has loaders of its own: what is read counts to the field that asked for it, and what one
        mutation changed the next one reads anew."""
        trail = current_scope().trail
        own = (trail.act if trail is not None else None, name)
        loader = self._loaders.get(own)
        if loader is None:
            loader = self._loaders[own] = DataLoader(load_fn=batch)
        return loader

    async def related(self, info: Info, source: Related, key: Any) -> Any:
        """The row(s) that `source` points to from `key`. Raises FORBIDDEN when the actor may not read them."""
        target = source.target()
        needed = self._needed(info, target) | {source.foreign}
        permission = spec_of(target).read
        if permission is not None:
            require(permission)
        name, batch = (target, source.foreign, needed), _by(target, source.foreign, needed)
        return await (self.load_all if isinstance(key, list) else self.load)(name, batch, key)

    def _needed(self, info: Info, target: type) -> frozenset[str]:
        """Sibling rows share their field nodes, so their columns are worked out once."""
        name = (target, *(id(node) for node in info._raw_info.field_nodes))
        needed = self._columns.get(name)
        if needed is None:
            needed = self._columns[name] = columns(info, target)
        return needed


def _by(target: type, foreign: str, needed: frozenset[str]) -> Batch:
    async def batch(keys: list[ObjectId]) -> Sequence[Any]:
        found = {row[foreign]: row for row in await rows_by(target, foreign, needed, keys)}
        return [found.get(key) for key in keys]

    return batch


def is_remembered(target: type, foreign: str) -> bool:
    """Whether rows of a type, looked up by this column, may come from what this process remembers."""
    return foreign == "_id" and bool(model_of(target).remembered)


async def rows_by(target: type, foreign: str, needed: frozenset[str], keys: list[Any]) -> list[dict[str, Any]]:
    """The rows of a type whose `foreign` column is one of the keys, with the columns `needed` (or more, where this
    process remembers whole rows)."""
    model = model_of(target)

    async def read(missing: list[Any], shape: dict[str, int] | None = None) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await model.rows({foreign: {"$in": missing}}, projection=shape)
        return rows

    if is_remembered(target, foreign):
        return await remembered.rows(current_scope(), model.guarded_name(), keys, read)
    return await read(keys, projection(needed))
