"""Those who run the system, and the timed entries by which they are at a clinic without working there."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.permissions import PlatformRole
from models.base import PlatformDocument, Versioned
from models.references import PlatformReference, WhenGone
from models.values import Name, Reason, now


class Operator(Versioned, PlatformDocument):
    """Somebody who runs the system, and as what. Taken away by deleting it; the platform's audit keeps what was."""

    user_id: Annotated[PydanticObjectId, PlatformReference("users", WhenGone.HOLD)]
    role: PlatformRole

    class Settings:
        name = "operators"
        indexes = (
            IndexModel([("user_id", ASCENDING)], name="user", unique=True),
            IndexModel([("role", ASCENDING), ("_id", ASCENDING)], name="role"),
            IndexModel([("created_at", DESCENDING), ("_id", DESCENDING)], name="created_at"),
        )


class OperatorEntry(PlatformDocument):
    """One operator at one clinic, in one session, for a reason and a time. The clinic sees all of it."""

    user_id: Annotated[PydanticObjectId, PlatformReference("users", WhenGone.KEEP)]
    operator_name: Name
    """The name at that time: the clinic's record outlives the operator's account."""
    session_id: str = Field(repr=False)
    clinic_id: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.DELETE)]
    reason: Reason
    patient_data: bool = False
    """Whether patients' demographics and appointments may be read, beside how the clinic is set up."""
    started_at: datetime = Field(default_factory=now)
    until: datetime
    ended_at: datetime | None = None
    """When it was ended before its time."""
    address: str = ""

    class Settings:
        name = "operator_entries"
        indexes = (
            IndexModel(
                [("session_id", ASCENDING), ("clinic_id", ASCENDING)],
                name="open",
                unique=True,
                partialFilterExpression={"ended_at": None},
            ),
            IndexModel([("clinic_id", ASCENDING), ("started_at", DESCENDING), ("_id", DESCENDING)], name="clinic"),
            IndexModel([("user_id", ASCENDING), ("started_at", DESCENDING)], name="user"),
        )
