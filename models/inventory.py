"""What a clinic keeps in stock, lot by lot, and every unit that came or went."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from beanie import PydanticObjectId
from pydantic import Field, StringConstraints
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.appointment import RequestMark
from models.base import TenantDocument, Versioned
from models.named import BY_NAME, ONE_PER_NAME
from models.prescription import MOST_ITEMS
from models.references import PlatformReference, Reference
from models.service import Price
from models.uniques import ONE_PER_REQUEST
from models.values import Day, Line, Name, Value, now

MOST_UNITS = 1_000_000
"""Nobody receives, counts or hands out more units at once."""
MOST_MOVED = 1_000_000_000
"""No movement is of more units: all that came of a lot by and by can go at once."""
NEVER = "9999-12-31"
"""The day by which what does not expire is used: after all that does."""
IN_STOCK: Mapping[str, Any] = {"balance": {"$gt": 0}}
_COUNT: Mapping[str, Any] = {"bsonType": ["int", "long"], "minimum": 0}
"""What the database itself lets a number of units be: whole, and never below zero."""

Units = Annotated[int, Field(ge=1, le=MOST_UNITS)]
Lot = Annotated[Line, StringConstraints(max_length=60)]
"""A maker's lot (batch) number."""
Unit = Annotated[Line, StringConstraints(max_length=30)]
"""What is counted: a tablet, a bottle, a pair."""


class ItemKind(StrEnum):
    """What is kept."""

    MEDICINE = "medicine"
    CONSUMABLE = "consumable"
    DEVICE = "device"
    OTHER = "other"


class InventoryItem(Versioned, TenantDocument):
    """Something that the clinic keeps: one medicine of the catalogue, or a plain supply.

    `stock` is the sum of its lots' balances and `low` says that it lies below `reorder_level`: movements keep both
    (`app.services.pharmacy.stock`), nobody sets them, and they do not count `version` up.
    """

    database_rules: ClassVar[Mapping[str, Any]] = {"stock": _COUNT}

    name: Name
    name_key: str
    kind: ItemKind
    medicine_id: Annotated[PydanticObjectId, Reference("medicines")] | None = None
    """Of which medicine; the kind is MEDICINE then, and no other time."""
    unit: Unit
    room_id: Annotated[PydanticObjectId, Reference("rooms")] | None = None
    place: Annotated[Line, StringConstraints(max_length=60)] | None = None
    reorder_level: int = Field(default=0, ge=0, le=MOST_UNITS)
    over_the_counter: bool = False
    """Whether a medicine may be handed out without a prescription. Supplies always may."""
    stock: int = Field(default=0, ge=0)
    low: bool = False
    archived_at: datetime | None = None

    class Settings:
        name = "inventory_items"
        indexes = (
            BY_NAME,
            ONE_PER_NAME,
            *(
                IndexModel(
                    [("tenant_id", ASCENDING), (column, ASCENDING), ("name_key", ASCENDING), ("_id", ASCENDING)],
                    name=f"{column}_name",
                )
                for column in ("low", "kind", "medicine_id", "room_id")
            ),
        )


class StockLot(TenantDocument):
    """The units of one item that came from one lot and expire on one day.

    `balance` is the sum of the lot's movements; it changes with each of them by one conditional update, and by nothing
    else. `order_day` is the day of expiry, or `NEVER`: what expires first is used first. `lot_key` tells lots of an
    item apart. `unit_cost` is what a unit cost when some came last.
    """

    database_rules: ClassVar[Mapping[str, Any]] = {"balance": _COUNT}

    item_id: Annotated[PydanticObjectId, Reference("inventory_items")]
    lot: Lot | None = None
    lot_key: str
    expires_on: Day | None = None
    order_day: Day = NEVER
    balance: int = Field(default=0, ge=0)
    unit_cost: Price | None = None
    received_at: datetime = Field(default_factory=now)
    updated_at: datetime = Field(default_factory=now)

    class Settings:
        name = "stock_lots"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("item_id", ASCENDING), ("lot_key", ASCENDING)],
                name="one_per_lot",
                unique=True,
            ),
            IndexModel([("tenant_id", ASCENDING), ("order_day", DESCENDING), ("_id", DESCENDING)], name="order_day"),
            IndexModel(
                [("tenant_id", ASCENDING), ("order_day", ASCENDING), ("_id", ASCENDING)],
                name="in_stock",
                partialFilterExpression=dict(IN_STOCK),
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("item_id", ASCENDING), ("order_day", ASCENDING), ("_id", ASCENDING)],
                name="item_in_stock",
                partialFilterExpression=dict(IN_STOCK),
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("item_id", ASCENDING), ("order_day", DESCENDING), ("_id", DESCENDING)],
                name="item_order_day",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("lot_key", ASCENDING), ("order_day", ASCENDING), ("_id", ASCENDING)],
                name="lot_order_day",
            ),
        )


