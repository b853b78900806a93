"""The people who work at a clinic, and what they specialise in."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, IndexModel

from models.base import TenantDocument, Versioned
from models.named import BY_NAME, ONE_PER_NAME
from models.references import ANY_ID, PlatformReference, Reference
from models.values import Email, Line, Name, Phone, Text


class StaffKind(StrEnum):
    """What somebody does at the clinic; their rights come from their role, not from this."""

    ADMIN = "admin"
    DOCTOR = "doctor"
    NURSE = "nurse"
    PHARMACIST = "pharmacist"
    RECEPTIONIST = "receptionist"
    ACCOUNTANT = "accountant"
    MEDICAL_REPRESENTATIVE = "medical_representative"
    OTHER = "other"


class Staff(Versioned, TenantDocument):
    """One staff profile. `user_id` is the person behind it, once they have an account.

    `name_key` is the normalised name, for search and order.
    """

    remembered: ClassVar[bool] = True

    kind: StaffKind
    name: Name
    name_key: str
    user_id: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    email: Email | None = None
    phone: Phone | None = None
    title: Line | None = None
    license_number: Line | None = None
    bio: Text | None = None
    specialization_ids: Annotated[list[PydanticObjectId], Reference("specializations")] = Field(
        default_factory=list, max_length=20
    )
    archived_at: datetime | None = None

    class Settings:
        name = "staff"
        indexes = (
            BY_NAME,
            IndexModel(
                [("tenant_id", ASCENDING), ("kind", ASCENDING), ("name_key", ASCENDING), ("_id", ASCENDING)],
                name="kind_name",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("user_id", ASCENDING)],
                name="user",
                unique=True,
                partialFilterExpression={"user_id": ANY_ID},
            ),
        )

    @property
    def person(self) -> str:
        """The key under which this person's time is claimed: the same at every clinic they work at."""
        return str(self.user_id or self.id)


class Specialization(Versioned, TenantDocument):
    """A field of medicine that the clinic offers."""

    remembered: ClassVar[bool] = True

    name: Name
    name_key: str
    description: Text | None = None
    archived_at: datetime | None = None

    class Settings:
        name = "specializations"
        indexes = (BY_NAME, ONE_PER_NAME)
