"""Appointments: listing, booking, moving, cancelling."""

from __future__ import annotations

from datetime import date, datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import Maybe

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection, Sort
from app.graphql.related_pages import After, First, related_page
from app.permissions import Permission
from app.services import booking
from app.services.appointments import listed
from models import Appointment
from models.appointment import AppointmentStatus
from resolvers.base import Resolver, shown
from resolvers.rooms import RoomType
from resolvers.services import ServiceType
from resolvers.staff import StaffType
from resolvers.values import described

if TYPE_CHECKING:
    from resolvers.patients import PatientType
    from resolvers.queue import QueueEntryType
    from resolvers.series import AppointmentSeriesType

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


def _series_type() -> type:
    from resolvers.series import AppointmentSeriesType

    return AppointmentSeriesType


def _queue_type() -> type:
    from resolvers.queue import QueueEntryType

    return QueueEntryType


def _by_patient(row: Row) -> bool:
    return bool(row.get("by_patient"))


def _overbooked(row: Row) -> bool:
    return row.get("overbook_reason") is not None


@row_type("AppointmentStep", description="One step in an appointment's life.")
class AppointmentStepType:
    at: datetime = stored(description="When it was taken.")
    action: str = stored(
        description="What was done: `booked`, `requested`, `confirmed`, `rescheduled`, `cancelled`, `checked_in`, "
        "`check_in_undone`, `fulfilled`, `no_show`, `entered_in_error`."
    )
    status: AppointmentStatus = stored(description="Where the appointment stood from then on.")
    starts_at: datetime = stored(description="When the appointment was to start from then on.")
    reason: str | None = stored(description="Why it was done.")
    by: StaffType | None = related(
        lambda: StaffType, key="by", foreign="user_id", description="Who did it, if they have a profile here."
    )
    by_patient: bool = computed("by_patient", by=_by_patient, description="Whether it was the patient, in the portal.")


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
    notes: str | None = stored(description="The clinic's notes on the appointment.")
    overbooked: bool = computed("overbook_reason", by=_overbooked, description="Whether it may overlap another.")
    overbook_reason: str | None = stored(description="Why it may overlap another.")
    cancel_reason: str | None = stored(description="Why it was called off.")
    created_at: datetime = stored(description="When it was booked.")
    updated_at: datetime = stored(description="When it was last changed.")
    history: list[AppointmentStepType] = stored(description="What was done with it, the first step first.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )
    doctor: StaffType | None = related(lambda: StaffType, key="doctor_id", description="The doctor.")
    room: RoomType | None = related(lambda: RoomType, key="room_id", description="The room, if one is booked.")
    service: ServiceType | None = related(lambda: ServiceType, key="service_id", description="What is to be done.")
    series: Annotated[AppointmentSeriesType, strawberry.lazy("resolvers.series")] | None = related(
        _series_type, key="series_id", description="The series that it belongs to, if it comes again and again."
    )
    queue_entries: Connection[Annotated[QueueEntryType, strawberry.lazy("resolvers.queue")]] = related_page(
        _queue_type,
        foreign="appointment_id",
        sort=[("waiting_since", -1), ("_id", -1)],
        description="The patient's turns in queues for it, the latest first.",
    )


@strawberry.enum(description="The order of a list of appointments.")
class AppointmentSort(Enum):
    STARTS_ASC = strawberry.enum_value("starts_asc", description="The earliest first.")
    STARTS_DESC = strawberry.enum_value("starts_desc", description="The latest first.")


ORDERS: dict[AppointmentSort, Sort] = {
    AppointmentSort.STARTS_ASC: [("starts_at", 1), ("_id", 1)],
    AppointmentSort.STARTS_DESC: [("starts_at", -1), ("_id", -1)],
}


@strawberry.input(
    description="Which appointments to list: those of a day, of a span of at most 93 days, or of one patient."
)
class AppointmentFilter:
    day: date | None = strawberry.field(default=None, description="Starts on this day, as the clinic's clocks show it.")
    from_: datetime | None = strawberry.field(name="from", default=None, description="Starts then or later.")
    to: datetime | None = strawberry.field(default=None, description="Starts before then.")
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="Of this patient.")
    doctor_id: strawberry.ID | None = strawberry.field(default=None, description="With this doctor.")
    room_id: strawberry.ID | None = strawberry.field(default=None, description="In this room.")
    status: AppointmentStatus | None = strawberry.field(default=None, description="Of this status.")