class MovementKind(StrEnum):
    """Why units came or went."""

    RECEIVED = "received"
    DISPENSED = "dispensed"
    RETURNED = "returned"
    ADJUSTED = "adjusted"
    WASTED = "wasted"
    EXPIRED = "expired"
    TRANSFERRED = "transferred"


def _latest(column: str) -> IndexModel:
    return IndexModel(
        [("tenant_id", ASCENDING), (column, ASCENDING), ("at", DESCENDING), ("_id", DESCENDING)], name=f"{column}_at"
    )


class StockMovement(TenantDocument):
    """Units of one lot that came (`quantity` above zero) or went (below), and what was there then (`balance`).

    Stored once and never changed, but that the patient is taken off it when they are erased: what was moved stays
    moved. Movements of one act share `act`. A count that found what was expected moves nothing and is kept as well.
    """

    item_id: Annotated[PydanticObjectId, Reference("inventory_items")]
    lot_id: Annotated[PydanticObjectId, Reference("stock_lots")]
    lot: Lot | None = None
    expires_on: Day | None = None
    kind: MovementKind
    quantity: int = Field(ge=-MOST_MOVED, le=MOST_MOVED)
    balance: int = Field(ge=0)
    unit_cost: Price | None = None
    reason: Annotated[Line | None, Sealed()] = None
    reference: Line | None = None
    """What finds it elsewhere, such as the number of a delivery note."""
    dispensing_id: Annotated[PydanticObjectId, Reference("dispensings")] | None = None
    prescription_id: Annotated[PydanticObjectId, Reference("prescriptions")] | None = None
    prescription_item: int | None = None
    patient_id: Annotated[PydanticObjectId, Reference("patients")] | None = None
    reverses_id: Annotated[PydanticObjectId, Reference("stock_movements")] | None = None
    """The movement that this one takes back, as a whole or in part."""
    act: str
    at: datetime = Field(default_factory=now)
    by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    requests: list[RequestMark] = Field(default_factory=list)

    class Settings:
        name = "stock_movements"
        indexes = (
            IndexModel([("tenant_id", ASCENDING), ("at", DESCENDING), ("_id", DESCENDING)], name="at"),
            *(_latest(column) for column in ("item_id", "lot_id", "kind", "patient_id", "prescription_id")),
            IndexModel([("tenant_id", ASCENDING), ("dispensing_id", ASCENDING), ("_id", ASCENDING)], name="dispensing"),
            IndexModel([("tenant_id", ASCENDING), ("act", ASCENDING), ("_id", ASCENDING)], name="act"),
            ONE_PER_REQUEST,
        )


class DispensedLot(Value):
    """From which lot how much was handed out, by which movement, and how much of it came back."""

    lot_id: Annotated[PydanticObjectId, Reference("stock_lots")]
    lot: Lot | None = None
    expires_on: Day | None = None
    quantity: Units
    returned: int = Field(default=0, ge=0)


def _handed_out(column: str) -> IndexModel:
    return IndexModel(
        [("tenant_id", ASCENDING), (column, ASCENDING), ("dispensed_at", DESCENDING), ("_id", DESCENDING)],
        name=f"{column}_dispensed_at",
    )


class Dispensing(Versioned, TenantDocument):
    """Something that was handed out: to a patient by a prescription, over the counter, or for use at the clinic.

    `name` and `unit` are the item's as they were. Nothing changes later but what came back (`returned`).
    """

    patient_id: Annotated[PydanticObjectId, Reference("patients")] | None = None
    prescription_id: Annotated[PydanticObjectId, Reference("prescriptions")] | None = None
    prescription_item: Annotated[int, Field(ge=1, le=MOST_ITEMS)] | None = None
    item_id: Annotated[PydanticObjectId, Reference("inventory_items")]
    name: Name
    unit: Unit
    quantity: Units
    returned: int = Field(default=0, ge=0)
    lots: list[DispensedLot] = Field(min_length=1)
    note: Annotated[Line | None, Sealed()] = None
    dispensed_at: datetime = Field(default_factory=now)
    dispensed_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    requests: list[RequestMark] = Field(default_factory=list)

    class Settings:
        name = "dispensings"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("dispensed_at", DESCENDING), ("_id", DESCENDING)], name="dispensed_at"
            ),
            *(_handed_out(column) for column in ("patient_id", "prescription_id", "item_id")),
            ONE_PER_REQUEST,
        )
