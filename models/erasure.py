"""The erasure of a patient at a clinic: what went, what the law still holds, and the proof that stays."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from models.base import TenantDocument, Versioned
from models.references import PlatformReference, Reference


class ErasureBasis(StrEnum):
    """Why a patient was erased: the grounds of GDPR, article 17 (1)."""

    NO_LONGER_NEEDED = "no_longer_needed"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    OBJECTION = "objection"
    UNLAWFUL = "unlawful"
    LEGAL_OBLIGATION = "legal_obligation"


class ErasureStatus(StrEnum):
    """Whether the law still has the clinic keep something."""

    COMPLETE = "complete"
    PARTIAL = "partial"


class Erasure(Versioned, TenantDocument):
    """One patient's erasure. Once complete, nothing here tells who it was: `digest` only shows whether a given id was.

    `digest` is the SHA-256 of clinic id and patient id, in hex.
    """

    digest: str
    patient_id: Annotated[PydanticObjectId, Reference("patients")] | None = None
    """The patient of whom something is still held; none once the erasure is complete."""
    former_digests: list[str] = Field(default_factory=list)
    """The same digests of the ids under which the patient was known here before files were merged."""
    basis: ErasureBasis
    status: ErasureStatus
    requested_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    erased: dict[str, int] = Field(default_factory=dict)
    """Documents per collection."""
    retained: dict[str, int] = Field(default_factory=dict)
    retained_until: datetime | None = None
    completed_at: datetime | None = None
    noted_at: datetime | None = None
    """When it was noted apart from the database, for the time after a restore."""

    class Settings:
        name = "erasures"
        indexes = (
            IndexModel([("tenant_id", ASCENDING), ("digest", ASCENDING)], name="digest", unique=True),
            IndexModel([("tenant_id", ASCENDING), ("status", ASCENDING), ("retained_until", ASCENDING)], name="due"),
            IndexModel([("tenant_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)], name="created"),
        )
