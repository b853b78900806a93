"""Which queue is meant: a doctor's, a room's, a service's, a desk's, or the clinic's general one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.errors import ValidationFailed
from app.services.changes import Row, checked
from app.services.scheduling.parties import check_parties, read_parties
from models import QueueEntry
from models.values import search_key

GENERAL = "general"
_IDS = ("doctor_id", "room_id", "service_id")
NAMES = (*_IDS, "desk")


def queue_key(values: Mapping[str, Any], *, at: str) -> str:
    """The key of the queue that `values` name. Raises VALIDATION_FAILED at `at` when they name more than one."""
    named = {name: values[name] for name in NAMES if values.get(name) is not None}
    if len(named) > 1:
        raise ValidationFailed.at(at, "must name one queue: a doctor, a room, a service or a desk; or none of them")
    for name, value in named.items():
        kind = name.removesuffix("_id")
        return f"{kind}:{search_key(value) if name == 'desk' else value}"
    return GENERAL


async def chosen_queue(values: Mapping[str, Any] | None, *, at: str = "input.queue") -> Row:
    """What an entry of the queue that `values` name says of it: `queue_key`, and what is named.

    Raises NOT_FOUND or VALIDATION_FAILED below `at`.
    """
    values = values or {}
    named = {name: values[name] for name in NAMES if values.get(name) is not None}
    check_parties(await read_parties({name: named[name] for name in _IDS if name in named}), at=f"{at}.")
    if "desk" in named:
        named |= checked(QueueEntry, {"desk": named["desk"]}, at=at)
    return {"queue_key": queue_key(named, at=at), **named}
