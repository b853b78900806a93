"""Batches the reads of related rows: one query per relation and level, however many rows there are."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from strawberry.dataloader import DataLoader

from app.graphql.access import require
from app.graphql.fields import Related, model_of, spec_of
from app.graphql.selection import columns, projection

if TYPE_CHECKING:
    from app.graphql.context import Info

Batch = Callable[[list[Any]], Coroutine[Any, Any, Sequence[Any]]]


class Loaders:
    """The loaders of one request. Nothing outlives the request, so nothing can cross clinics."""

    def __init__(self) -> None:
        self._loaders: dict[Hashable, DataLoader[Any, Any]] = {}
        self._columns: dict[Hashable, frozenset[str]] = {}

    def get(self, name: Hashable, batch: Batch) -> DataLoader[Any, Any]:
        """The request's loader of that name, made with `batch` when it is first asked for."""
        loader = self._loaders.get(name)
        if loader is None:
            loader = self._loaders[name] = DataLoader(load_fn=batch)
        return loader

    async def related(self, info: Info, source: Related, key: Any) -> Any:
        """The row(s) that `source` points to from `key`. Raises FORBIDDEN when the actor may not read them."""
        target = source.target()
        needed = self._needed(info, target) | {source.foreign}
        permission = spec_of(target).read
        if permission is not None:
            require(permission)
        loader = self.get((target, source.foreign, needed), _by(target, source.foreign, needed))
        if isinstance(key, list):
            return [row for row in await loader.load_many(key) if row is not None]
        return await loader.load(key)

    def _needed(self, info: Info, target: type) -> frozenset[str]:
        """Sibling rows share their field nodes, so their columns are worked out once."""
        name = (target, *(id(node) for node in info._raw_info.field_nodes))
        needed = self._columns.get(name)
        if needed is None:
            needed = self._columns[name] = columns(info, target)
        return needed


def _by(target: type, foreign: str, needed: frozenset[str]) -> Batch:
    async def batch(keys: list[ObjectId]) -> Sequence[Any]:
        rows = await model_of(target).rows({foreign: {"$in": keys}}, projection=projection(needed))
        found = {row[foreign]: row for row in rows}
        return [found.get(key) for key in keys]

    return batch
