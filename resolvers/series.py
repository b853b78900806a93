"""Appointments that come again and again: previewed, booked, moved and called off."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry import Maybe

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First, related_page
from app.permissions import Permission
from app.services.series import booking, changing
from app.services.series.booking import OnObstacle
from app.services.series.changing import SeriesScope
from app.services.series.planning import PlannedDate, SeriesPlan
from models import AppointmentSeries
from models.appointment import Obstacle
from models.appointment_series import Frequency
from resolvers.appointments import AppointmentType
from resolvers.availability import Weekday
from resolvers.base import Resolver, shown
from resolvers.rooms import RoomType
from resolvers.services import ServiceType
from resolvers.staff import StaffType
from resolvers.values import day, described

if TYPE_CHECKING:
    from resolvers.patients import PatientType

described(
    Frequency,
    "What a recurring appointment counts its intervals in.",
    DAILY="Days.",
    WEEKLY="Weeks, on some weekdays.",
    MONTHLY="Months, on the weekday of the first date in that week of the month; a fifth one stands for the last.",
)
described(
    Obstacle,
    "What is in the way of booking a time.",
    PAST="It is over.",
    TOO_FAR="It is further ahead than the clinic books.",
    NO_HOURS="The doctor has no working hours here.",
    OUTSIDE_HOURS="It is outside of the doctor's working hours.",
    CLOSED="The clinic is closed.",
    AWAY="The doctor is away.",
    TAKEN="The doctor, the room or the patient is taken.",
)
described(
    OnObstacle,
    "What to do about dates that cannot be booked.",
    REFUSE="Book nothing.",
    SKIP="Leave them out, and book the others.",
)
described(
    SeriesScope,
    "How much of a series a change is about.",
    THIS="The one appointment.",
    THIS_AND_FOLLOWING="It and all that follow in the series.",
)


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


def _first_day(row: Row) -> date:
    return date.fromisoformat(row["first_day"])


@row_type("Recurrence", description="By which rule appointments come again.")
class RecurrenceType:
    frequency: Frequency = stored(description="What the interval is counted in.")
    interval: int = stored(description="Every so many days, weeks or months.")
    weekdays: list[Weekday] = stored(description="The weekdays of a weekly rule; none for the first date's.")
    count: int | None = stored(description="After how many dates it ends, if by their number.")
    until: date | None = day("until", "The last day on which there may be a date, if it ends by day.")


@row_type("SeriesDate", description="A date of a series on which there is no appointment.")
class SeriesDateType:
    starts_at: datetime = stored(description="When it would have started.")
    obstacle: Obstacle = stored(description="What was in the way.")


@row_type("PlannedDate", description="One date of a series that is not booked yet.")
class PlannedDateType:
    day: date = stored(description="The clinic's day.")
    starts_at: datetime = stored(description="When it starts.")
    ends_at: datetime = stored(description="When it ends.")
    obstacle: Obstacle | None = stored(description="What is in the way, if anything.")
    alternatives: list[datetime] = stored(
        description="The next free starts, on that day or in the week after it, when something is in the way."
    )


@row_type("AppointmentSeriesPreview", description="What booking a series would find now.")
class AppointmentSeriesPreviewType:
    free: int = stored(description="On how many dates nothing is in the way.")
    obstructed: int = stored(description="On how many dates something is.")
    dates: list[PlannedDateType] = stored(description="Each date, in order; at most 104.")


@row_type(
    "AppointmentSeries",
    model=AppointmentSeries,
    read=Permission.APPOINTMENT_READ,
    description="What recurring appointments have in common.",
)
class AppointmentSeriesType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change.")
    rule: RecurrenceType = stored(description="By which rule they come again.")
    first_day: date = computed("first_day", by=_first_day, description="The first of the clinic's days by that rule.")
    starts: str = stored(description="At which time, on the clinic's wall, `HH:MM`.")
    minutes: int = stored(description="How long each takes.")
    reason: str | None = stored(description="Why the patient comes.")
    skipped: list[SeriesDateType] = stored(description="Dates left out because something was in the way.")
    ended_before: date | None = day("ended_before", "From this day on it has no dates, if it was ended or continued.")
    created_at: datetime = stored(description="When it was booked.")
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )
    doctor: StaffType | None = related(lambda: StaffType, key="doctor_id", description="The doctor.")
    room: RoomType | None = related(lambda: RoomType, key="room_id", description="The room, if one is booked.")
    service: ServiceType | None = related(lambda: ServiceType, key="service_id", description="What is to be done.")
    appointments: Connection[AppointmentType] = related_page(
        lambda: AppointmentType,
        foreign="series_id",
        sort=[("starts_at", 1), ("_id", 1)],
        description="Its appointments, the earliest first, also those that were called off or moved.",
    )


@strawberry.input(
    name="RecurrenceInput",
    description="By which rule appointments come again. `count` or `until` ends it, whichever comes first.",
)
class RecurrenceInput:
    frequency: Frequency = strawberry.field(description="What the interval is counted in.")
    interval: int = strawberry.field(default=1, description="Every so many days, weeks or months.")
    weekdays: list[Weekday] | None = strawberry.field(
        default=None, description="The weekdays of a weekly rule; without them the first date's."
    )
    count: int | None = strawberry.field(default=None, description="After how many dates it ends, 104 at most.")
    until: date | None = strawberry.field(default=None, description="The last day on which there may be a date.")


@strawberry.input(description="Recurring appointments to look at before they are booked.")
class PreviewAppointmentSeriesInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    doctor_id: strawberry.ID = strawberry.field(description="The doctor's staff profile.")
    starts_at: datetime = strawberry.field(
        description="When the first one starts; its time on the clinic's wall is kept."
    )
    rule: RecurrenceInput = strawberry.field(description="By which rule they come again.")
    service_id: strawberry.ID | None = strawberry.field(
        default=None, description="What is to be done; says how long it takes."
    )
    room_id: strawberry.ID | None = strawberry.field(default=None, description="The room.")
    duration_minutes: int | None = strawberry.field(
        default=None, description="How long each takes when no service says so; without it, a usual slot."
    )


@strawberry.input(description="Recurring appointments.")
class CreateAppointmentSeriesInput(PreviewAppointmentSeriesInput):
    reason: str | None = strawberry.field(default=None, description="Why the patient comes.")
    on_obstacle: OnObstacle = strawberry.field(
        default=OnObstacle.REFUSE, description="What to do about dates that cannot be booked."
    )
    idempotency_key: str | None = strawberry.field(
        default=None, description="Makes repeats safe: the same key and input give the first answer again."
    )


@strawberry.input(description="When and where to move an appointment of a series. What is left out stays as it is.")
class RescheduleAppointmentSeriesInput:
    appointment_id: strawberry.ID = strawberry.field(description="The appointment.")
    version: int = strawberry.field(description="The appointment's version that the change is based on.")
    scope: SeriesScope = strawberry.field(description="It alone, or all that follow as well.")
    starts_at: datetime = strawberry.field(description="Its new start; those that follow are counted on from there.")
    duration_minutes: int | None = strawberry.field(default=None, description="How long it is to take.")
    doctor_id: Maybe[strawberry.ID] = strawberry.field(description="The new doctor's staff profile.")
    room_id: Maybe[strawberry.ID | None] = strawberry.field(description="The new room; null for none.")
    reason: str | None = strawberry.field(default=None, description="Why it is moved; kept in the history.")
    idempotency_key: str | None = strawberry.field(
        default=None, description="Makes repeats safe: the same key and input give the first answer again."
    )


@strawberry.input(description="Which appointment of a series to call off, and why.")
class CancelAppointmentSeriesInput:
    appointment_id: strawberry.ID = strawberry.field(description="The appointment.")
    version: int | None = strawberry.field(default=None, description="The appointment's version, if any is asked for.")
    scope: SeriesScope = strawberry.field(description="It alone, or all that follow as well.")
    reason: str = strawberry.field(description="Why.")


@strawberry.type
class SeriesQuery(Resolver):
    @field(Permission.APPOINTMENT_READ, description="One series of appointments.")
    async def appointment_series(self, info: Info, id: strawberry.ID) -> AppointmentSeriesType:
        return shown(await self.one(info, AppointmentSeriesType, id))

    @field(Permission.APPOINTMENT_READ, description="A patient's recurring appointments, the latest booked first.")
    async def recurring_appointments(
        self, info: Info, patient_id: strawberry.ID, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[AppointmentSeriesType]:
        where = {"patient_id": object_id(patient_id, "patientId")}
        order = [("created_at", -1), ("_id", -1)]
        return shown(await self.page(info, AppointmentSeriesType, where=where, sort=order, first=first, after=after))

    @field(
        Permission.APPOINTMENT_READ,
        description="What booking recurring appointments would find now, date by date. Changes nothing.",
    )
    async def preview_appointment_series(
        self, info: Info, input: PreviewAppointmentSeriesInput
    ) -> AppointmentSeriesPreviewType:
        return shown(_preview(await booking.preview(_values(input))))


@strawberry.type
class SeriesMutation(Resolver):
    @field(
        Permission.APPOINTMENT_CREATE,
        description="Books recurring appointments, all in one step. `SLOT_TAKEN` names in `dates` what is in the "
        "way of which; with `SKIP` those are left out.",
    )
    async def create_appointment_series(self, info: Info, input: CreateAppointmentSeriesInput) -> AppointmentSeriesType:
        values = _values(input)
        key, on_obstacle = values.pop("idempotency_key", None), values.pop("on_obstacle")
        return shown(await booking.create(values, on_obstacle, key=key))

    @field(
        Permission.APPOINTMENT_UPDATE,
        description="Moves an appointment of a series; with all that follow, those become a series of their own. "
        "Nothing moves unless everything can.",
    )
    async def reschedule_appointment_series(
        self, info: Info, input: RescheduleAppointmentSeriesInput
    ) -> AppointmentSeriesType:
        values = ids(given(input), "appointment_id", "doctor_id", "room_id")
        key, scope = values.pop("idempotency_key", None), values.pop("scope")
        appointment, version = values.pop("appointment_id"), values.pop("version")
        return shown(await changing.reschedule(appointment, version, scope, values, key=key))

    @field(
        Permission.APPOINTMENT_CANCEL, description="Calls off an appointment of a series, or all that follow as well."
    )
    async def cancel_appointment_series(self, info: Info, input: CancelAppointmentSeriesInput) -> AppointmentSeriesType:
        key = object_id(input.appointment_id, "input.appointmentId")
        return shown(await changing.cancel(key, input.version, input.scope, input.reason))


def _values(source: Any) -> dict[str, Any]:
    values = ids(given(source), "patient_id", "doctor_id", "service_id", "room_id")
    rule = values["rule"]
    if "weekdays" in rule:
        rule["weekdays"] = [weekday.value for weekday in rule["weekdays"]]
    return values


def _preview(plan: SeriesPlan) -> Row:
    return {
        "free": len(plan.free),
        "obstructed": len(plan.obstructed),
        "dates": [_date(one) for one in plan.dates],
    }


def _date(one: PlannedDate) -> Row:
    return {
        "day": one.day,
        "starts_at": one.start,
        "ends_at": one.end,
        "obstacle": one.obstacle,
        "alternatives": list(one.alternatives),
    }
