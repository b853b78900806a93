"""Appointments: listing, free slots, booking, moving, cancelling."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from app.graphql.fields import related, row_type, stored
from app.permissions import Permission
from models import Appointment
from models.appointment import AppointmentStatus
from resolvers.staff import StaffType
from resolvers.values import described

if TYPE_CHECKING:
    from resolvers.patients import PatientType

described(
    AppointmentStatus,
    "Where an appointment stands.",
    HELD="Kept free for somebody for a short while.",
    REQUESTED="Asked for, not yet confirmed.",
    BOOKED="Agreed.",
    CHECKED_IN="The patient is here.",
    FULFILLED="It took place.",
    CANCELLED="Called off.",
    NO_SHOW="The patient did not come.",
    ENTERED_IN_ERROR="Should never have been entered.",
)


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


@row_type(
    "Appointment", model=Appointment, read=Permission.APPOINTMENT_READ, description="A patient's time with a doctor."
)
class AppointmentType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    starts_at: datetime = stored(description="When it starts.")
    ends_at: datetime = stored(description="When it ends.")
    status: AppointmentStatus = stored(description="Where it stands.")
    reason: str | None = stored(description="Why the patient comes.")
    patient: Annotated["PatientType", strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )
    doctor: StaffType | None = related(lambda: StaffType, key="doctor_id", description="The doctor.")
