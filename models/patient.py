"""A patient, whom several clinics may share, and the record that each clinic keeps of its own."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Self

from beanie import PydanticObjectId
from pydantic import AfterValidator, Field, StringConstraints
from pymongo import ASCENDING, IndexModel

from app.tenancy.kinds import ARCHIVED_FIELD
from app.tenancy.sealing import Sealed, compact
from models.base import SharedDocument, TenantDocument, Versioned
from models.phones import phone_key
from models.references import ANY_ID, Reference
from models.values import Address, Day, Email, Line, Phone, Text, Value, now, search_key


class Sex(StrEnum):
    """Administrative sex, as in HL7 FHIR's AdministrativeGender."""

    FEMALE = "female"
    MALE = "male"
    OTHER = "other"
    UNKNOWN = "unknown"


def _past_day(text: str) -> str:
    day = date.fromisoformat(text)
    if not date(1880, 1, 1) <= day <= now().date() + timedelta(days=1):
        raise ValueError("must be a day between 1880-01-01 and today")
    return day.isoformat()


BirthDate = Annotated[Day, AfterValidator(_past_day)]
"""A day from 1880 until today."""


class Contact(Value):
    """Somebody to call for the patient."""

    name: Line
    relationship: Line | None = None
    phone: Phone


class Allergy(Value):
    """What the patient reacts to, and how."""

    substance: Line
    reaction: Line | None = None
    severe: bool = False


class Patient(Versioned, SharedDocument):
    """Demographics, shared by the clinics that the patient goes to.

    Which clinics those are is kept by the guard and shown to none of them. The `*_key` fields are normalised
    for search.
    """

    given_name: Line
    family_name: Line
    name_key: str = ""
    given_key: str = ""
    birth_date: BirthDate | None = None
    sex: Sex = Sex.UNKNOWN
    phone: Phone | None = None
    phone_key: str | None = None
    email: Email | None = None
    address: Address = Field(default_factory=Address)
    contacts: list[Contact] = Field(default_factory=list, max_length=10)
    allergies: list[Allergy] = Field(default_factory=list, max_length=100)

    class Settings:
        name = "patients"
        indexes = (
            IndexModel([("tenant_ids", ASCENDING), ("name_key", ASCENDING), ("_id", ASCENDING)], name="name"),
            IndexModel([("tenant_ids", ASCENDING), ("given_key", ASCENDING), ("_id", ASCENDING)], name="given"),
            IndexModel([("tenant_ids", ASCENDING), ("phone_key", ASCENDING), ("_id", ASCENDING)], name="phone"),
            IndexModel([("tenant_ids", ASCENDING), ("email", ASCENDING), ("_id", ASCENDING)], name="email"),
            IndexModel([("tenant_ids", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)], name="created"),
            IndexModel(
                [("tenant_ids", ASCENDING), ("birth_date", ASCENDING), ("name_key", ASCENDING), ("_id", ASCENDING)],
                name="birth_name",
            ),
            IndexModel(
                [(ARCHIVED_FIELD, ASCENDING), ("name_key", ASCENDING), ("_id", ASCENDING)],
                name="archived_name",
                partialFilterExpression={ARCHIVED_FIELD: ANY_ID},
            ),
        )

    def keyed(self, region: str | None = None) -> Self:
        """Fills the search keys from the names and the phone; `region` is the clinic's ISO 3166 country."""
        self.name_key = search_key(self.family_name, self.given_name)
        self.given_key = search_key(self.given_name, self.family_name)
        self.phone_key = phone_key(self.phone, region)
        return self


def _card_number(text: str) -> str:
    if len(compact(text)) < LEAST_IN_NUMBER:
        raise ValueError(f"must have at least {LEAST_IN_NUMBER} letters or digits")
    return text


LEAST_IN_NUMBER = 4
CardNumber = Annotated[Line, StringConstraints(max_length=64), AfterValidator(_card_number)]
"""A number as it stands on somebody's card: found however its signs, blanks and case are written."""


class RecordStatus(StrEnum):
    """Whether the clinic still sees the patient."""

    ACTIVE = "active"
    ARCHIVED = "archived"


class PatientRecord(Versioned, TenantDocument):
    """What one clinic keeps of a patient: its own code (medical record number), numbers, notes and status.

    The numbers of cards are here and not on the shared patient, because one clinic's key can seal only its own.
    """

    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    code: str
    external_id: Annotated[Line, StringConstraints(max_length=100)] | None = None
    """By which the system that the patient came from knows them."""
    national_id: Annotated[CardNumber | None, Sealed(blind="national_id_index")] = None
    insurer: Line | None = None
    insurance_number: Annotated[CardNumber | None, Sealed(blind="insurance_number_index")] = None
    notes: Annotated[Text | None, Sealed()] = None
    status: RecordStatus = RecordStatus.ACTIVE
    archived_at: datetime | None = None

    class Settings:
        name = "patient_records"
        indexes = (
            IndexModel([("tenant_id", ASCENDING), ("patient_id", ASCENDING)], name="patient", unique=True),
            IndexModel([("tenant_id", ASCENDING), ("code", ASCENDING)], name="code", unique=True),
            IndexModel(
                [("tenant_id", ASCENDING), ("external_id", ASCENDING)],
                name="external_id",
                unique=True,
                partialFilterExpression={"external_id": {"$gt": ""}},
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("national_id_index", ASCENDING)],
                name="national_id",
                partialFilterExpression={"national_id_index": {"$exists": True}},
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("insurance_number_index", ASCENDING)],
                name="insurance_number",
                partialFilterExpression={"insurance_number_index": {"$exists": True}},
            ),
        )
