"""Files of patients that a clinic took in."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from models.base import TenantDocument
from models.values import Line, now


class PatientImport(TenantDocument):
    """One import: from which file, by whom, how far it is and what came of it. Counts and line numbers, no values.

    One that has not ended was interrupted; importing the same file goes on with it.
    """

    file_name: Line
    digest: str
    """SHA-256 of the file, in hex."""
    actor: str
    started_at: datetime = Field(default_factory=now)
    ended_at: datetime | None = None
    line: int = 0
    """Up to this line all is done."""
    imported: int = 0
    known: int = 0
    """Lines whose patient was imported before, by their external id."""
    duplicates: int = 0
    """Lines that may be of a patient whom the clinic has; imported or not, as was asked for."""
    refused: int = 0
    """Lines that were wrong."""

    class Settings:
        name = "patient_imports"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("digest", ASCENDING)],
                name="one_under_way",
                unique=True,
                partialFilterExpression={"ended_at": None},
            ),
            IndexModel([("tenant_id", ASCENDING), ("started_at", DESCENDING), ("_id", DESCENDING)], name="started"),
        )
