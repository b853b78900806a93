"""Documents from before there were clinics: what stays apart until somebody says whose it is, and the runs that ask."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from models.base import PlatformDocument
from models.references import PlatformReference, WhenGone
from models.values import now


class LegacyDocument(PlatformDocument):
    """One document that was taken out of its collection, byte for byte. Servers have no use for it, and no right to."""

    collection: str
    content: bytes = Field(repr=False)
    """The document as BSON, as it was stored."""
    reason: str
    """Why it is here: field names and rules, never values."""
    clinic_id: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.DELETE)] | None = None
    """Whose it would be, if that is known and only something else is in the way."""
    run_id: Annotated[PydanticObjectId, PlatformReference("legacy_runs", WhenGone.KEEP)]
    taken_at: datetime = Field(default_factory=now)

    class Settings:
        name = "legacy_quarantine"
        indexes = (
            IndexModel([("collection", ASCENDING), ("_id", ASCENDING)], name="collection"),
            IndexModel([("clinic_id", ASCENDING)], name="clinic"),
        )


class LegacyRun(PlatformDocument):
    """One migration. One that has not ended was interrupted, and the next one goes on with it."""

    actor: str
    reason: str
    started_at: datetime = Field(default_factory=now)
    ended_at: datetime | None = None
    clinic_ids: Annotated[list[PydanticObjectId], PlatformReference("tenants", WhenGone.PULL)] = Field(
        default_factory=list
    )
    """The clinics to which it gave documents."""
    taken: dict[str, int] = Field(default_factory=dict)
    """Documents taken out, per collection."""
    assigned: dict[str, int] = Field(default_factory=dict)
    """Documents given to clinics, per collection."""
    restored: dict[str, int] = Field(default_factory=dict)
    """Documents put back as they were, per collection."""

    class Settings:
        name = "legacy_runs"
        indexes = (
            IndexModel(
                [("ended_at", ASCENDING)],
                name="one_under_way",
                unique=True,
                partialFilterExpression={"ended_at": None},
            ),
            IndexModel([("started_at", DESCENDING)], name="started"),
        )
