"""What was handed out, in numbers."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import strawberry

from app.graphql.access import field
from app.graphql.fields import related, row_type, stored
from app.graphql.inputs import object_id
from app.permissions import Permission
from app.services.pharmacy.figures import Stretch, dispensed
from resolvers.base import Resolver, shown
from resolvers.inventory_types import InventoryItemType
from resolvers.values import MoneyType, day, described

described(
    Stretch,
    "Into what stretches days are put together.",
    WHOLE="All days are one.",
    MONTH="By the months of the clinic's calendar.",
    DAY="By the clinic's days.",
)


@row_type("DispensedSum", description="Units that were handed out, less what came back, and what they cost.")
class DispensedSumType:
    units: int = stored(description="How many; below zero where more came back than was handed out.")
    value: list[MoneyType] = stored(
        description="What the units cost the clinic, for each currency. Lots without a price count for nothing."
    )


@row_type("DispensedOfItem", description="What was handed out of one item in one stretch of time.")
class DispensedOfItemType:
    day: date | None = day("day", "The first day of the stretch.")
    item: InventoryItemType | None = related(
        lambda: InventoryItemType, key="item_id", description="Of what item of the stock."
    )
    units: int = stored(description="How many, less what came back in it.")
    value: list[MoneyType] = stored(description="What they cost the clinic, for each currency.")


@row_type("DispensingStatistics", description="What was handed out in some of the clinic's days.")
class DispensingStatisticsType:
    rows: list[DispensedOfItemType] = stored(
        description="For each stretch and item one, in the order of time, the most units first; 1,000 at most."
    )
    total: DispensedSumType = stored(description="All of these together.")


@strawberry.type
class DispensingStatisticsQuery(Resolver):
    @field(
        Permission.INVENTORY_READ,
        description="Units that were handed out, and what they cost, by item and stretch, on at most 366 of the "
        "clinic's days. What comes back counts on the day on which it does.",
    )
    async def dispensing_statistics(
        self,
        from_: Annotated[date, strawberry.argument(name="from", description="The first of the clinic's days.")],
        to: Annotated[date, strawberry.argument(description="The last of the clinic's days, included.")],
        by: Annotated[
            Stretch, strawberry.argument(description="Into what stretches they are put together.")
        ] = Stretch.WHOLE,
        item_id: Annotated[strawberry.ID | None, strawberry.argument(description="Of this item alone.")] = None,
    ) -> DispensingStatisticsType:
        item = object_id(item_id, "itemId") if item_id is not None else None
        return shown(await dispensed(from_, to, by, item))
