"""Documents of any model with states, put into any of them, and each step that leads from one to another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Any

from bson import ObjectId

from app.errors import AppError
from app.services.states import advance
from models import ALL_DOCUMENTS
from models.states import Staged
from tests.contracts._samples import Marker, Sampler

_DOCUMENTS: tuple[Any, ...] = ALL_DOCUMENTS
STAGED: tuple[Any, ...] = tuple(model for model in _DOCUMENTS if issubclass(model, Staged))
_numbers = count(40_000_000)


@dataclass(frozen=True, slots=True)
class Way:
    """A step of one model, whether its states allow it or not."""

    model: Any
    start: StrEnum
    end: StrEnum

    @property
    def legal(self) -> bool:
        return self.end in self.model.transitions[self.start]

    def __str__(self) -> str:
        return f"{self.model.__name__}-{self.start.name}-{self.end.name}"


def states_of(model: Any) -> type[StrEnum]:
    """The enum that the model declares its `status` with."""
    found = model.model_fields["status"].annotation
    assert isinstance(found, type), f"{model.__name__}.status names no enum of states"
    assert issubclass(found, StrEnum)
    return found


def ways(*models: Any) -> Iterator[Way]:
    """Every pair of states of each model."""
    for model in models:
        for start in states_of(model):
            yield from (Way(model, start, end) for end in states_of(model))


async def made(model: Any, status: StrEnum) -> dict[str, Any]:
    """The row of a new document of the clinic in scope that stands in that state."""
    sampler = Sampler(Marker.fresh("state"), next(_numbers), lambda _mark: ObjectId())
    document = await model(**sampler.values(model, skip=("id", "tenant_id", "revision_id"))).insert()
    await model.guarded().update_one({"_id": document.id}, {"$set": {"status": status.value}})
    return await row(model, document.id)


async def row(model: Any, id: ObjectId) -> dict[str, Any]:
    [found] = await model.rows({"_id": id})
    return dict(found)


async def tried(way: Way, id: ObjectId, version: int | None) -> dict[str, Any] | AppError:
    """The new row, or why the step was refused."""
    try:
        return await advance(way.model, id, version, way.end)
    except AppError as refused:
        return refused
