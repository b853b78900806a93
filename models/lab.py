"""Laboratories that report to a clinic: the connection, the inbox of what they sent, and the results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Self

from beanie import PydanticObjectId
from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.base import PlatformDocument, TenantDocument, Versioned
from models.patient import BirthDate
from models.references import ANY_ID, PlatformReference, Reference, WhenGone
from models.values import Line, Text, Value, now

MAX_OBSERVATIONS = 500


def _instant(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("must say its offset from UTC")
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _loinc(code: str) -> str:
    """The digit after the hyphen is Luhn's over those before it (LOINC Users' Guide, "Check digit")."""
    digits = [int(char) for char in reversed(code.partition("-")[0])]
    doubled = (digit * 2 if at % 2 == 0 else digit for at, digit in enumerate(digits))
    if -sum(digit // 10 + digit % 10 for digit in doubled) % 10 != int(code[-1]):
        raise ValueError("is not a LOINC code: its check digit is wrong")
    return code


Instant = Annotated[datetime, AfterValidator(_instant)]
"""A moment with its offset, kept in UTC to the millisecond."""
Loinc = Annotated[str, StringConstraints(pattern=r"^\d{1,7}-\d$"), AfterValidator(_loinc)]
Identifier = Annotated[Line, StringConstraints(max_length=100)]
"""A name that the laboratory gives to something of its own."""


class ResultFlag(StrEnum):
    """How a value lies to what is usual, as HL7 v2's table 0078 tells apart."""

    NORMAL = "normal"
    LOW = "low"
    HIGH = "high"
    CRITICAL_LOW = "critical_low"
    CRITICAL_HIGH = "critical_high"
    ABNORMAL = "abnormal"


def is_abnormal(flags: Iterable[ResultFlag | None]) -> bool:
    """Whether any of these values is other than normal; one without a flag is not known to be."""
    return any(flag is not None and flag != ResultFlag.NORMAL for flag in flags)


class Observation(Value):
    """One measured value, as the laboratory writes it: text, so that no digit is lost."""

    loinc: Loinc | None = None
    name: Line
    value: Annotated[Text, StringConstraints(min_length=1, max_length=1_000)]
    unit: Annotated[Line, StringConstraints(max_length=40)] | None = None
    reference_range: Annotated[Line, StringConstraints(max_length=100)] | None = None
    flag: ResultFlag | None = None
    comment: Text | None = None


class LabPanel(Value):
    """What was ordered together."""

    loinc: Loinc | None = None
    name: Line


class ReportedPatient(Value):
    """Whom a report is about, by the clinic's own code; the day of birth guards against a mistyped one."""

    code: Identifier
    birth_date: BirthDate | None = None


class LabReport(Value):
    """What a laboratory says. `accession` is its own number of the sample; `version` grows with each correction."""

    patient: ReportedPatient
    accession: Identifier
    version: int = Field(ge=1, le=1_000)
    order_number: Identifier | None = None
    panel: LabPanel
    performed_at: Instant
    reported_at: Instant
    comment: Text | None = None
    observations: list[Observation] = Field(min_length=1, max_length=MAX_OBSERVATIONS)

    @model_validator(mode="after")
    def _reported_after_it_was_performed(self) -> Self:
        if self.reported_at < self.performed_at:
            raise ValueError("a report cannot be older than what it reports")
        return self


class LabConnection(Versioned, TenantDocument):
    """A laboratory that may deliver to this clinic, and the secret that it signs with.

    After a rotation the former secret counts as well until `previous_until`.
    """

    name: Line
    key_id: str
    secret: Annotated[str, Sealed()] = Field(repr=False)
    previous_secret: Annotated[str | None, Sealed()] = Field(default=None, repr=False)
    previous_until: datetime | None = None
    disabled_at: datetime | None = None

    class Settings:
        name = "lab_connections"
        indexes = (
            IndexModel([("tenant_id", ASCENDING), ("key_id", ASCENDING)], name="key", unique=True),
            IndexModel([("tenant_id", ASCENDING), ("created_at", ASCENDING), ("_id", ASCENDING)], name="created"),
        )


class LabDelivery(PlatformDocument):
    """One signed request: its nonce counts once. Until it is `settled`, something that it brought may lie unhandled.

    It is written before the message, above the clinics, so that one look finds the clinics where a process died.
    """

    id: str  # type: ignore[assignment]  # connection and nonce
    clinic_id: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.DELETE)]
    received_at: datetime = Field(default_factory=now)
    settled: bool = False
    expires_at: datetime

    class Settings:
        name = "lab_deliveries"
        indexes = (
            IndexModel([("settled", ASCENDING), ("received_at", ASCENDING)], name="unsettled"),
            IndexModel([("clinic_id", ASCENDING), ("settled", ASCENDING)], name="clinic"),
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),
        )


class MessageStatus(StrEnum):
    """Where a message stands. Quarantined ones wait for a person; they have written nothing to any patient."""

    QUARANTINED = "quarantined"
    WAITING = "waiting"
    HANDLED = "handled"
    DISCARDED = "discarded"


class QuarantineReason(StrEnum):
    """Why a message waits for a person."""

    UNKNOWN_PATIENT = "unknown_patient"
    BIRTH_DATE_DIFFERS = "birth_date_differs"
    OTHER_PATIENT = "other_patient"
    """A correction names another patient than what it corrects."""
    VERSION_TAKEN = "version_taken"
    """This version of the report came before, with another content."""
    ORDER_DIFFERS = "order_differs"
    """It names an order of another patient."""
    NOT_HANDLED = "not_handled"
    """It was tried too often without success."""


