"""Stock-taking, breakage and expiry: differences that are movements with a reason, never a balance that is set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bson import ObjectId
from pydantic import BaseModel, Field
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_turn
from app.errors import Conflict, FieldError, InvalidState, NotFound, ValidationFailed
from app.services.audit import record
from app.services.changes import Row, build, row_of
from app.services.idempotency import mark_of, once
from app.services.pharmacy.stock import Change, is_expired, move, new_act, stored_lot, turn
from models import StockLot, StockMovement
from models.appointment import RequestMark
from models.inventory import MOST_UNITS, MovementKind, Units
from models.values import Line

MOST_LOTS = 50
_EXPIRED = "Expired."


class Counted(BaseModel):
    """How much was counted and why that is told; `expected` is what the balance was meanwhile thought to be."""

    counted: int = Field(ge=0, le=MOST_UNITS)
    expected: int | None = None
    reason: Line


class Wasted(BaseModel):
    """How much is of no use any more, and why."""

    quantity: Units
    reason: Line


async def adjust(values: Mapping[str, Any], *, key: str | None = None) -> Row:
    """Notes what was counted of a lot: the difference becomes a movement, whose row is the answer.

    `values`: `lot_id, counted, reason`, and maybe `expected`. What was counted as it should be is noted too, and moves
    nothing. Raises NOT_FOUND or VALIDATION_FAILED at `input.…`, CONFLICT at `input.expected` when the balance is
    another, INVALID_STATE when more is there of an archived item, IDEMPOTENCY_CONFLICT.
    """
    mark = mark_of("adjustStock", key, values)
    asked: Counted = build(Counted, {name: value for name, value in values.items() if name != "lot_id"})

    async def work() -> Row:
        lot = await stored_lot(values["lot_id"], at="input.lotId")
        return await in_turn(turn(lot["item_id"]), lambda session: _adjusted(lot["_id"], asked, mark, session))

    return await once(StockMovement, mark, work)


async def _adjusted(lot_id: ObjectId, asked: Counted, mark: RequestMark | None, session: AsyncClientSession) -> Row:
    lot = await stored_lot(lot_id, at="input.lotId", session=session)
    if asked.expected is not None and asked.expected != lot["balance"]:
        raise Conflict(fields=[FieldError("input.expected", f"is not the present balance, {lot['balance']}")])
    change = Change(lot, asked.counted - lot["balance"], MovementKind.ADJUSTED, {"reason": asked.reason})
    return await _moved("stock.adjust", lot["item_id"], change, mark, session)


async def waste(values: Mapping[str, Any], *, key: str | None = None) -> Row:
    """Takes broken or spoilt units of a lot out of the stock; answers with the movement's row.

    `values`: `lot_id, quantity, reason`. Raises NOT_FOUND or VALIDATION_FAILED at `input.…`, OUT_OF_STOCK for more than
    there is, IDEMPOTENCY_CONFLICT.
    """
    mark = mark_of("wasteStock", key, values)
    asked: Wasted = build(Wasted, {name: values.get(name) for name in ("quantity", "reason")})

    async def work() -> Row:
        lot = await stored_lot(values["lot_id"], at="input.lotId")
        change = Change(lot, -asked.quantity, MovementKind.WASTED, {"reason": asked.reason})
        return await in_turn(
            turn(lot["item_id"]), lambda session: _moved("stock.waste", lot["item_id"], change, mark, session)
        )

    return await once(StockMovement, mark, work)


async def _moved(
    action: str, item_id: ObjectId, change: Change, mark: RequestMark | None, session: AsyncClientSession
) -> Row:
    [moved] = await move(item_id, [change], session, act=new_act(), mark=mark)
    await record(action, subject=moved, session=session)
    return row_of(moved)


async def write_off_expired(values: Mapping[str, Any], *, key: str | None = None) -> Row:
    """Takes all that is left of expired lots out of the stock, of all or none; answers with the row of the first
    movement, whose `act` has them all.

    `values`: `lot_ids`, and maybe `reason`. Raises NOT_FOUND at `input.lotIds.…`, INVALID_STATE for a lot that is not
    expired or of which nothing is left, VALIDATION_FAILED, IDEMPOTENCY_CONFLICT.
    """
    mark = mark_of("writeOffExpired", key, values)
    reason = build(Wasted, {"quantity": 1, "reason": values.get("reason") or _EXPIRED}).reason
    lot_ids: Sequence[ObjectId] = values["lot_ids"]
    if not 1 <= len(lot_ids) <= MOST_LOTS or len(set(lot_ids)) < len(lot_ids):
        raise ValidationFailed.at("input.lotIds", f"must be 1 to {MOST_LOTS} different lots")

    async def work() -> Row:
        lots = await _lots(lot_ids, None)
        first = min(lot["item_id"] for lot in lots)
        return await in_turn(turn(first), lambda session: _written_off(lot_ids, reason, mark, session))

    return await once(StockMovement, mark, work)


async def _lots(lot_ids: Sequence[ObjectId], session: AsyncClientSession | None) -> list[Row]:
    rows = {row["_id"]: row for row in await StockLot.rows({"_id": {"$in": list(lot_ids)}}, session=session)}
    missing = [FieldError(f"input.lotIds.{at}", "Not found.") for at, one in enumerate(lot_ids) if one not in rows]
    if missing:
        raise NotFound(fields=missing)
    return [rows[one] for one in lot_ids]


async def _written_off(
    lot_ids: Sequence[ObjectId], reason: str, mark: RequestMark | None, session: AsyncClientSession
) -> Row:
    lots = await _lots(lot_ids, session)
    fresh = [FieldError(f"input.lotIds.{at}", "is not expired") for at, lot in enumerate(lots) if not is_expired(lot)]
    empty = [FieldError(f"input.lotIds.{at}", "nothing is left") for at, lot in enumerate(lots) if not lot["balance"]]
    if fresh or empty:
        raise InvalidState("Only what is left of expired lots is written off.", [*fresh, *empty])
    act, moved = new_act(), list[StockMovement]()
    for item_id in sorted({lot["item_id"] for lot in lots}):
        changes = [
            Change(lot, -lot["balance"], MovementKind.EXPIRED, {"reason": reason})
            for lot in lots
            if lot["item_id"] == item_id
        ]
        moved += await move(item_id, changes, session, act=act, mark=None if moved else mark)
    await record("stock.write_off", subject=moved[0], session=session)
    return row_of(moved[0])
