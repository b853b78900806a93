"""What the schema shows of what was handed out."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.graphql.fields import related, row_type, stored
from app.graphql.paging import Connection
from app.graphql.related_pages import related_page
from app.permissions import Permission
from models import Dispensing
from resolvers.inventory_types import InventoryItemType, StockMovementType
from resolvers.staff import StaffType
from resolvers.values import day

if TYPE_CHECKING:
    from resolvers.patients import PatientType
    from resolvers.prescriptions import PrescriptionType


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


def _prescription_type() -> type:
    from resolvers.prescriptions import PrescriptionType

    return PrescriptionType


@row_type("DispensedLot", description="What of something that was handed out came from one lot.")
class DispensedLotType:
    lot: str | None = stored(description="The lot's number.")
    expires_on: date | None = day("expires_on", "The last day on which it may be used.")
    quantity: int = stored(description="How many units.")
    returned: int = stored(description="How many of them came back.")


@row_type(
    "Dispensing",
    model=Dispensing,
    read=Permission.DISPENSING_READ,
    description="Something that was handed out: to a patient, or for use at the clinic.",
)
class DispensingType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change.")
    name: str = stored(description="What, as it was called then.")
    unit: str = stored(description="What is counted.")
    quantity: int = stored(description="How many units.")
    returned: int = stored(description="How many of them came back.")
    lots: list[DispensedLotType] = stored(description="From which lots.")
    prescription_item: int | None = stored(description="By which item of the prescription.")
    note: str | None = stored(description="What whoever handed it out notes.")
    dispensed_at: datetime = stored(description="When.")
    dispensed_by: StaffType | None = related(
        lambda: StaffType, key="dispensed_by", foreign="user_id", description="Who, if they have a profile here."
    )
    item: InventoryItemType | None = related(
        lambda: InventoryItemType, key="item_id", description="The item of the stock. Needs `inventory:read`."
    )
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient; none for what the clinic used itself."
    )
    prescription: Annotated[PrescriptionType, strawberry.lazy("resolvers.prescriptions")] | None = related(
        _prescription_type, key="prescription_id", description="The prescription, if by one."
    )
    movements: Connection[StockMovementType] = related_page(
        lambda: StockMovementType,
        foreign="dispensing_id",
        sort=[("_id", 1)],
        description="What it moved in the stock, returns too. Needs `inventory:read`.",
    )