class LabMessage(Versioned, TenantDocument):
    """One report in the inbox, stored before anything is done with it. `event_id` is the laboratory's, and counts once.

    The content goes some time after the message is settled; the event stays known.
    """

    connection_id: Annotated[PydanticObjectId, Reference("lab_connections")]
    event_id: Identifier
    status: MessageStatus
    report: Annotated[LabReport | None, Sealed()] = None
    reason: QuarantineReason | None = None
    patient_id: Annotated[PydanticObjectId, Reference("patients")] | None = None
    """Whose it turned out to be."""
    tries: int = 0
    next_at: datetime = Field(default_factory=now)
    received_at: datetime = Field(default_factory=now)
    settled_at: datetime | None = None
    settled_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    discard_reason: Line | None = None

    class Settings:
        name = "lab_messages"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("connection_id", ASCENDING), ("event_id", ASCENDING)],
                name="event",
                unique=True,
            ),
            IndexModel([("tenant_id", ASCENDING), ("status", ASCENDING), ("next_at", ASCENDING)], name="due"),
            IndexModel(
                [("tenant_id", ASCENDING), ("status", ASCENDING), ("received_at", ASCENDING), ("_id", ASCENDING)],
                name="status_received",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING)],
                name="patient",
                partialFilterExpression={"patient_id": {"$exists": True}},
            ),
        )


class LabResultStatus(StrEnum):
    """The states of a result; patients see released ones alone. `NEXT` says which follows which."""

    RESULTED = "resulted"
    REVIEWED = "reviewed"
    RELEASED = "released"


NEXT: Mapping[LabResultStatus, LabResultStatus | None] = {
    LabResultStatus.RESULTED: LabResultStatus.REVIEWED,
    LabResultStatus.REVIEWED: LabResultStatus.RELEASED,
    LabResultStatus.RELEASED: None,
}


class LabStep(Value):
    """One step in a result's life, and who took it; nobody where the laboratory did."""

    at: datetime = Field(default_factory=now)
    by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    action: str
    status: LabResultStatus


class LabResult(Versioned, TenantDocument):
    """What a laboratory found for a patient. Of the reports on one sample the newest is `current`; the others stay."""

    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    connection_id: Annotated[PydanticObjectId, Reference("lab_connections")] | None = None
    lab_message_id: Annotated[PydanticObjectId, Reference("lab_messages")] | None = None
    accession: Identifier
    report_version: int = Field(default=1, ge=1)
    order_number: Identifier | None = None
    lab_order_id: Annotated[PydanticObjectId, Reference("lab_orders")] | None = None
    """The clinic's order of that number."""
    doctor_id: Annotated[PydanticObjectId, Reference("staff")] | None = None
    """Who ordered it, where it is known which order it is for."""
    panel: LabPanel
    observations: Annotated[list[Observation], Field(min_length=1, max_length=MAX_OBSERVATIONS), Sealed()]
    comment: Annotated[Text | None, Sealed()] = None
    performed_at: datetime
    reported_at: datetime
    received_at: datetime = Field(default_factory=now)
    status: LabResultStatus = LabResultStatus.RESULTED
    current: bool = True
    abnormal: bool | None = None
    """Whether any value is flagged as other than normal; follows from the observations. None where the result was
    stored before that was kept: such a one may be."""
    superseded_at: datetime | None = None
    history: list[LabStep] = Field(default_factory=list)

    @model_validator(mode="after")
    def _says_whether_abnormal(self) -> LabResult:
        self.__dict__["abnormal"] = is_abnormal(one.flag for one in self.observations)
        return self

    class Settings:
        name = "lab_results"
        indexes = (
            IndexModel(
                [
                    ("tenant_id", ASCENDING),
                    ("connection_id", ASCENDING),
                    ("accession", ASCENDING),
                    ("report_version", ASCENDING),
                ],
                name="report",
                unique=True,
                partialFilterExpression={"connection_id": ANY_ID},
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("connection_id", ASCENDING), ("accession", ASCENDING)],
                name="one_current",
                unique=True,
                partialFilterExpression={"connection_id": ANY_ID, "current": True},
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("lab_message_id", ASCENDING)],
                name="message",
                unique=True,
                partialFilterExpression={"lab_message_id": ANY_ID},
            ),
            IndexModel(
                [
                    ("tenant_id", ASCENDING),
                    ("patient_id", ASCENDING),
                    ("performed_at", DESCENDING),
                    ("_id", DESCENDING),
                ],
                name="patient_performed",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("status", ASCENDING), ("performed_at", DESCENDING), ("_id", DESCENDING)],
                name="status_performed",
            ),
            IndexModel([("tenant_id", ASCENDING), ("performed_at", DESCENDING), ("_id", DESCENDING)], name="performed"),
            IndexModel(
                [
                    ("tenant_id", ASCENDING),
                    ("lab_order_id", ASCENDING),
                    ("performed_at", DESCENDING),
                    ("_id", DESCENDING),
                ],
                name="order_performed",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("doctor_id", ASCENDING), ("performed_at", DESCENDING), ("_id", DESCENDING)],
                name="doctor_performed",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("abnormal", ASCENDING), ("performed_at", DESCENDING), ("_id", DESCENDING)],
                name="abnormal_performed",
            ),
        )
