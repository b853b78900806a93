"""The clinic's own rules for booking and numbering; one document per clinic."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints
from pymongo import ASCENDING, IndexModel

from models.base import TenantDocument, Versioned

CodePrefix = Annotated[
    str, StringConstraints(strip_whitespace=True, to_upper=True, pattern=r"^[A-Za-z][A-Za-z0-9]{0,5}$")
]


class Settings(Versioned, TenantDocument):
    """How this clinic books and numbers. Time zone, currency and looks are the tenant's (`Tenant.settings`)."""

    slot_minutes: int = Field(default=15, ge=5, le=240, multiple_of=5)
    booking_horizon_days: int = Field(default=180, ge=1, le=730)
    patient_code_prefix: CodePrefix = "P"

    class Settings:
        name = "settings"
        indexes = (IndexModel([("tenant_id", ASCENDING)], name="one_per_tenant", unique=True),)


class Counter(TenantDocument):
    """A running number of one clinic, for instance of patient codes. Numbers are never given out twice."""

    name: str
    value: int = 0

    class Settings:
        name = "counters"
        indexes = (IndexModel([("tenant_id", ASCENDING), ("name", ASCENDING)], name="name", unique=True),)
