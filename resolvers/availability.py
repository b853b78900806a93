"""When doctors can be seen: working hours, time off, and the free slots between what is booked."""

from __future__ import annotations

from datetime import date, datetime
from enum import Enum
from typing import Annotated

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services import availability as service
from models import AvailabilityRule, TimeOff
from resolvers.base import Resolver, shown
from resolvers.staff import StaffType
from resolvers.values import day

DoctorId = Annotated[strawberry.ID, strawberry.argument(description="The doctor's staff profile.")]


@strawberry.enum(description="A day of the week.")
class Weekday(Enum):
    MONDAY = strawberry.enum_value(0, description="Monday.")
    TUESDAY = strawberry.enum_value(1, description="Tuesday.")
    WEDNESDAY = strawberry.enum_value(2, description="Wednesday.")
    THURSDAY = strawberry.enum_value(3, description="Thursday.")
    FRIDAY = strawberry.enum_value(4, description="Friday.")
    SATURDAY = strawberry.enum_value(5, description="Saturday.")
    SUNDAY = strawberry.enum_value(6, description="Sunday.")


@row_type("Slot", description="A time that can be booked.")
class SlotType:
    starts_at: datetime = stored(description="When it starts.")
    ends_at: datetime = stored(description="When it ends.")


@row_type(
    "AvailabilityRule",
    model=AvailabilityRule,
    read=Permission.AVAILABILITY_READ,
    description="Weekly working hours of a doctor, on the clinic's wall clock.",
)
class AvailabilityRuleType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when deleting.")
    weekday: Weekday = stored(description="The day of the week.")
    starts: str = stored(description="When work begins, `HH:MM`.")
    ends: str = stored(description="When work ends, `HH:MM`; `24:00` is the end of the day.")
    valid_from: date | None = day("valid_from", "The first day on which it holds; null for ever before.")
    valid_until: date | None = day("valid_until", "The last day on which it holds; null for ever after.")
    doctor: StaffType | None = related(lambda: StaffType, key="doctor_id", description="The doctor.")


@row_type(
    "TimeOff",
    model=TimeOff,
    read=Permission.AVAILABILITY_READ,
    description="A span of time in which a doctor sees nobody.",
)
class TimeOffType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when deleting.")
    starts_at: datetime = stored(description="When it starts.")
    ends_at: datetime = stored(description="When it ends.")
    reason: str | None = stored(description="Why.")
    doctor: StaffType | None = related(lambda: StaffType, key="doctor_id", description="The doctor.")


@strawberry.input(description="Weekly working hours of a doctor, on the clinic's wall clock.")
class CreateAvailabilityRuleInput:
    doctor_id: strawberry.ID = strawberry.field(description="The doctor's staff profile.")
    weekday: Weekday = strawberry.field(description="The day of the week.")
    starts: str = strawberry.field(description="When work begins: `HH:MM`, a multiple of five minutes.")
    ends: str = strawberry.field(
        description="When work ends, on the same day: `HH:MM`, a multiple of five minutes, at most `24:00`."
    )
    valid_from: date | None = strawberry.field(default=None, description="The first day on which it holds.")
    valid_until: date | None = strawberry.field(default=None, description="The last day on which it holds.")


@strawberry.input(description="A span of time, at most 366 days, in which a doctor sees nobody.")
class CreateTimeOffInput:
    doctor_id: strawberry.ID = strawberry.field(description="The doctor's staff profile.")
    starts_at: datetime = strawberry.field(description="When it starts.")
    ends_at: datetime = strawberry.field(description="When it ends.")
    reason: str | None = strawberry.field(default=None, description="Why.")


@strawberry.input(description="Which working hours to delete.")
class DeleteAvailabilityRuleInput:
    id: strawberry.ID = strawberry.field(description="The working hours.")
    version: int = strawberry.field(description="The version that the change is based on.")


