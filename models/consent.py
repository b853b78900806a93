"""What patients agree to, in which words, and for how long."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

from beanie import PydanticObjectId
from pydantic import Field, StringConstraints, model_validator
from pymongo import ASCENDING, DESCENDING, IndexModel

from models.base import TenantDocument, Versioned
from models.named import BY_NAME, ONE_PER_NAME
from models.references import PlatformReference, Reference
from models.tenant import Language
from models.values import Line, Name, Subdomain, Text, Value, now

LONGEST = timedelta(days=3650)
"""No consent to share lasts longer; the patient is asked again."""


class ShareCategory(StrEnum):
    """A kind of data that a clinic may let another one see. Those without records have nothing to show."""

    DEMOGRAPHICS = "demographics"
    APPOINTMENTS = "appointments"
    NOTES = "notes"
    VISITS = "visits"
    LAB_RESULTS = "lab_results"
    PRESCRIPTIONS = "prescriptions"
    IMAGING = "imaging"
    PROCEDURES = "procedures"
    REFERRALS = "referrals"
    DOCUMENTS = "documents"


class SharePurpose(StrEnum):
    """What shared data may be used for."""

    TREATMENT = "treatment"
    REFERRAL = "referral"
    SECOND_OPINION = "second_opinion"
    CARE_COORDINATION = "care_coordination"
    CHANGE_OF_CLINIC = "change_of_clinic"


class ConsentMethod(StrEnum):
    """How the patient agreed."""

    PAPER = "paper"
    TABLET = "tablet"
    PORTAL = "portal"


class ConsentState(StrEnum):
    """Where a consent stands at this instant; computed, never stored."""

    NOT_YET = "not_yet"
    LIVE = "live"
    EXPIRED = "expired"
    REVOKED = "revoked"


class RevokedBy(StrEnum):
    """Who took a consent back."""

    PATIENT = "patient"
    CLINIC = "clinic"


def _each_once(categories: Iterable[ShareCategory]) -> list[ShareCategory]:
    wanted = set(categories)
    return [one for one in ShareCategory if one in wanted]


Categories = Annotated[list[ShareCategory], Field(min_length=1, max_length=50)]
Wording = Annotated[Text, StringConstraints(min_length=1)]
"""Free text that must say something, 1–5,000 characters."""


class LocalText(Value):
    """What the patient reads: the title and the text in one language."""

    title: Line
    text: Wording


class ConsentTemplate(Versioned, TenantDocument):
    """One edition of a form. What it says is never changed in place: a revision is a new document, and retires this.

    So each consent points to the very words that were agreed to.
    """

    name: Name
    name_key: str
    edition: int = Field(default=1, ge=1)
    en: LocalText
    es: LocalText | None = None
    categories: Categories
    purpose: SharePurpose
    valid_days: int = Field(default=365, ge=1, le=LONGEST.days)
    """How long a consent given on it lasts unless another end is agreed."""
    archived_at: datetime | None = None
    replaced_at: datetime | None = None
    """When a later edition took this one's place."""

    class Settings:
        name = "consent_templates"
        indexes = (BY_NAME, ONE_PER_NAME)

    @model_validator(mode="after")
    def _categories_once(self) -> Self:
        self.categories = _each_once(self.categories)
        return self


class Consent(Versioned, TenantDocument):
    """A patient's consent that this clinic lets another see the `categories`, for `purpose`, from when until when.

    `receiver` is the subdomain of the one clinic that it names; without it the clinic is the one where the patient
    redeems a share code. Whether it is live is judged at each read, never remembered.
    """

    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    consent_template_id: Annotated[PydanticObjectId, Reference("consent_templates")]
    edition: int = Field(default=1, ge=1)
    language: Language = Language.EN
    patient_name: Line
    """The patient's name when they agreed."""
    method: ConsentMethod
    witness_id: Annotated[PydanticObjectId, Reference("staff")] | None = None
    receiver: Subdomain | None = None
    categories: Categories
    purpose: SharePurpose
    valid_from: datetime = Field(default_factory=now)
    valid_until: datetime
    revoked_at: datetime | None = None
    revoked_by: RevokedBy | None = None
    revoke_reason: Line | None = None
    redemptions: int = 0
    """How many share codes given under it were redeemed."""
    recorded_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None

    class Settings:
        name = "consents"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)],
                name="patient",
            ),
            IndexModel([("tenant_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)], name="created"),
        )

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if not self.valid_from < self.valid_until <= self.valid_from + LONGEST:
            raise ValueError("a consent ends after it begins, and within ten years")
        self.categories = _each_once(self.categories)
        return self

    @staticmethod
    def live(moment: datetime) -> dict[str, Any]:
        """Filter: in force at that instant."""
        return {"revoked_at": None, "valid_from": {"$lte": moment}, "valid_until": {"$gt": moment}}