@strawberry.input(description="A new appointment.")
class CreateAppointmentInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    doctor_id: strawberry.ID = strawberry.field(description="The doctor's staff profile.")
    starts_at: datetime = strawberry.field(description="When it starts, on a multiple of five minutes.")
    service_id: strawberry.ID | None = strawberry.field(
        default=None, description="What is to be done; says how long it takes."
    )
    room_id: strawberry.ID | None = strawberry.field(default=None, description="The room.")
    duration_minutes: int | None = strawberry.field(
        default=None, description="How long it takes when no service says so; without it, a usual slot."
    )
    reason: str | None = strawberry.field(default=None, description="Why the patient comes.")
    notes: str | None = strawberry.field(default=None, description="The clinic's notes on the appointment.")
    overbook_reason: str | None = strawberry.field(
        default=None, description="Why it may overlap another; that needs `appointment:overbook`."
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="Makes repeats safe: the same key and input give the first answer again."
    )


@strawberry.input(description="When and where to move an appointment. What is left out stays as it is.")
class RescheduleAppointmentInput:
    id: strawberry.ID = strawberry.field(description="The appointment.")
    version: int = strawberry.field(description="The version that the change is based on.")
    starts_at: datetime = strawberry.field(description="The new start, on a multiple of five minutes.")
    duration_minutes: int | None = strawberry.field(default=None, description="How long it is to take.")
    doctor_id: Maybe[strawberry.ID] = strawberry.field(description="The new doctor's staff profile.")
    room_id: Maybe[strawberry.ID | None] = strawberry.field(description="The new room; null for none.")
    reason: str | None = strawberry.field(default=None, description="Why it is moved; kept in the history.")
    idempotency_key: str | None = strawberry.field(
        default=None, description="Makes repeats safe: the same key and input give the first answer again."
    )


@strawberry.input(description="Which appointment to call off, and why.")
class CancelAppointmentInput:
    id: strawberry.ID = strawberry.field(description="The appointment.")
    version: int | None = strawberry.field(default=None, description="The version that the change is based on, if any.")
    reason: str = strawberry.field(description="Why it is called off.")


@strawberry.input(description="Which appointment to agree to.")
class ConfirmAppointmentInput:
    id: strawberry.ID = strawberry.field(description="The appointment.")
    version: int = strawberry.field(description="The version that the step is based on.")


@strawberry.type
class AppointmentQuery(Resolver):
    @field(Permission.APPOINTMENT_READ, description="One appointment of this clinic.")
    async def appointment(self, info: Info, id: strawberry.ID) -> AppointmentType:
        return shown(await self.one(info, AppointmentType, id))

    @field(Permission.APPOINTMENT_READ, description="The clinic's appointments of a day, of a span, or of one patient.")
    async def appointments(
        self,
        info: Info,
        filter: AppointmentFilter,
        first: First = DEFAULT_PAGE,
        after: After = None,
        sort: AppointmentSort = AppointmentSort.STARTS_ASC,
    ) -> Connection[AppointmentType]:
        return shown(
            await self.page(info, AppointmentType, where=_where(filter), sort=ORDERS[sort], first=first, after=after)
        )


@strawberry.type
class AppointmentMutation(Resolver):
    @field(
        Permission.APPOINTMENT_CREATE,
        description="Books an appointment. When the time is taken, `SLOT_TAKEN` names the next free ones.",
    )
    async def create_appointment(self, info: Info, input: CreateAppointmentInput) -> AppointmentType:
        values = ids(given(input), "patient_id", "doctor_id", "service_id", "room_id")
        key = values.pop("idempotency_key", None)
        return shown(await booking.create(values, key=key))

    @field(
        Permission.APPOINTMENT_UPDATE,
        description="Moves an appointment. When the new time is taken it keeps the old one.",
    )
    async def reschedule_appointment(self, info: Info, input: RescheduleAppointmentInput) -> AppointmentType:
        values = ids(given(input), "id", "doctor_id", "room_id")
        key = values.pop("idempotency_key", None)
        return shown(await booking.reschedule(values.pop("id"), values.pop("version"), values, key=key))

    @field(Permission.APPOINTMENT_UPDATE, description="Agrees to an appointment that a patient asked for.")
    async def confirm_appointment(self, info: Info, input: ConfirmAppointmentInput) -> AppointmentType:
        return shown(await booking.confirm(object_id(input.id, "input.id"), input.version))

    @field(Permission.APPOINTMENT_CANCEL, description="Calls an appointment off and frees its time.")
    async def cancel_appointment(self, info: Info, input: CancelAppointmentInput) -> AppointmentType:
        return shown(await booking.cancel(object_id(input.id, "input.id"), input.version, input.reason))


def _where(filter: AppointmentFilter) -> dict[str, Any]:
    chosen = ids(given(filter), "patient_id", "doctor_id", "room_id", at="filter")
    names = ("patient_id", "doctor_id", "room_id", "status")
    equal = {name: chosen[name] for name in names if name in chosen}
    return listed(day=filter.day, start=filter.from_, end=filter.to, **equal)
