"""Who did what at a clinic."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from models.base import TenantDocument
from models.references import PlatformReference
from models.values import now


class AuditEntry(TenantDocument):
    """One act: who, what, on which document, from where, in which request. Never any values of the document."""

    at: datetime = Field(default_factory=now)
    user_id: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    action: str
    subject: str | None = None
    """`collection/id` of the document acted on."""
    request_id: str
    address: str = ""

    class Settings:
        name = "audit_entries"
        indexes = (IndexModel([("tenant_id", ASCENDING), ("at", DESCENDING), ("_id", DESCENDING)], name="at"),)
