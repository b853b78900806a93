"""Plans that a clinic sells to its patients, and who has one."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from beanie import PydanticObjectId
from pydantic import Field, model_validator
from pymongo import ASCENDING, DESCENDING, IndexModel

from models.base import TenantDocument, Versioned
from models.billing import Percent
from models.named import BY_NAME, ONE_PER_NAME
from models.references import PlatformReference, Reference
from models.service import Price
from models.states import Staged, Transitions
from models.values import Day, Name, Text, Value, now

MAX_RULES = 50
MAX_PERIODS = 500


class PlanDiscount(Value):
    """A percentage off one service, off all services of a field of medicine, or off everything."""

    service_id: Annotated[PydanticObjectId, Reference("services")] | None = None
    specialization_id: Annotated[PydanticObjectId, Reference("specializations")] | None = None
    percent: Percent

    @model_validator(mode="after")
    def _one_at_most(self) -> Self:
        if self.service_id is not None and self.specialization_id is not None:
            raise ValueError("must be for a service or for a field of medicine, not for both")
        return self


class IncludedService(Value):
    """A service that costs nothing, so many times in a period."""

    service_id: Annotated[PydanticObjectId, Reference("services")]
    count: int = Field(ge=1, le=1_000)


class MembershipPlan(Versioned, TenantDocument):
    """What a patient may buy: a price for a period, and what it gives."""

    name: Name
    name_key: str
    description: Text | None = None
    price: Price
    tax_rate: Percent = Decimal(0)
    period_months: int = Field(ge=1, le=60)
    discounts: list[PlanDiscount] = Field(default_factory=list, max_length=MAX_RULES)
    included: list[IncludedService] = Field(default_factory=list, max_length=MAX_RULES)
    archived_at: datetime | None = None

    class Settings:
        name = "membership_plans"
        indexes = (BY_NAME, ONE_PER_NAME)


class MembershipState(StrEnum):
    """The states of a membership. An active one gives what its plan says within its period."""

    ACTIVE = "active"
    CANCELLED = "cancelled"


_S = MembershipState
TRANSITIONS: Transitions = {_S.ACTIVE: frozenset({_S.CANCELLED}), _S.CANCELLED: frozenset()}


class Usage(Value):
    """How often an included service was used in the period that began on the day `since`."""

    service_id: Annotated[PydanticObjectId, Reference("services")]
    since: Day
    used: int = Field(ge=0)


class Period(Value):
    """A span that was paid for, and who sold it."""

    starts_on: Day
    ends_on: Day
    at: datetime = Field(default_factory=now)
    by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None


class PatientMembership(Staged, TenantDocument):
    """A patient's membership from `starts_on` to `ends_on`, both included. A renewal adds a period; each period counts
    its included services for itself."""

    transitions: ClassVar[Transitions] = TRANSITIONS

    status: MembershipState = MembershipState.ACTIVE
    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    plan_id: Annotated[PydanticObjectId, Reference("membership_plans")]
    starts_on: Day
    ends_on: Day
    usage: list[Usage] = Field(default_factory=list, max_length=2 * MAX_RULES)
    periods: list[Period] = Field(default_factory=list, max_length=MAX_PERIODS)
    """The latest one last; one at most is still to come."""
    created_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None

    class Settings:
        name = "patient_memberships"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING)],
                name="one_active",
                unique=True,
                partialFilterExpression={"status": "active"},
            ),
            IndexModel([("tenant_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)], name="created_at"),
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)],
                name="patient_created_at",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("status", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)],
                name="status_created_at",
            ),
        )
