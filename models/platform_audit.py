"""What was done across clinics, by whom and why."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from models.base import PlatformDocument
from models.references import PlatformReference, WhenGone
from models.values import now


class PlatformAudit(PlatformDocument):
    """One step above the clinics. Written before the step, and never changed."""

    at: datetime = Field(default_factory=now)
    actor: str
    action: str
    reason: str
    tenant: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.KEEP)] | None = None
    subject: str | None = None
    """What was acted on beside a clinic, as `collection/id`."""
    request_id: str
    address: str = ""

    class Settings:
        name = "platform_audit"
        indexes = (
            IndexModel([("at", DESCENDING), ("_id", DESCENDING)], name="at"),
            IndexModel([("tenant", ASCENDING), ("at", DESCENDING)], name="tenant"),
            IndexModel([("actor", ASCENDING), ("at", DESCENDING)], name="actor"),
            IndexModel([("action", ASCENDING), ("at", DESCENDING)], name="action"),
        )
