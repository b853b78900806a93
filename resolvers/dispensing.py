"""What is handed out, and what comes back."""

from __future__ import annotations

from datetime import datetime

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.inputs import given, ids
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services.care.lists import listed
from app.services.pharmacy import dispensing, returning
from resolvers.base import Resolver, shown
from resolvers.dispensing_types import DispensingType

LATEST = [("dispensed_at", -1), ("_id", -1)]
_REPEATS = "Makes repeats safe: the same key and input give the first answer again."


@strawberry.input(description="Which ones to list. All conditions must hold.")
class DispensingFilter:
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="To this patient.")
    prescription_id: strawberry.ID | None = strawberry.field(default=None, description="By this prescription.")
    item_id: strawberry.ID | None = strawberry.field(default=None, description="Of this item of the stock.")
    from_: datetime | None = strawberry.field(name="from", default=None, description="Then or later.")
    to: datetime | None = strawberry.field(default=None, description="Before then.")


@strawberry.input(description="What is handed out of an item of a prescription.")
class DispenseMedicineInput:
    prescription_id: strawberry.ID = strawberry.field(description="The prescription, which must be ACTIVE.")
    item_number: int = strawberry.field(description="Which of its items.")
    quantity: int = strawberry.field(description="How many units: no more than may still be handed out.")
    item_id: strawberry.ID | None = strawberry.field(
        default=None, description="From which item of the stock, where several are of the medicine."
    )
    lot_id: strawberry.ID | None = strawberry.field(
        default=None, description="From which lot; else what expires first."
    )
    take_refill: bool = strawberry.field(
        default=False, description="Counts a refill off the prescription, once all that was granted is handed out."
    )
    note: str | None = strawberry.field(default=None, description="What is to be noted.")
    idempotency_key: str | None = strawberry.field(default=None, description=_REPEATS)


@strawberry.input(description="What is handed out without a prescription.")
class DispenseWithoutPrescriptionInput:
    item_id: strawberry.ID = strawberry.field(description="A supply, or a medicine that needs no prescription.")
    quantity: int = strawberry.field(description="How many units.")
    patient_id: strawberry.ID | None = strawberry.field(
        default=None, description="To whom; nobody for what the clinic uses itself."
    )
    lot_id: strawberry.ID | None = strawberry.field(
        default=None, description="From which lot; else what expires first."
    )
    note: str | None = strawberry.field(default=None, description="What is to be noted.")
    idempotency_key: str | None = strawberry.field(default=None, description=_REPEATS)


@strawberry.input(description="What comes back of something that was handed out.")
class ReturnDispensedInput:
    dispensing_id: strawberry.ID = strawberry.field(description="What was handed out.")
    to_stock: bool = strawberry.field(
        description="Whether it may be handed out again: else it is returned and wasted in one."
    )
    reason: str = strawberry.field(description="Why.")
    quantity: int | None = strawberry.field(default=None, description="How many units; all that is out when left out.")
    lot_id: strawberry.ID | None = strawberry.field(
        default=None, description="Of which lot; else what was handed out last comes back first."
    )
    idempotency_key: str | None = strawberry.field(default=None, description=_REPEATS)


@strawberry.type
class DispensingQuery(Resolver):
    @field(Permission.DISPENSING_READ, description="Something that was handed out.")
    async def dispensing(self, info: Info, id: strawberry.ID) -> DispensingType:
        return await self.one(info, DispensingType, id)

    @field(Permission.DISPENSING_READ, description="What was handed out, the latest first.")
    async def dispensings(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: DispensingFilter | None = None
    ) -> Connection[DispensingType]:
        chosen = filter or DispensingFilter()
        named = ids(given(chosen), "patient_id", "prescription_id", "item_id", at="filter")
        equal = {name: named.get(name) for name in ("patient_id", "prescription_id", "item_id")}
        where = listed("dispensed_at", start=chosen.from_, end=chosen.to, equal=equal)
        return await self.page(info, DispensingType, where=where, sort=LATEST, first=first, after=after)


@strawberry.type
class DispensingMutation(Resolver):
    @field(
        Permission.DISPENSING_WRITE,
        description="Hands out of a prescription, what expires first first. `OUT_OF_STOCK` names what there is.",
    )
    async def dispense_medicine(self, input: DispenseMedicineInput) -> DispensingType:
        values = ids(given(input), "prescription_id", "item_id", "lot_id")
        key = values.pop("idempotency_key", None)
        return shown(await dispensing.dispense(values, key=key))

    @field(
        Permission.DISPENSING_WRITE,
        description="Hands out a supply, or a medicine over the counter. `OUT_OF_STOCK` names what there is.",
    )
    async def dispense_without_prescription(self, input: DispenseWithoutPrescriptionInput) -> DispensingType:
        values = ids(given(input), "item_id", "patient_id", "lot_id")
        key = values.pop("idempotency_key", None)
        return shown(await dispensing.dispense_without_prescription(values, key=key))

    @field(
        Permission.DISPENSING_WRITE,
        description="Takes back of what was handed out, to the stock or to the waste; it may be handed out again.",
    )
    async def return_dispensed(self, input: ReturnDispensedInput) -> DispensingType:
        values = ids(given(input), "dispensing_id", "lot_id")
        key = values.pop("idempotency_key", None)
        return shown(await returning.give_back(values, key=key))
