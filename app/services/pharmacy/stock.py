"""The one place where balances change: each lot by one conditional update, together with its movement.

Stock is the sum of movements. What is stored beside them (a lot's `balance`, an item's `stock` and `low`) is written in
the same transaction, and the database refuses whatever would go below zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from app.errors import InvalidState, NotFound, OutOfStock, ValidationFailed
from app.services.billing.coverage import today
from app.services.care.people import actor_id
from app.services.changes import Row, build
from app.services.pharmacy.alerts import tell_low
from models import InventoryItem, StockLot, StockMovement
from models.appointment import RequestMark
from models.inventory import IN_STOCK, MovementKind
from models.values import now


@dataclass(frozen=True, slots=True)
class Change:
    """So many units of a lot that come, or go (below zero), and what else the movement tells: fields of its own, such
    as `reason`, `reference` or `unit_cost`."""

    lot: Row
    quantity: int
    kind: MovementKind
    tells: Mapping[str, Any] = field(default_factory=dict)


def turn(item_id: ObjectId) -> tuple[str, ObjectId]:
    """The turn (`in_turn`) that those take who change one item's stock."""
    return "stock", item_id


async def stored_item(item_id: ObjectId, *, at: str, session: AsyncClientSession | None = None) -> Row:
    """An item's row. Raises NOT_FOUND at `at`."""
    rows: list[Row] = await InventoryItem.rows({"_id": item_id}, limit=1, session=session)
    if not rows:
        raise NotFound.at(at)
    return rows[0]


async def stored_lot(lot_id: ObjectId, *, at: str, session: AsyncClientSession | None = None) -> Row:
    """A lot's row. Raises NOT_FOUND at `at`."""
    rows: list[Row] = await StockLot.rows({"_id": lot_id}, limit=1, session=session)
    if not rows:
        raise NotFound.at(at)
    return rows[0]


def is_expired(lot: Mapping[str, Any], day: str | None = None) -> bool:
    """Whether the lot's last day is over; that day itself still counts."""
    expires = lot.get("expires_on")
    return expires is not None and expires < (day or today())


def days_left(lot: Mapping[str, Any]) -> int | None:
    """How many days the lot has until its last one: below zero when that is over, None when it has none."""
    expires = lot.get("expires_on")
    return None if expires is None else (date.fromisoformat(expires) - date.fromisoformat(today())).days


def first_expiring(lots: Iterable[Row], quantity: int) -> list[tuple[Row, int]]:
    """So many units out of lots that are in the order in which they are used up: as much as each has, until it is
    enough. The sum is less than `quantity` where the lots have less."""
    taken: list[tuple[Row, int]] = []
    for lot in lots:
        units = min(lot["balance"], quantity)
        if units > 0:
            taken.append((lot, units))
            quantity -= units
    return taken


async def chosen(
    item: Row, quantity: int, lot_id: ObjectId | None, session: AsyncClientSession
) -> list[tuple[Row, int]]:
    """Which lots so many units are taken from: the named one, else what expires first; never an expired one.

    Raises VALIDATION_FAILED or INVALID_STATE for a named lot of another item or that is expired, OUT_OF_STOCK at
    `input.quantity` when there is less.
    """
    if lot_id is not None:
        lots = [await _named_lot(item, lot_id, session)]
    else:
        usable = {"item_id": item["_id"], **IN_STOCK, "order_day": {"$gte": today()}}
        lots = await StockLot.rows(usable, sort=[("order_day", 1), ("_id", 1)], session=session)
    found = first_expiring(lots, quantity)
    available = sum(lot["balance"] for lot in lots)
    if available < quantity:
        raise OutOfStock(available, f"There are {available} of {item['name']} in stock.", "input.quantity")
    return found


