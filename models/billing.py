"""What invoices, quotes and credit notes have in common: amounts, discounts and lines."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Self

from beanie import DecimalAnnotation, PydanticObjectId
from pydantic import AfterValidator, Field, model_validator
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.references import ANY_ID, Reference
from models.service import Price
from models.values import Line, Value

MAX_LINES = 100
LARGEST = Decimal("1e9")


def _written_out(number: Decimal) -> Decimal:
    """The same number without an exponent: 1E+3 is 1000."""
    return Decimal(f"{number:f}")


Amount = DecimalAnnotation
"""An amount in the currency of the document it stands in; whole minor units, which `models.money` sees to."""
Percent = Annotated[
    DecimalAnnotation, Field(ge=Decimal(0), le=Decimal(100), decimal_places=4), AfterValidator(_written_out)
]
Quantity = Annotated[
    DecimalAnnotation, Field(gt=Decimal(0), le=Decimal(10_000), decimal_places=3), AfterValidator(_written_out)
]


class Discount(Value):
    """Either a share of the price or an amount."""

    percent: Percent | None = None
    amount: (
        Annotated[DecimalAnnotation, Field(ge=Decimal(0), le=LARGEST, decimal_places=4), AfterValidator(_written_out)]
        | None
    ) = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.percent is None) is (self.amount is None):
            raise ValueError("must be either a percentage or an amount")
        return self


class AskedLine(Value):
    """A line as somebody asks for it. What is left out comes from the service."""

    service_id: Annotated[PydanticObjectId, Reference("services")] | None = None
    description: Line | None = None
    quantity: Quantity = Decimal(1)
    unit_price: Price | None = None
    discount: Discount | None = None
    tax_rate: Percent | None = None


class BillLine(Value):
    """A line with what it comes to; see `models.money.Sums`. `number` counts from 1."""

    number: int = Field(ge=1, le=MAX_LINES)
    service_id: Annotated[PydanticObjectId, Reference("services")] | None = None
    description: Annotated[Line, Sealed()]
    quantity: Quantity
    unit_price: Amount
    discount: Discount | None = None
    tax_rate: Percent
    gross: Amount
    discount_amount: Amount
    plan_discount: Amount
    shared_discount: Amount
    net: Amount
    tax: Amount
    total: Amount


def listed_by(time: str) -> tuple[IndexModel, ...]:
    """Indexes of documents that are listed by a time, the latest first: all of them, or those of one patient."""
    order = [(time, DESCENDING), ("_id", DESCENDING)]
    return (
        IndexModel([("tenant_id", ASCENDING), *order], name=time),
        IndexModel([("tenant_id", ASCENDING), ("patient_id", ASCENDING), *order], name=f"patient_{time}"),
    )


OF_VISIT = IndexModel(
    [("tenant_id", ASCENDING), ("visit_id", ASCENDING), ("dated_at", DESCENDING), ("_id", DESCENDING)],
    name="visit_dated_at",
    partialFilterExpression={"visit_id": ANY_ID},
)
"""What was billed for a visit, the latest first."""
