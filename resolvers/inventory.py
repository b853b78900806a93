"""The stock: what the clinic keeps, what comes, what is counted, what runs low or expires."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any

import strawberry
from strawberry import Maybe

from app.graphql.access import field, require
from app.graphql.context import Info
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services.care.lists import listed
from app.services.pharmacy import counting, items, lists, receiving, transferring
from models.inventory import ItemKind, MovementKind
from resolvers.base import Resolver, shown
from resolvers.inventory_types import InventoryItemType, StockLotType, StockMovementType, StockValueType
from resolvers.values import NAME_ORDERS, ArchiveInput, MoneyInput, NameSort

FIRST_EXPIRING = [("order_day", 1), ("_id", 1)]
LATEST = [("at", -1), ("_id", -1)]
_REPEATS = "Makes repeats safe: the same key and input give the first answer again."

WithinDays = Annotated[
    int, strawberry.argument(description="How many days ahead to look, 0 to 3650; what is expired is always there.")
]


@strawberry.input(description="Which items to list. All conditions must hold.")
class InventoryItemFilter:
    search: str | None = strawberry.field(default=None, description="Beginning of the name.")
    kind: ItemKind | None = strawberry.field(default=None, description="Of this kind.")
    low: bool | None = strawberry.field(default=None, description="Below the reorder level, or not.")
    medicine_id: strawberry.ID | None = strawberry.field(default=None, description="Of this medicine.")
    room_id: strawberry.ID | None = strawberry.field(default=None, description="In this room.")
    archived: bool = strawberry.field(default=False, description="Those archived instead of those in use.")


@strawberry.input(description="Something that the clinic is to keep in stock.")
class CreateInventoryItemInput:
    unit: str = strawberry.field(description="What is counted, such as a tablet or a bottle.")
    medicine_id: strawberry.ID | None = strawberry.field(default=None, description="The medicine, if it is one.")
    kind: ItemKind | None = strawberry.field(default=None, description="What it is, if it is no medicine.")
    name: str | None = strawberry.field(
        default=None, description="Name that no other item in use has; the medicine's when left out."
    )
    room_id: strawberry.ID | None = strawberry.field(default=None, description="In which room it is.")
    place: str | None = strawberry.field(default=None, description="Where in the room.")
    reorder_level: int = strawberry.field(default=0, description="Below so many units it is low; 0 is never.")
    over_the_counter: bool = strawberry.field(
        default=False, description="Whether a medicine may be handed out without a prescription."
    )


@strawberry.input(description="Changes to an item. What is left out stays as it is; null clears it.")
class UpdateInventoryItemInput:
    id: strawberry.ID = strawberry.field(description="The item.")
    version: int = strawberry.field(description="The version that the change is based on.")
    name: Maybe[str] = strawberry.field(description="Name that no other item in use has.")
    unit: Maybe[str] = strawberry.field(description="What is counted.")
    room_id: Maybe[strawberry.ID | None] = strawberry.field(description="In which room it is.")
    place: Maybe[str | None] = strawberry.field(description="Where in the room.")
    reorder_level: Maybe[int] = strawberry.field(description="Below so many units it is low; 0 is never.")
    over_the_counter: Maybe[bool] = strawberry.field(
        description="Whether a medicine may be handed out without a prescription."
    )


@strawberry.input(description="Which lots to list. All conditions must hold.")
class StockLotFilter:
    item_id: strawberry.ID | None = strawberry.field(default=None, description="Of this item.")
    lot: str | None = strawberry.field(default=None, description="With this number, in full.")
    in_stock: bool = strawberry.field(default=False, description="Only those of which something is left.")


@strawberry.input(description="Which movements to list. All conditions must hold.")
class StockMovementFilter:
    item_id: strawberry.ID | None = strawberry.field(default=None, description="Of this item.")
    lot_id: strawberry.ID | None = strawberry.field(default=None, description="Of this lot.")
    kind: MovementKind | None = strawberry.field(default=None, description="Of this kind.")
    patient_id: strawberry.ID | None = strawberry.field(
        default=None, description="Handed out to this patient, or come back. Needs `dispensing:read`."
    )
    prescription_id: strawberry.ID | None = strawberry.field(
        default=None, description="By this prescription. Needs `dispensing:read`."
    )
    from_: datetime | None = strawberry.field(name="from", default=None, description="Then or later.")
    to: datetime | None = strawberry.field(default=None, description="Before then.")


@strawberry.input(description="Units of one lot that were delivered.")
class ReceivedLineInput:
    item_id: strawberry.ID = strawberry.field(description="Of what.")
    quantity: int = strawberry.field(description="How many units.")
    lot: str | None = strawberry.field(default=None, description="The maker's number of the lot.")
    expires_on: date | None = strawberry.field(
        default=None, description="The last day on which it may be used; needed for medicines."
    )
    unit_cost: MoneyInput | None = strawberry.field(default=None, description="What one unit cost.")


@strawberry.input(description="What was delivered together: all of it is put into stock, or nothing.")
class ReceiveStockInput:
    lines: list[ReceivedLineInput] = strawberry.field(description="What came, 1 to 100 lots.")
    reference: str | None = strawberry.field(default=None, description="Such as the number of the delivery note.")
    idempotency_key: str | None = strawberry.field(default=None, description=_REPEATS)


@strawberry.input(description="What was counted of a lot.")
class AdjustStockInput:
    lot_id: strawberry.ID = strawberry.field(description="The lot.")
    counted: int = strawberry.field(description="How many units are there.")
    expected: int | None = strawberry.field(
        default=None, description="The balance that was shown when counting began; another one by now is `CONFLICT`."
    )
    reason: str = strawberry.field(description="Why it was counted, or why there are more or fewer.")
    idempotency_key: str | None = strawberry.field(default=None, description=_REPEATS)


@strawberry.input(description="Units that are of no use any more.")
class WasteStockInput:
    lot_id: strawberry.ID = strawberry.field(description="The lot.")
    quantity: int = strawberry.field(description="How many units.")
    reason: str = strawberry.field(description="Why.")
    idempotency_key: str | None = strawberry.field(default=None, description=_REPEATS)


@strawberry.input(description="Expired lots of which all that is left goes out of the stock.")
class WriteOffExpiredInput:
    lot_ids: list[strawberry.ID] = strawberry.field(description="The lots, 1 to 50; all or none.")
    reason: str | None = strawberry.field(default=None, description="What else is to be said.")
    idempotency_key: str | None = strawberry.field(default=None, description=_REPEATS)


@strawberry.input(description="Units of a lot that are brought to another place.")
class TransferStockInput:
    lot_id: strawberry.ID = strawberry.field(description="The lot that they are taken from.")
    to_item_id: strawberry.ID = strawberry.field(
        description="The item that they go to: of the same medicine, or kind of supply, in the same unit."
    )
    quantity: int = strawberry.field(description="How many units.")
    reason: str | None = strawberry.field(default=None, description="Why.")
    idempotency_key: str | None = strawberry.field(default=None, description=_REPEATS)


@strawberry.type
class InventoryQuery(Resolver):
    @field(Permission.INVENTORY_READ, description="One item of the stock.")
    async def inventory_item(self, info: Info, id: strawberry.ID) -> InventoryItemType:
        return await self.one(info, InventoryItemType, id)

    @field(Permission.INVENTORY_READ, description="What the clinic keeps in stock.")
    async def inventory_items(
        self,
        info: Info,
        first: First = DEFAULT_PAGE,
        after: After = None,
        filter: InventoryItemFilter | None = None,
        sort: NameSort = NameSort.NAME_ASC,
    ) -> Connection[InventoryItemType]:
        chosen = filter or InventoryItemFilter()
        named = ids(given(chosen), "medicine_id", "room_id", at="filter")
        where = items.listed(
            search=chosen.search,
            kind=chosen.kind,
            low=chosen.low,
            archived=chosen.archived,
            medicine_id=named.get("medicine_id"),
            room_id=named.get("room_id"),
        )
        return await self.page(info, InventoryItemType, where=where, sort=NAME_ORDERS[sort], first=first, after=after)

    @field(Permission.INVENTORY_READ, description="Items of which there is less than their reorder level, by name.")
    async def low_stock(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[InventoryItemType]:
        order = NAME_ORDERS[NameSort.NAME_ASC]
        return await self.page(info, InventoryItemType, where=lists.low(), sort=order, first=first, after=after)

    @field(Permission.INVENTORY_READ, description="Lots, what expires first first.")
    async def stock_lots(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: StockLotFilter | None = None
    ) -> Connection[StockLotType]:
        chosen = filter or StockLotFilter()
        item_id = ids(given(chosen), "item_id", at="filter").get("item_id")
        where = lists.lots(item_id=item_id, lot=chosen.lot, in_stock=chosen.in_stock)
        return await self.page(info, StockLotType, where=where, sort=FIRST_EXPIRING, first=first, after=after)

    @field(
        Permission.INVENTORY_READ,
        description="Lots with something left that expire soon or have expired, what expires first first.",
    )
    async def expiring_stock(
        self, info: Info, within_days: WithinDays = 90, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[StockLotType]:
        where = lists.expiring(within_days)
        return await self.page(info, StockLotType, where=where, sort=FIRST_EXPIRING, first=first, after=after)

    @field(Permission.INVENTORY_READ, description="What came and went, the latest first.")
    async def stock_movements(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: StockMovementFilter | None = None
    ) -> Connection[StockMovementType]:
        where = _movements(filter or StockMovementFilter())
        return await self.page(info, StockMovementType, where=where, sort=LATEST, first=first, after=after)

    @field(Permission.INVENTORY_READ, description="What the stock is worth.")
    async def stock_value(self) -> StockValueType:
        return shown(await lists.value())


@strawberry.type
class InventoryMutation(Resolver):
    @field(Permission.INVENTORY_MANAGE, description="Adds something to what the clinic keeps; there is none of it yet.")
    async def create_inventory_item(self, input: CreateInventoryItemInput) -> InventoryItemType:
        return shown(await items.create(ids(given(input), "medicine_id", "room_id")))

    @field(Permission.INVENTORY_MANAGE, description="Changes an item; how much there is changes by movements alone.")
    async def update_inventory_item(self, input: UpdateInventoryItemInput) -> InventoryItemType:
        changes = ids(given(input), "id", "room_id")
        return shown(await items.change(changes.pop("id"), changes.pop("version"), changes))

    @field(Permission.INVENTORY_MANAGE, description="Keeps an item no longer, once nothing of it is left.")
    async def archive_inventory_item(self, input: ArchiveInput) -> InventoryItemType:
        return shown(await items.archive(object_id(input.id, "input.id"), input.version))

    @field(Permission.INVENTORY_MANAGE, description="Keeps an item again.")
    async def restore_inventory_item(self, input: ArchiveInput) -> InventoryItemType:
        return await self.restore(InventoryItemType, input.id, input.version)

    @field(Permission.INVENTORY_MANAGE, description="Puts what was delivered into stock.")
    async def receive_stock(self, input: ReceiveStockInput) -> list[StockMovementType]:
        values = given(input)
        key = values.pop("idempotency_key", None)
        values["lines"] = [ids(one, "item_id", at=f"input.lines.{at}") for at, one in enumerate(values["lines"])]
        return shown(await lists.of_act((await receiving.receive(values, key=key))["act"]))

    @field(
        Permission.INVENTORY_MANAGE,
        description="Notes what was counted of a lot: the difference becomes a movement with its reason.",
    )
    async def adjust_stock(self, input: AdjustStockInput) -> StockMovementType:
        values = ids(given(input), "lot_id")
        key = values.pop("idempotency_key", None)
        return shown(await counting.adjust(values, key=key))

    @field(Permission.INVENTORY_MANAGE, description="Takes broken or spoilt units out of the stock.")
    async def waste_stock(self, input: WasteStockInput) -> StockMovementType:
        values = ids(given(input), "lot_id")
        key = values.pop("idempotency_key", None)
        return shown(await counting.waste(values, key=key))

    @field(
        Permission.INVENTORY_MANAGE,
        description="Brings units of a lot to another item of the same thing: two movements, or none.",
    )
    async def transfer_stock(self, input: TransferStockInput) -> list[StockMovementType]:
        values = ids(given(input), "lot_id", "to_item_id")
        key = values.pop("idempotency_key", None)
        return shown(await lists.of_act((await transferring.transfer(values, key=key))["act"]))

    @field(Permission.INVENTORY_MANAGE, description="Takes all that is left of expired lots out of the stock.")
    async def write_off_expired(self, input: WriteOffExpiredInput) -> list[StockMovementType]:
        values = ids(given(input), "lot_ids")
        key = values.pop("idempotency_key", None)
        return shown(await lists.of_act((await counting.write_off_expired(values, key=key))["act"]))


def _movements(chosen: StockMovementFilter) -> dict[str, Any]:
    named = ids(given(chosen), "item_id", "lot_id", "patient_id", "prescription_id", at="filter")
    equal = {name: named.get(name) for name in ("item_id", "lot_id", "kind", "patient_id", "prescription_id")}
    if equal["patient_id"] is not None or equal["prescription_id"] is not None:
        require(Permission.DISPENSING_READ)
    return listed("at", start=chosen.from_, end=chosen.to, equal=equal)
