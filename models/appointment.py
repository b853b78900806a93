"""Appointments, and the working hours and absences that make their slots."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from beanie import PydanticObjectId
from pydantic import Field, StringConstraints, model_validator
from pymongo import ASCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.base import TenantDocument, Versioned
from models.references import PlatformReference, Reference
from models.uniques import ONE_PER_REQUEST
from models.values import Day, Line, Text, Value, now


class AppointmentStatus(StrEnum):
    """The states of an appointment; `TRANSITIONS` says which may follow which."""

    HELD = "held"
    REQUESTED = "requested"
    BOOKED = "booked"
    CHECKED_IN = "checked_in"
    FULFILLED = "fulfilled"
    CANCELLED = "cancelled"
    NO_SHOW = "no_show"
    ENTERED_IN_ERROR = "entered_in_error"


_S = AppointmentStatus
TRANSITIONS: Mapping[AppointmentStatus, frozenset[AppointmentStatus]] = {
    _S.HELD: frozenset({_S.REQUESTED, _S.BOOKED, _S.CANCELLED}),
    _S.REQUESTED: frozenset({_S.BOOKED, _S.CANCELLED, _S.ENTERED_IN_ERROR}),
    _S.BOOKED: frozenset({_S.CHECKED_IN, _S.CANCELLED, _S.NO_SHOW, _S.ENTERED_IN_ERROR}),
    _S.CHECKED_IN: frozenset({_S.BOOKED, _S.FULFILLED, _S.CANCELLED, _S.ENTERED_IN_ERROR}),
    _S.FULFILLED: frozenset({_S.ENTERED_IN_ERROR}),
    _S.CANCELLED: frozenset(),
    _S.NO_SHOW: frozenset({_S.ENTERED_IN_ERROR}),
    _S.ENTERED_IN_ERROR: frozenset(),
}
MOVABLE = frozenset({_S.HELD, _S.REQUESTED, _S.BOOKED})
"""States in which an appointment may be rescheduled."""


class Obstacle(StrEnum):
    """What can be in the way of booking a time."""

    PAST = "past"
    TOO_FAR = "too_far"
    NO_HOURS = "no_hours"
    OUTSIDE_HOURS = "outside_hours"
    CLOSED = "closed"
    AWAY = "away"
    TAKEN = "taken"


class HistoryEntry(Value):
    """One step in an appointment's life: what was done, by whom (a user, or the patient), from which time to which."""

    at: datetime = Field(default_factory=now)
    by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    by_patient: bool = False
    """Whether it was the patient themselves, in the portal."""
    action: str
    status: AppointmentStatus
    starts_at: datetime
    reason: Line | None = None


class RequestMark(Value):
    """An idempotency key that this document answered: `id` names operation, actor and key."""

    id: str
    digest: str
    """SHA-256 of the input, in hex."""


class Appointment(Versioned, TenantDocument):
    """A patient's time with a doctor.

    While it occupies time, `claims` holds one string per resource and 5-minute UTC bucket, under a unique
    index: that index, not a check before the write, is what makes double booking impossible.
    """

    claimed: ClassVar[bool] = True

    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    doctor_id: Annotated[PydanticObjectId, Reference("staff")]
    room_id: Annotated[PydanticObjectId, Reference("rooms")] | None = None
    service_id: Annotated[PydanticObjectId, Reference("services")] | None = None
    starts_at: datetime
    ends_at: datetime
    status: AppointmentStatus = AppointmentStatus.BOOKED
    reason: Line | None = None
    notes: Annotated[Text | None, Sealed()] = None
    overbook_reason: Line | None = None
    cancel_reason: Line | None = None
    series_id: Annotated[PydanticObjectId, Reference("appointment_series")] | None = None
    series_day: Day | None = None
    """The day that the series' rule gave it, wherever it was moved since."""
    claims: list[str] | None = None
    requests: list[RequestMark] = Field(default_factory=list)
    history: list[HistoryEntry] = Field(default_factory=list)
    created_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None

    class Settings:
        name = "appointments"
        indexes = (
            IndexModel(
                [("claims", ASCENDING)], name="claims", unique=True, partialFilterExpression={"claims": {"$gt": ""}}
            ),
            ONE_PER_REQUEST,
            IndexModel([("tenant_id", ASCENDING), ("starts_at", ASCENDING), ("_id", ASCENDING)], name="starts"),
            IndexModel(
                [("tenant_id", ASCENDING), ("doctor_id", ASCENDING), ("starts_at", ASCENDING), ("_id", ASCENDING)],
                name="doctor_starts",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING), ("starts_at", ASCENDING), ("_id", ASCENDING)],
                name="patient_starts",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("room_id", ASCENDING), ("starts_at", ASCENDING), ("_id", ASCENDING)],
                name="room_starts",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("status", ASCENDING), ("starts_at", ASCENDING), ("_id", ASCENDING)],
                name="status_starts",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("series_id", ASCENDING), ("starts_at", ASCENDING), ("_id", ASCENDING)],
                name="series_starts",
            ),
        )

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Appointment:
        if self.ends_at <= self.starts_at:
            raise ValueError("an appointment must end after it starts")
        return self


WallTime = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5][05]$|^24:00$")]
"""A time of day on the clinic's wall, `HH:MM` on the 5-minute grid; `24:00` ends a day."""


class AvailabilityRule(Versioned, TenantDocument):
    """Weekly working hours of a doctor, on the clinic's wall clock. `weekday` 0 is Monday."""

    doctor_id: Annotated[PydanticObjectId, Reference("staff")]
    weekday: int = Field(ge=0, le=6)
    starts: WallTime
    ends: WallTime
    valid_from: Day | None = None
    valid_until: Day | None = None

    class Settings:
        name = "availability_rules"
        indexes = (
            IndexModel(
                [
                    ("tenant_id", ASCENDING),
                    ("doctor_id", ASCENDING),
                    ("weekday", ASCENDING),
                    ("starts", ASCENDING),
                    ("_id", ASCENDING),
                ],
                name="doctor",
            ),
        )

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> AvailabilityRule:
        if self.ends <= self.starts:
            raise ValueError("working hours must end after they start, on the same day")
        return self


class TimeOff(Versioned, TenantDocument):
    """A span in which a doctor sees nobody."""

    doctor_id: Annotated[PydanticObjectId, Reference("staff")]
    starts_at: datetime
    ends_at: datetime
    reason: Line | None = None

    class Settings:
        name = "time_off"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("doctor_id", ASCENDING), ("starts_at", ASCENDING), ("_id", ASCENDING)],
                name="doctor_starts",
            ),
        )

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> TimeOff:
        if self.ends_at <= self.starts_at:
            raise ValueError("time off must end after it starts")
        return self
