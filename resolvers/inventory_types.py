"""What the schema shows of the stock: items, their lots, and every movement."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.paging import Connection
from app.graphql.related_pages import related_page
from app.permissions import Permission
from app.services.pharmacy.stock import days_left, is_expired
from models import InventoryItem, StockLot, StockMovement
from models.inventory import ItemKind, MovementKind
from resolvers.medicines import MedicineType
from resolvers.rooms import RoomType
from resolvers.staff import StaffType
from resolvers.values import MoneyType, day, described

if TYPE_CHECKING:
    from resolvers.dispensing_types import DispensingType

LATEST_LOTS = [("order_day", -1), ("_id", -1)]

described(
    ItemKind,
    "What is kept in stock.",
    MEDICINE="A medicine of the catalogue.",
    CONSUMABLE="Something that is used up, such as gloves.",
    DEVICE="Something that is handed out and not used up, such as a crutch.",
    OTHER="Something else.",
)
described(
    MovementKind,
    "Why units of the stock came or went.",
    RECEIVED="They were delivered.",
    DISPENSED="They were handed out.",
    RETURNED="They came back.",
    ADJUSTED="Somebody counted, and there were more or fewer.",
    WASTED="They were broken, spoilt or not fit to be handed out again.",
    EXPIRED="Their last day was over.",
    TRANSFERRED="They were brought to another item of the same thing, such as at another place.",
)


def _dispensing_type() -> type:
    from resolvers.dispensing_types import DispensingType

    return DispensingType


def _days_left(row: Row) -> int | None:
    return days_left(row)


def _expired(row: Row) -> bool:
    return is_expired(row)


@row_type(
    "InventoryItem",
    model=InventoryItem,
    read=Permission.INVENTORY_READ,
    description="Something that the clinic keeps in stock.",
)
class InventoryItemType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change, not with movements; send it back when changing.")
    name: str = stored(description="Name.")
    kind: ItemKind = stored(description="What it is.")
    unit: str = stored(description="What is counted, such as a tablet or a bottle.")
    place: str | None = stored(description="Where in the room it is.")
    reorder_level: int = stored(description="Below so many units it is low; 0 is never.")
    over_the_counter: bool = stored(description="Whether a medicine may be handed out without a prescription.")
    stock: int = stored(description="How many units there are, expired ones too: the sum of all movements.")
    low: bool = stored(description="Whether that is below the reorder level.")
    archived_at: datetime | None = stored(description="Since when it is kept no longer.")
    medicine: MedicineType | None = related(
        lambda: MedicineType, key="medicine_id", description="The medicine of the catalogue, if it is one."
    )
    room: RoomType | None = related(lambda: RoomType, key="room_id", description="In which room it is.")
    lots: Connection[Annotated[StockLotType, strawberry.lazy("resolvers.inventory_types")]] = related_page(
        lambda: StockLotType,
        foreign="item_id",
        sort=LATEST_LOTS,
        description="Its lots, empty ones too, what expires last first.",
    )


@row_type(
    "StockLot",
    model=StockLot,
    read=Permission.INVENTORY_READ,
    description="The units of an item that came from one lot and expire on one day.",
)
class StockLotType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    lot: str | None = stored(description="The maker's number, if there is one.")
    expires_on: date | None = day("expires_on", "The last day on which it may be used.")
    expired: bool = computed("expires_on", by=_expired, description="Whether that day is over.")
    days_left: int | None = computed(
        "expires_on", by=_days_left, description="How many days are left until that day; below zero afterwards."
    )
    balance: int = stored(description="How many units are left: the sum of the lot's movements.")
    unit_cost: MoneyType | None = stored(description="What a unit cost when some came last.")
    received_at: datetime = stored(description="When the first of it came.")
    item: InventoryItemType | None = related(lambda: InventoryItemType, key="item_id", description="Of what it is.")


@row_type(
    "StockMovement",
    model=StockMovement,
    read=Permission.INVENTORY_READ,
    description="Units of a lot that came or went. It never changes.",
)
class StockMovementType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    kind: MovementKind = stored(description="Why.")
    quantity: int = stored(description="How many units came; below zero, how many went.")
    balance: int = stored(description="How many units of the lot there were then.")
    lot: str | None = stored(description="The lot's number.")
    expires_on: date | None = day("expires_on", "The lot's last day.")
    unit_cost: MoneyType | None = stored(description="What a unit cost.")
    reason: str | None = stored(description="Why, in words.")
    reference: str | None = stored(description="What finds it elsewhere, such as the number of a delivery note.")
    act: str = stored(description="The same for all movements of one act.")
    at: datetime = stored(description="When.")
    by: StaffType | None = related(
        lambda: StaffType, key="by", foreign="user_id", description="Who, if they have a profile here."
    )
    item: InventoryItemType | None = related(lambda: InventoryItemType, key="item_id", description="Of what.")
    stock_lot: StockLotType | None = related(lambda: StockLotType, key="lot_id", description="Of which lot.")
    dispensing: Annotated[DispensingType, strawberry.lazy("resolvers.dispensing_types")] | None = related(
        _dispensing_type,
        key="dispensing_id",
        description="What was handed out, or came back. Needs `dispensing:read`.",
    )
    reverses: Annotated[StockMovementType, strawberry.lazy("resolvers.inventory_types")] | None = related(
        lambda: StockMovementType, key="reverses_id", description="The movement that it takes back, if one."
    )


@row_type("StockValue", description="What the stock is worth, at what each lot cost last.")
class StockValueType:
    total: list[MoneyType] = stored(description="All of it, by currency.")
    expired: list[MoneyType] = stored(description="What of that is expired.")
    without_price: int = stored(description="How many lots with something left have no price, and count for nothing.")
