"""Makes up a clinic's pharmacy: what was delivered and handed out in the last months, what runs low or expires."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from beanie import PydanticObjectId
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.services.changes import build
from app.services.pharmacy.receiving import lot_key
from app.tenancy.scope import current_scope
from models import Dispensing, InventoryItem, Medicine, Prescription, StockLot, StockMovement
from models.inventory import NEVER, ItemKind, MovementKind
from models.prescription import PrescriptionStatus
from models.values import now, search_key

Row = Mapping[str, Any]

MOST_DISPENSED = 40
_BEGAN = timedelta(days=150)
"""So long ago the first deliveries came."""
_HANDED_OUT = [PrescriptionStatus.ACTIVE.value, PrescriptionStatus.COMPLETED.value]


@dataclass(frozen=True, slots=True)
class Supply:
    """Something plain that every clinic keeps. `expires_in` is in days from today, below zero for what is over."""

    name: str
    unit: str
    delivered: int
    used: int
    reorder_level: int
    cost: str
    expires_in: int | None = None
    place: str = "Store room"


SUPPLIES = (
    Supply("Examination gloves M", "pair", 500, 380, 200, "0.06"),
    Supply("Sterile compresses 10x10", "piece", 60, 22, 20, "0.15", expires_in=-6),
    Supply("Syringes 5 ml", "piece", 200, 45, 50, "0.09", expires_in=700),
    Supply("Elastic bandage 8 cm", "piece", 40, 34, 15, "0.70"),
    Supply("Saline 0.9 % 100 ml", "bottle", 48, 20, 12, "0.95", expires_in=24),
)


@dataclass(slots=True)
class Shelf:
    """One item with its lots and movements, as if everything had been done by the services at those times."""

    item: InventoryItem
    by: PydanticObjectId | None
    currency: str
    lots: list[StockLot] = field(default_factory=list)
    movements: list[StockMovement] = field(default_factory=list)
    dispensings: list[Dispensing] = field(default_factory=list)

    def receive(self, units: int, lot: str | None, expires_on: date | None, cost: str, at: datetime) -> None:
        """A delivery of one lot."""
        day = expires_on.isoformat() if expires_on else None
        made: StockLot = build(
            StockLot,
            {
                "id": ObjectId(),
                "item_id": self.item.id,
                "lot": lot,
                "lot_key": lot_key(lot, day),
                "expires_on": day,
                "order_day": day or NEVER,
                "unit_cost": {"amount": cost, "currency": self.currency},
                "received_at": at,
                "updated_at": at,
            },
            at="",
        )
        self.lots.append(made)
        self._move(made, units, MovementKind.RECEIVED, at, str(ObjectId()), {"reference": f"DN-{at:%y%m%d}"})

    def hand_out(self, units: int, at: datetime, told: Row) -> None:
        """What expires first first. There must be as much."""
        made = ObjectId()
        parts = list(self._taken(units))
        for lot, taken in parts:
            self._move(lot, -taken, MovementKind.DISPENSED, at, str(made), {**told, "dispensing_id": made})
        named = ("lot", "expires_on")
        lots = [
            {"lot_id": lot.id, "quantity": taken, **{name: getattr(lot, name) for name in named}}
            for lot, taken in parts
        ]
        values = {"id": made, **told, "item_id": self.item.id, "name": self.item.name, "unit": self.item.unit}
        self.dispensings.append(
            build(
                Dispensing,
                {**values, "quantity": units, "lots": lots, "dispensed_at": at, "dispensed_by": self.by},
                at="",
            )
        )

    def _taken(self, units: int) -> Iterator[tuple[StockLot, int]]:
        for lot in sorted(self.lots, key=lambda one: one.order_day):
            taken = min(units, lot.balance)
            if taken:
                yield lot, taken
                units -= taken

    def _move(
        self, lot: StockLot, units: int, kind: MovementKind, at: datetime, act: str, told: Mapping[str, Any]
    ) -> None:
        lot.balance += units
        self.item.stock += units
        self.item.low = self.item.stock < self.item.reorder_level
        values = {
            "id": ObjectId(),
            "item_id": self.item.id,
            "lot_id": lot.id,
            "lot": lot.lot,
            "expires_on": lot.expires_on,
            "kind": kind,
            "quantity": units,
            "balance": lot.balance,
            "unit_cost": lot.unit_cost.model_dump() if lot.unit_cost else None,
            "act": act,
            "at": at,
            "by": self.by,
        }
        self.movements.append(build(StockMovement, {**values, **told}, at=""))


async def add_pharmacy(keeper: PydanticObjectId | None, session: AsyncClientSession) -> None:
    """Stores items, lots, movements and dispensings by the latest prescriptions, whose items count them."""
    known = await InventoryItem.rows({"archived_at": None}, projection=["name_key"], session=session)
    present = {row["name_key"] for row in known}
    prescriptions = await Prescription.rows(
        {"status": {"$in": _HANDED_OUT}, "signed_at": {"$gt": now() - _BEGAN}},
        sort=[("prescribed_at", -1), ("_id", -1)],
        limit=MOST_DISPENSED,
        session=session,
    )
    shelves = [_supplies(one, keeper) for one in SUPPLIES if search_key(one.name) not in present]
    by_medicine: dict[ObjectId, list[Row]] = {}
    for rx in reversed(prescriptions):
        by_medicine.setdefault(rx["items"][0]["medicine_id"], []).append(rx)
    wanted = {"_id": {"$in": list(by_medicine)}}
    medicines = await Medicine.rows(wanted, sort=[("name_key", 1), ("_id", 1)], session=session)
    for place, medicine in enumerate(medicines):
        if search_key(_name(medicine)) not in present:
            shelf = _medicines(place, medicine, by_medicine[medicine["_id"]], keeper)
            await _count(by_medicine[medicine["_id"]], session)
            shelves.append(shelf)
    await _store(shelves, session)


async def _store(shelves: Sequence[Shelf], session: AsyncClientSession) -> None:
    if not shelves:
        return
    await InventoryItem.insert_many([one.item for one in shelves], session=session)
    await StockLot.insert_many([lot for one in shelves for lot in one.lots], session=session)
    await Dispensing.insert_many([out for one in shelves for out in one.dispensings], session=session)
    await StockMovement.insert_many([moved for one in shelves for moved in one.movements], session=session)


async def _count(prescriptions: Sequence[Row], session: AsyncClientSession) -> None:
    for rx in prescriptions:
        counted = {"$inc": {"items.0.dispensed": rx["items"][0]["quantity"], "version": 1}}
        await Prescription.guarded().update_one({"_id": rx["_id"]}, counted, session=session)


def _shelf(keeper: PydanticObjectId | None, **values: Any) -> Shelf:
    tenant = current_scope().tenant
    item: InventoryItem = build(
        InventoryItem, {"id": ObjectId(), "name_key": search_key(values["name"]), **values}, at=""
    )
    return Shelf(item, keeper, tenant.currency if tenant else "USD")


def _supplies(supply: Supply, keeper: PydanticObjectId | None) -> Shelf:
    shelf = _shelf(
        keeper,
        name=supply.name,
        kind=ItemKind.CONSUMABLE,
        unit=supply.unit,
        place=supply.place,
        reorder_level=supply.reorder_level,
    )
    expires = None if supply.expires_in is None else now().date() + timedelta(days=supply.expires_in)
    lot = None if expires is None else f"S{search_key(supply.name)[:3].upper()}{expires:%y%m}"
    shelf.receive(supply.delivered, lot, expires, supply.cost, now() - _BEGAN)
    for part, days in ((supply.used // 2, 80), (supply.used - supply.used // 2, 20)):
        shelf.hand_out(part, now() - timedelta(days=days), {})
    return shelf


def _name(medicine: Row) -> str:
    return " ".join(part for part in (medicine["name"], medicine.get("strength")) if part)


def _medicines(place: int, medicine: Row, prescriptions: Sequence[Row], keeper: PydanticObjectId | None) -> Shelf:
    """Enough for the prescriptions in two lots, and of every third medicine so little more that it is low."""
    needed = sum(rx["items"][0]["quantity"] for rx in prescriptions)
    shelf = _shelf(
        keeper,
        name=_name(medicine),
        kind=ItemKind.MEDICINE,
        medicine_id=medicine["_id"],
        unit="unit",
        place=f"Cabinet {'ABC'[place % 3]}",
        reorder_level=60,
    )
    first = max(needed // 2, 1) if place % 2 == 0 else needed + 15
    second = max(needed - first, 0) + (25 if place % 3 == 0 else 240)
    soon, later = now().date() + timedelta(days=40 + 5 * place), now().date() + timedelta(days=420 + 9 * place)
    shelf.receive(first, f"{place + 1:02}A{soon:%y%m}", soon, "0.18", now() - _BEGAN)
    shelf.receive(second, f"{place + 1:02}B{later:%y%m}", later, "0.20", now() - _BEGAN + timedelta(days=1))
    for rx in prescriptions:
        told = {"patient_id": rx["patient_id"], "prescription_id": rx["_id"], "prescription_item": 1}
        shelf.hand_out(rx["items"][0]["quantity"], rx["signed_at"], told)
    return shelf