@strawberry.input(description="Which time off to delete.")
class DeleteTimeOffInput:
    id: strawberry.ID = strawberry.field(description="The time off.")
    version: int = strawberry.field(description="The version that the change is based on.")


@strawberry.type
class AvailabilityQuery(Resolver):
    @field(
        Permission.AVAILABILITY_READ,
        description="The times that can be booked with a doctor, on at most 31 of the clinic's days.",
    )
    async def available_slots(
        self,
        info: Info,
        doctor_id: DoctorId,
        from_: Annotated[date, strawberry.argument(name="from", description="The first of the clinic's days.")],
        to: Annotated[date, strawberry.argument(description="The last of the clinic's days, included.")],
        service_id: Annotated[
            strawberry.ID | None, strawberry.argument(description="The service, which says how long it takes.")
        ] = None,
        duration_minutes: Annotated[
            int | None,
            strawberry.argument(description="How long it takes when no service says so; without it, a usual slot."),
        ] = None,
        room_id: Annotated[
            strawberry.ID | None, strawberry.argument(description="A room that must be free as well.")
        ] = None,
    ) -> list[SlotType]:
        free = await service.free_times(
            object_id(doctor_id, "doctorId"),
            from_,
            to,
            service_id=object_id(service_id, "serviceId") if service_id is not None else None,
            room_id=object_id(room_id, "roomId") if room_id is not None else None,
            minutes=duration_minutes,
        )
        return shown(free)

    @field(Permission.AVAILABILITY_READ, description="A doctor's weekly working hours.")
    async def availability_rules(
        self, info: Info, doctor_id: DoctorId, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[AvailabilityRuleType]:
        return shown(
            await self.page(
                info,
                AvailabilityRuleType,
                where={"doctor_id": object_id(doctor_id, "doctorId")},
                sort=[("weekday", 1), ("starts", 1), ("_id", 1)],
                first=first,
                after=after,
            )
        )

    @field(Permission.AVAILABILITY_READ, description="A doctor's time off that overlaps a span of at most 366 days.")
    async def time_off(
        self,
        info: Info,
        doctor_id: DoctorId,
        from_: Annotated[datetime, strawberry.argument(name="from", description="Where the span starts.")],
        to: Annotated[datetime, strawberry.argument(description="Where the span ends.")],
        first: First = DEFAULT_PAGE,
        after: After = None,
    ) -> Connection[TimeOffType]:
        where = service.time_off_between(object_id(doctor_id, "doctorId"), from_, to)
        return shown(
            await self.page(
                info, TimeOffType, where=where, sort=[("starts_at", 1), ("_id", 1)], first=first, after=after
            )
        )


@strawberry.type
class AvailabilityMutation(Resolver):
    @field(Permission.AVAILABILITY_MANAGE, description="Adds weekly working hours.")
    async def create_availability_rule(self, info: Info, input: CreateAvailabilityRuleInput) -> AvailabilityRuleType:
        values = ids({**given(input), "weekday": input.weekday.value}, "doctor_id")
        return shown(await service.add_rule(values))

    @field(Permission.AVAILABILITY_MANAGE, description="Deletes weekly working hours. What is booked stays booked.")
    async def delete_availability_rule(self, info: Info, input: DeleteAvailabilityRuleInput) -> AvailabilityRuleType:
        key = object_id(input.id, "input.id")
        return shown(await service.delete(AvailabilityRule, key, input.version))

    @field(Permission.AVAILABILITY_MANAGE, description="Adds time off. What is booked stays booked.")
    async def create_time_off(self, info: Info, input: CreateTimeOffInput) -> TimeOffType:
        return shown(await service.add_time_off(ids(given(input), "doctor_id")))

    @field(Permission.AVAILABILITY_MANAGE, description="Deletes time off: the doctor can be booked then.")
    async def delete_time_off(self, info: Info, input: DeleteTimeOffInput) -> TimeOffType:
        return shown(await service.delete(TimeOff, object_id(input.id, "input.id"), input.version))
