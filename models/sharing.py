"""How a patient becomes another clinic's too, what is read across, and what was changed by whom."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.base import PlatformDocument, TenantDocument, Versioned
from models.consent import Categories, SharePurpose, Wording
from models.patient import Allergy, BirthDate, Contact, Sex
from models.references import PlatformReference, Reference, WhenGone
from models.values import Address, Email, Line, Phone, Value, now


class ShareCodeState(StrEnum):
    """What became of a share code. One that nobody redeemed in time is open still, and opens nothing."""

    OPEN = "open"
    USED = "used"
    REVOKED = "revoked"


class ShareCode(Versioned, TenantDocument):
    """A one-time code of the giving clinic, and what the clinic that redeemed it may see from then on.

    The code itself is not stored; its hash lies with the `ShareRoute`. `receiver_mark` tells the clinic that redeemed
    it without naming it; `receiver_name` is what this clinic is told of it.
    """

    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    consent_id: Annotated[PydanticObjectId, Reference("consents")]
    categories: Categories
    purpose: SharePurpose
    until: datetime
    """When the other clinic's access ends."""
    expires_at: datetime
    """Until when the code can be redeemed."""
    state: ShareCodeState = ShareCodeState.OPEN
    used_at: datetime | None = None
    receiver_name: Line | None = None
    receiver_mark: str | None = Field(default=None, repr=False)
    known_as: str | None = Field(default=None, repr=False)
    """The id by which the other clinic knows the patient, where this one has merged that file into another."""
    created_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None

    class Settings:
        name = "share_codes"
        indexes = (
            IndexModel([("tenant_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)], name="created"),
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)],
                name="patient",
            ),
            IndexModel([("tenant_id", ASCENDING), ("consent_id", ASCENDING)], name="consent"),
        )


class ShareRoute(PlatformDocument):
    """The way from a code, and later from the clinic that redeemed it, to the clinic that gave it.

    It lies above the clinics, because who redeems a code must find a clinic that they do not know. It holds nothing
    of the patient. `tries` counts redemptions that were attempted.
    """

    id: str  # type: ignore[assignment]  # a random name of its own, not an ObjectId
    giver_id: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.DELETE)]
    share_code_id: Annotated[PydanticObjectId, Reference("share_codes")]
    code_hash: str | None = Field(default=None, repr=False)
    """SHA-256 of the code, in hex, until it is redeemed."""
    tries: int = 0
    expires_at: datetime | None = None
    """When an unused one goes by itself; none once it was redeemed."""

    class Settings:
        name = "share_routes"
        indexes = (
            IndexModel(
                [("code_hash", ASCENDING)],
                name="code",
                unique=True,
                partialFilterExpression={"code_hash": {"$gt": ""}},
            ),
            IndexModel([("giver_id", ASCENDING), ("share_code_id", ASCENDING)], name="share_code"),
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),
        )


class ReceivedShare(TenantDocument):
    """What the receiving clinic knows of a share: from whom, and what it was told that it may see.

    Whether it still may is for the giving clinic's consent to say, at each read.
    """

    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    route: str = Field(repr=False)
    """The `ShareRoute` by which the giving clinic is found."""
    known_as: str | None = Field(default=None, repr=False)
    """The id by which the giving clinic knows the patient, where this one has merged that file into another."""
    giver_name: Line
    categories: Categories
    purpose: SharePurpose
    until: datetime
    received_at: datetime = Field(default_factory=now)
    received_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None

    class Settings:
        name = "received_shares"
        indexes = (
            IndexModel([("tenant_id", ASCENDING), ("route", ASCENDING)], name="route", unique=True),
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING), ("received_at", DESCENDING), ("_id", DESCENDING)],
                name="patient",
            ),
        )


class BreakGlassReason(StrEnum):
    """Why somebody looked without being asked."""

    LIFE_THREATENING = "life_threatening"
    UNCONSCIOUS = "unconscious"
    URGENT_TREATMENT = "urgent_treatment"
    PUBLIC_HEALTH = "public_health"
    LEGAL_DUTY = "legal_duty"


class BreakGlassSide(StrEnum):
    """Whose glass: opened by somebody of this clinic, or onto this clinic's records."""

    OPENED_HERE = "opened_here"
    OPENED_ELSEWHERE = "opened_elsewhere"


class ReviewOutcome(StrEnum):
    """What the reviewer found."""

    JUSTIFIED = "justified"
    UNJUSTIFIED = "unjustified"
    UNCLEAR = "unclear"


class BreakGlass(Versioned, TenantDocument):
    """Emergency access: one person, one patient, some categories, an hour at most.

    The clinic that opened it has one document and each clinic whose records it opened another; `event` is the same in
    all of them. Access needs both to be live: each side can end it alone, and each reviews its own.
    """

    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    event: str = Field(repr=False)
    side: BreakGlassSide = BreakGlassSide.OPENED_HERE
    user_id: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    person_name: Line
    clinic_name: Line
    """The clinic at which it was opened."""
    reason: BreakGlassReason
    note: Annotated[Wording, Sealed()]
    categories: Categories
    opened_at: datetime = Field(default_factory=now)
    ends_at: datetime
    ended_at: datetime | None = None
    """When it was ended before its time."""
    outcome: ReviewOutcome | None = None
    review_note: Annotated[Wording | None, Sealed()] = None
    reviewed_at: datetime | None = None
    reviewed_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None

    class Settings:
        name = "break_glass"
        indexes = (
            IndexModel([("tenant_id", ASCENDING), ("event", ASCENDING)], name="event", unique=True),
            IndexModel([("tenant_id", ASCENDING), ("opened_at", DESCENDING), ("_id", DESCENDING)], name="opened"),
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING), ("opened_at", DESCENDING), ("_id", DESCENDING)],
                name="patient",
            ),
        )


class DemographicsBefore(Value):
    """What the demographics that a change touched were before it."""

    given_name: Line | None = None
    family_name: Line | None = None
    birth_date: BirthDate | None = None
    sex: Sex | None = None
    phone: Phone | None = None
    email: Email | None = None
    address: Address | None = None
    contacts: list[Contact] | None = None
    allergies: list[Allergy] | None = None


class PatientVersion(TenantDocument):
    """One change of a patient's demographics, as this clinic may know it.

    The clinic that made the change has one with the person; each clinic that shares the patient has a copy that tells
    what was changed and when, and that it was another clinic.
    """

    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    patient_version: int
    """The version that the change made."""
    at: datetime = Field(default_factory=now)
    elsewhere: bool = False
    user_id: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    person_name: Line | None = None
    fields: list[str]
    """The columns that were changed."""
    before: DemographicsBefore

    class Settings:
        name = "patient_versions"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING), ("at", DESCENDING), ("_id", DESCENDING)],
                name="patient",
            ),
        )
