"""From one place to another: units of a lot go from one item to another one of the same thing, and stay that lot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from pydantic import BaseModel
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_turn
from app.errors import ValidationFailed
from app.services.audit import record
from app.services.changes import Row, build, row_of
from app.services.idempotency import mark_of, once
from app.services.pharmacy.receiving import ReceivedLine, lot_of
from app.services.pharmacy.stock import Change, move, new_act, stored_item, stored_lot, turn
from models import StockMovement
from models.appointment import RequestMark
from models.inventory import MovementKind, Units
from models.values import Line


class Transfer(BaseModel):
    """How much goes, and why."""

    quantity: Units
    reason: Line | None = None


async def transfer(values: Mapping[str, Any], *, key: str | None = None) -> Row:
    """Brings units of a lot to another item; answers with the row of the movement that took them, whose `act` has both.

    `values`: `lot_id, to_item_id, quantity`, and maybe `reason`. Raises NOT_FOUND or VALIDATION_FAILED at `input.…`,
    where both are not of the same medicine (of supplies: unit), OUT_OF_STOCK, INVALID_STATE when the other item is
    archived, IDEMPOTENCY_CONFLICT.
    """
    mark = mark_of("transferStock", key, values)
    asked: Transfer = build(Transfer, {name: values.get(name) for name in ("quantity", "reason")})

    async def work() -> Row:
        lot = await stored_lot(values["lot_id"], at="input.lotId")
        to = await stored_item(values["to_item_id"], at="input.toItemId")
        _require_alike(await stored_item(lot["item_id"], at="input.lotId"), to)
        return await in_turn(
            turn(min(lot["item_id"], to["_id"])),
            lambda session: _transferred(lot["_id"], to["_id"], asked, mark, session),
        )

    return await once(StockMovement, mark, work)


def _require_alike(item: Row, to: Row) -> None:
    if item["_id"] == to["_id"]:
        raise ValidationFailed.at("input.toItemId", "is the item of the lot")
    same = ("medicine_id", "unit", "kind")
    if any(item.get(name) != to.get(name) for name in same):
        raise ValidationFailed.at("input.toItemId", f"is not the same as {item['name']}")


async def _transferred(
    lot_id: ObjectId, to: ObjectId, asked: Transfer, mark: RequestMark | None, session: AsyncClientSession
) -> Row:
    lot = await stored_lot(lot_id, at="input.lotId", session=session)
    act, tells = new_act(), {"reason": asked.reason}
    went = Change(lot, -asked.quantity, MovementKind.TRANSFERRED, tells)
    [taken] = await move(lot["item_id"], [went], session, act=act, mark=mark)
    line = ReceivedLine(
        item_id=to,  # type: ignore[arg-type]
        quantity=asked.quantity,
        lot=lot.get("lot"),
        expires_on=lot.get("expires_on"),
        unit_cost=lot.get("unit_cost"),
    )
    there = await lot_of(line, "input", session)
    cost = {"unit_cost": lot["unit_cost"]} if lot.get("unit_cost") is not None else {}
    await move(to, [Change(there, asked.quantity, MovementKind.TRANSFERRED, {**tells, **cost})], session, act=act)
    await record("stock.transfer", subject=taken, session=session)
    return row_of(taken)
