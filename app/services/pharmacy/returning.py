"""What comes back: to the stock when it may be handed out again, else to the waste. Both are movements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import ObjectId
from pydantic import BaseModel
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_turn
from app.errors import InvalidState, NotFound, ValidationFailed
from app.services.audit import record
from app.services.changes import Row, build, row_of
from app.services.idempotency import mark_of, once
from app.services.pharmacy.dispensing import counted
from app.services.pharmacy.stock import Change, is_expired, move, new_act, stored_lot, turn
from models import Dispensing, Prescription, StockMovement
from models.appointment import RequestMark
from models.inventory import MovementKind, Units
from models.values import Line


class Returned(BaseModel):
    """How much comes back (all when left out) and why."""

    quantity: Units | None = None
    reason: Line


async def give_back(values: Mapping[str, Any], *, key: str | None = None) -> Row:
    """Takes back of what was handed out; answers with the dispensing's new row.

    `values`: `dispensing_id, to_stock, reason`, and maybe `quantity` (else all that is out), `lot_id` (else what was
    handed out last comes back first). What is not fit for the stock is returned and wasted in one. A prescription lets
    it be handed out again. Raises NOT_FOUND or VALIDATION_FAILED at `input.…`, INVALID_STATE when all came back, or for
    an expired lot `to_stock`; IDEMPOTENCY_CONFLICT.
    """
    mark = mark_of("returnDispensed", key, values)
    asked: Returned = build(Returned, {name: values.get(name) for name in ("quantity", "reason")})

    async def work() -> Row:
        dispensing = await _dispensing(values["dispensing_id"], None)
        if values.get("lot_id") is not None:
            await stored_lot(values["lot_id"], at="input.lotId")
        return await in_turn(turn(dispensing["item_id"]), lambda session: _given_back(values, asked, mark, session))

    return await once(Dispensing, mark, work)


async def _dispensing(dispensing_id: ObjectId, session: AsyncClientSession | None) -> Row:
    rows: list[Row] = await Dispensing.rows({"_id": dispensing_id}, limit=1, session=session)
    if not rows:
        raise NotFound.at("input.dispensingId")
    return rows[0]


async def _given_back(
    values: Mapping[str, Any], asked: Returned, mark: RequestMark | None, session: AsyncClientSession
) -> Row:
    row = await _dispensing(values["dispensing_id"], session)
    parts = _parts(row, asked.quantity, values.get("lot_id"))
    units = sum(parts.values())
    changes = [
        change for place, quantity in parts.items() for change in await _changes(row, place, quantity, values, session)
    ]
    await move(row["item_id"], changes, session, act=new_act())
    returned: dict[str, Any] = {"returned": row["returned"] + units}
    returned |= {f"lots.{at}.returned": row["lots"][at]["returned"] + quantity for at, quantity in parts.items()}
    if mark is not None:
        returned["requests"] = [*row["requests"], mark.model_dump()]
    after = await Dispensing.change(row["_id"], row["version"], returned, session=session)
    await _count_off(row, units, session)
    about = [row["patient_id"]] if row.get("patient_id") is not None else []
    await record("stock.return", subject=after, patients=about, session=session)
    return row_of(after)


def _parts(row: Row, quantity: int | None, lot_id: ObjectId | None) -> dict[int, int]:
    """How much comes back of which of the lots, by their places: the last that was handed out first."""
    places = [at for at, one in enumerate(row["lots"]) if lot_id is None or one["lot_id"] == lot_id]
    if not places:
        raise ValidationFailed.at("input.lotId", "nothing of this lot was handed out")
    out = sum(row["lots"][at]["quantity"] - row["lots"][at]["returned"] for at in places)
    if out == 0:
        raise InvalidState("All of it came back.")
    wanted = out if quantity is None else quantity
    if wanted > out:
        raise ValidationFailed.at("input.quantity", f"is more than what is out, {out}")
    parts: dict[int, int] = {}
    for at in reversed(places):
        part = min(wanted, row["lots"][at]["quantity"] - row["lots"][at]["returned"])
        if part:
            parts[at], wanted = part, wanted - part
    return parts


async def _changes(
    row: Row, place: int, quantity: int, values: Mapping[str, Any], session: AsyncClientSession
) -> list[Change]:
    lot = await stored_lot(row["lots"][place]["lot_id"], at="input.lotId", session=session)
    if values["to_stock"] and is_expired(lot):
        raise InvalidState(f"Lot {lot.get('lot') or ''} expired on {lot['expires_on']}: it goes to the waste.")
    taken = {"dispensing_id": row["_id"], "lot_id": lot["_id"], "kind": MovementKind.DISPENSED.value}
    went = await StockMovement.rows(taken, projection=["_id"], limit=1, session=session)
    told = {name: row.get(name) for name in ("patient_id", "prescription_id", "prescription_item")}
    tells = {
        **told,
        "dispensing_id": row["_id"],
        "reverses_id": went[0]["_id"] if went else None,
        "reason": values["reason"],
    }
    back = Change(lot, quantity, MovementKind.RETURNED, tells)
    if values["to_stock"]:
        return [back]
    return [back, Change(lot, -quantity, MovementKind.WASTED, {**tells, "reverses_id": None})]


async def _count_off(row: Row, units: int, session: AsyncClientSession) -> None:
    """What came back may be handed out again, as long as there is a prescription for it."""
    if row.get("prescription_id") is None or row.get("prescription_item") is None:
        return
    found = await Prescription.rows(
        {"_id": row["prescription_id"]}, projection=["version", "items.number"], limit=1, session=session
    )
    if found:
        await counted(found[0], row["prescription_item"], -units, session)
