"""What is delivered: lots with their days of expiry, several of several items at once, all or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from beanie import PydanticObjectId
from bson import ObjectId
from pydantic import BaseModel, Field
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_turn
from app.errors import FieldError, NotFound, ValidationFailed
from app.services.audit import record
from app.services.billing.coverage import today
from app.services.changes import Row, build, row_of, storable
from app.services.idempotency import mark_of, once
from app.services.pharmacy.stock import Change, move, new_act, turn
from app.services.settings import require_own_currency
from app.tenancy.scope import current_scope
from models import InventoryItem, StockLot, StockMovement
from models.appointment import RequestMark
from models.inventory import NEVER, ItemKind, Lot, MovementKind, Units
from models.service import Price
from models.values import Day, Line, search_key

MOST_LINES = 100


class ReceivedLine(BaseModel):
    """Units of one lot of one item, and what one of them cost."""

    item_id: PydanticObjectId
    quantity: Units
    lot: Lot | None = None
    expires_on: Day | None = None
    unit_cost: Price | None = None


class Delivery(BaseModel):
    """What came together, and what finds it elsewhere."""

    lines: list[ReceivedLine] = Field(min_length=1, max_length=MOST_LINES)
    reference: Line | None = None


async def receive(values: Mapping[str, Any], *, key: str | None = None) -> Row:
    """Puts what was delivered into stock; answers with the row of the first movement, whose `act` has them all.

    `values`: `lines` (`item_id, quantity`, and maybe `lot, expires_on, unit_cost`), and maybe `reference`. Raises
    NOT_FOUND or VALIDATION_FAILED at `input.lines.…`, IDEMPOTENCY_CONFLICT for a used `key` with another input.
    """
    mark = mark_of("receiveStock", key, values)
    delivery: Delivery = build(Delivery, values)

    async def work() -> Row:
        await _check(delivery.lines)
        return await in_turn(
            turn(min(line.item_id for line in delivery.lines)), lambda session: _received(delivery, mark, session)
        )

    return await once(StockMovement, mark, work)


async def _check(lines: Sequence[ReceivedLine]) -> None:
    wanted = {"_id": {"$in": [line.item_id for line in lines]}}
    items = {row["_id"]: row for row in await InventoryItem.rows(wanted, projection=["kind", "archived_at"])}
    if missing := [at for at, line in enumerate(lines) if line.item_id not in items]:
        raise NotFound(fields=[FieldError(f"input.lines.{at}.itemId", "Not found.") for at in missing])
    wrong = [
        FieldError(f"input.lines.{at}.{name}", problem)
        for at, line in enumerate(lines)
        for name, problem in _problems(line, items[line.item_id])
    ]
    if wrong:
        raise ValidationFailed(fields=wrong)
    for at, line in enumerate(lines):
        if line.unit_cost is not None:
            await require_own_currency(line.unit_cost.currency, at=f"input.lines.{at}.unitCost.currency")


def _problems(line: ReceivedLine, item: Row) -> list[tuple[str, str]]:
    found = [("itemId", "is archived")] if item.get("archived_at") is not None else []
    if line.expires_on is None and item["kind"] == ItemKind.MEDICINE.value:
        found.append(("expiresOn", "is needed for a medicine"))
    if line.expires_on is not None and line.expires_on < today():
        found.append(("expiresOn", "is over already"))
    return found


async def _received(delivery: Delivery, mark: RequestMark | None, session: AsyncClientSession) -> Row:
    act, moved = new_act(), list[StockMovement]()
    placed = sorted(enumerate(delivery.lines), key=lambda one: one[1].item_id)
    for item_id, lines in groupby(placed, key=lambda one: one[1].item_id):
        changes = [await _change(at, line, delivery.reference, session) for at, line in lines]
        moved += await move(item_id, changes, session, act=act, mark=None if moved else mark)
    await record("stock.receive", subject=moved[0], session=session)
    return row_of(moved[0])


async def _change(at: int, line: ReceivedLine, reference: str | None, session: AsyncClientSession) -> Change:
    lot = await lot_of(line, f"input.lines.{at}", session)
    cost = storable(line.unit_cost) if line.unit_cost is not None else None
    return Change(lot, line.quantity, MovementKind.RECEIVED, {"unit_cost": cost, "reference": reference})


def lot_key(lot: str | None, expires_on: str | None) -> str:
    """What tells an item's lots apart: the maker's number or, where there is none, the day of expiry."""
    return search_key(lot) if lot else f"~{expires_on or ''}"


async def lot_of(line: ReceivedLine, path: str, session: AsyncClientSession) -> Row:
    """The line's lot, which is made when it comes for the first time. Raises VALIDATION_FAILED at `….expiresOn` for
    another day of expiry than the lot has."""
    known = {"item_id": line.item_id, "lot_key": lot_key(line.lot, line.expires_on)}
    fresh = build(
        StockLot,
        {
            **known,
            "id": ObjectId(),
            "lot": line.lot,
            "expires_on": line.expires_on,
            "order_day": line.expires_on or NEVER,
        },
    )
    rows: list[Row] = await StockLot.rows(known, limit=1, session=session)
    if not rows:
        await fresh.insert(session=session)
        return {**known, "_id": fresh.id, "tenant_id": current_scope().tenant_id}
    if rows[0].get("expires_on") != line.expires_on:
        until = rows[0].get("expires_on") or "no day"
        raise ValidationFailed.at(f"{path}.expiresOn", f"is {until} for this lot, of which some came before")
    return rows[0]
