"""What a merge would do now."""

from __future__ import annotations

from dataclasses import dataclass

from bson import ObjectId

from app.services.merging.choices import MergeField, combined, differing
from app.services.merging.files import Pair, read_pair
from app.services.merging.moving import about, movable
from app.services.merging.obstacles import Found, obstacles


@dataclass(frozen=True, slots=True)
class Preview:
    """Both files; where they differ; what of the survivor's would change if nobody chooses; how
    many documents of each kind would move; what is in the way."""

    pair: Pair
    conflicts: list[MergeField]
    changes: list[MergeField]
    moves: dict[str, int]
    obstacles: list[Found]


async def preview(survivor_id: ObjectId, duplicate_id: ObjectId) -> Preview:
    """Looks and counts; changes nothing. Raises as `read_pair`."""
    pair = await read_pair(survivor_id, duplicate_id)
    moves: dict[str, int] = {}
    for model in movable():
        if there := await model.guarded().count_documents(about(model, duplicate_id)):
            moves[model.guarded_name()] = there
    usual = combined(pair, {}, checks=False)
    changes = [one for one in MergeField if one.value in {*usual.patient, *usual.record}]
    return Preview(pair, differing(pair), changes, moves, await obstacles(pair))