async def _named_lot(item: Row, lot_id: ObjectId, session: AsyncClientSession) -> Row:
    lot = await stored_lot(lot_id, at="input.lotId", session=session)
    if lot["item_id"] != item["_id"]:
        raise ValidationFailed.at("input.lotId", "is a lot of another item")
    if is_expired(lot):
        raise InvalidState(f"This lot expired on {lot['expires_on']}: it can only be written off.")
    return lot


def new_act() -> str:
    """What the movements of one act have in common."""
    return str(ObjectId())


async def move(
    item_id: ObjectId,
    changes: Sequence[Change],
    session: AsyncClientSession,
    *,
    act: str,
    mark: RequestMark | None = None,
) -> list[StockMovement]:
    """Carries out the changes of one item's lots, all or none; answers with the movements.

    The mark goes with the first of them. Raises OUT_OF_STOCK where a lot has less than is to go, and INVALID_STATE when
    something is to come to an archived item.
    """
    moved: list[StockMovement] = []
    for place, one in enumerate(changes):
        lot = await _balance(one, session)
        moved.append(_movement(item_id, lot, one, act, mark if place == 0 else None))
    first, *rest = moved
    await first.insert(session=session)  # by itself: its mark tells a repeat
    if rest:
        await StockMovement.insert_many(rest, session=session)
    await _sum_up(item_id, sum(one.quantity for one in changes), session)
    return moved


async def _balance(change: Change, session: AsyncClientSession) -> Row:
    """Changes a lot's balance, if that leaves it at zero or above; the lot's new row."""
    enough = {"balance": {"$gte": -change.quantity}} if change.quantity < 0 else {}
    values: Row = {"updated_at": now()}
    if change.quantity > 0 and change.tells.get("unit_cost") is not None:
        values["unit_cost"] = change.tells["unit_cost"]
    lot: Row | None = await StockLot.guarded().find_one_and_update(
        {"_id": change.lot["_id"], **enough},
        {"$inc": {"balance": change.quantity}, "$set": values},
        return_document=ReturnDocument.AFTER,
        session=session,
    )
    if lot is None:
        left = await stored_lot(change.lot["_id"], at="input.lotId", session=session)
        raise OutOfStock(left["balance"], f"There are {left['balance']} left of this lot.", "input.quantity")
    return lot


def _movement(item_id: ObjectId, lot: Row, change: Change, act: str, mark: RequestMark | None) -> StockMovement:
    made: StockMovement = build(
        StockMovement,
        {
            "id": ObjectId(),
            "item_id": item_id,
            "lot_id": lot["_id"],
            "lot": lot.get("lot"),
            "expires_on": lot.get("expires_on"),
            "kind": change.kind,
            "quantity": change.quantity,
            "balance": lot["balance"],
            "unit_cost": lot.get("unit_cost"),
            "act": act,
            "by": actor_id(),
            "requests": [mark] if mark else [],
            **change.tells,
        },
    )
    return made


async def _sum_up(item_id: ObjectId, units: int, session: AsyncClientSession) -> None:
    """Adds to the item's stock what its lots got; whoever keeps the stock is told when that made it low."""
    in_use = {"archived_at": None} if units > 0 else {}
    before: Row | None = await InventoryItem.guarded().find_one_and_update(
        {"_id": item_id, **in_use}, [{"$set": {"stock": {"$add": ["$stock", units]}}}, _JUDGE], session=session
    )
    if before is None:
        raise InvalidState("The item is archived: restore it first.")
    if before["stock"] >= before["reorder_level"] > before["stock"] + units:
        await tell_low(item_id, session)


_JUDGE: Mapping[str, Any] = {"$set": {"low": {"$lt": ["$stock", "$reorder_level"]}}}


async def judged(item_id: ObjectId, session: AsyncClientSession) -> Row:
    """Says anew whether an item is low, after its reorder level was changed in the same transaction; its row."""
    row: Row | None = await InventoryItem.guarded().find_one_and_update(
        {"_id": item_id}, [_JUDGE], return_document=ReturnDocument.AFTER, session=session
    )
    if row is None:
        raise NotFound.at("input.id")
    return row
