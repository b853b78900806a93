"""What the clinic keeps: items that are found by name, watched for their reorder level, archived when none is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_turn
from app.errors import Conflict, InvalidState, ValidationFailed
from app.services import catalog
from app.services.changes import Row, change_row
from app.services.pharmacy.stock import judged, turn
from app.services.references import check_references
from models import InventoryItem, Medicine
from models.inventory import ItemKind
from models.values import now


def listed(
    *, search: str | None, kind: ItemKind | None, low: bool | None, archived: bool, **equal: ObjectId | None
) -> dict[str, Any]:
    """The filter of a list: names that begin like `search`, of a kind, below the reorder level or not, and columns
    (`medicine_id`, `room_id`) that equal an id."""
    return catalog.listed(search=search, archived=archived, kind=kind, low=low, **equal)


async def create(values: Mapping[str, Any]) -> Row:
    """Stores an item of which there is nothing yet; answers with its row.

    `values`: `unit`, and `medicine_id` or `kind`, and maybe `name` (else the medicine's), `room_id, place,
    reorder_level, over_the_counter`. Raises NOT_FOUND or VALIDATION_FAILED at `input.…`, CONFLICT at `input.name`.
    """
    await check_references(InventoryItem, values, at="input")
    named = await _of_medicine(values) if values.get("medicine_id") is not None else dict(values)
    if named.get("kind") is None:
        raise ValidationFailed.at("input.kind", "say what it is, unless it is a medicine of the catalogue")
    if named["kind"] is ItemKind.MEDICINE and named.get("medicine_id") is None:
        raise ValidationFailed.at("input.medicineId", "name the medicine")
    if named.get("name") is None:
        raise ValidationFailed.at("input.name", "is needed unless it is a medicine of the catalogue")
    return await catalog.create(InventoryItem, {**named, "low": named.get("reorder_level", 0) > 0})


async def _of_medicine(values: Mapping[str, Any]) -> dict[str, Any]:
    if values.get("kind") not in (None, ItemKind.MEDICINE):
        raise ValidationFailed.at("input.kind", "is MEDICINE for a medicine of the catalogue")
    [row] = await Medicine.rows({"_id": values["medicine_id"]}, limit=1)
    if row.get("archived_at") is not None:
        raise ValidationFailed.at("input.medicineId", "is archived")
    usual = " ".join(part for part in (row["name"], row.get("strength")) if part)[:120]
    return {"name": usual, **values, "kind": ItemKind.MEDICINE}


async def change(id: ObjectId, version: int, changes: Mapping[str, Any]) -> Row:
    """Changes that version of an item: `name, unit, room_id, place, reorder_level, over_the_counter`; its new row.

    What it is of, and how much there is, stay. Raises as `create` does, NOT_FOUND at `input.id`, CONFLICT.
    """

    async def work(session: AsyncClientSession) -> Row:
        await catalog.change(InventoryItem, id, version, changes, session=session)
        return await judged(id, session)

    return await in_turn(turn(id), work)


async def archive(id: ObjectId, version: int) -> Row:
    """Keeps it no longer. Raises INVALID_STATE while there is some, or when it is archived already."""
    try:
        state = {"archived_at": None, "stock": 0}
        return await change_row(InventoryItem, id, version, {"archived_at": now()}, state=state)
    except Conflict:
        rows = await InventoryItem.rows({"_id": id, "version": version}, projection=["stock", "archived_at"], limit=1)
        if not rows:
            raise
        if rows[0].get("archived_at") is not None:
            raise InvalidState("It is archived already.") from None
        raise InvalidState(f"There are {rows[0]['stock']} in stock: hand them out or write them off first.") from None
