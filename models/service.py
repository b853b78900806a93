"""What the clinic offers, how long it takes and what it costs."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, ClassVar

from beanie import DecimalAnnotation, PydanticObjectId
from pydantic import AfterValidator, Field
from pymongo import ASCENDING, IndexModel

from models.base import TenantDocument, Versioned
from models.named import BY_NAME, ONE_PER_NAME
from models.references import Reference
from models.values import Currency, Line, Name, Text, Value


def _written_out(amount: Decimal) -> Decimal:
    """The same amount without an exponent or a sign: 1E+3 is 1000, and -0 is 0."""
    return abs(Decimal(f"{amount:f}"))


class Price(Value):
    """An amount in one currency (ISO 4217), stored as Decimal128."""

    amount: Annotated[
        DecimalAnnotation,
        Field(ge=Decimal(0), le=Decimal("1e9"), decimal_places=4),
        AfterValidator(_written_out),
    ]
    currency: Currency


class ServiceCategory(Versioned, TenantDocument):
    """A heading under which services stand in the catalogue."""

    remembered: ClassVar[bool] = True

    name: Name
    name_key: str
    description: Text | None = None
    archived_at: datetime | None = None

    class Settings:
        name = "service_categories"
        indexes = (BY_NAME, ONE_PER_NAME)


class Service(Versioned, TenantDocument):
    """An entry of the services catalogue. `duration_minutes` is a multiple of five."""

    remembered: ClassVar[bool] = True

    name: Name
    name_key: str
    code: Line | None = None
    description: Text | None = None
    duration_minutes: int = Field(ge=5, le=720, multiple_of=5)
    price: Price
    specialization_id: Annotated[PydanticObjectId, Reference("specializations")] | None = None
    category_id: Annotated[PydanticObjectId, Reference("service_categories")] | None = None
    archived_at: datetime | None = None

    class Settings:
        name = "services"
        indexes = (
            BY_NAME,
            ONE_PER_NAME,
            IndexModel(
                [("tenant_id", ASCENDING), ("category_id", ASCENDING), ("name_key", ASCENDING), ("_id", ASCENDING)],
                name="category_name",
            ),
        )
