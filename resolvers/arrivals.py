"""Appointments on their day: the patient comes, is seen, or does not come."""

from __future__ import annotations

from typing import Any

import strawberry

from app.graphql.access import field, require
from app.graphql.context import Info
from app.graphql.inputs import given, ids, object_id
from app.permissions import Permission
from app.services import arrivals
from models.queue import QueuePriority
from resolvers.appointments import AppointmentType
from resolvers.base import Resolver, shown
from resolvers.queue_inputs import QueueInput


@strawberry.input(name="WaitingInput", description="Where somebody waits who has come for an appointment.")
class WaitingInput:
    queue: QueueInput | None = strawberry.field(
        default=None, description="The queue; without it, that of the appointment's doctor."
    )
    priority: QueuePriority = strawberry.field(
        default=QueuePriority.NORMAL, description="Whether they go before others."
    )
    priority_reason: str | None = strawberry.field(default=None, description="Why they go before others.")


@strawberry.input(description="Who has come.")
class CheckInInput:
    id: strawberry.ID = strawberry.field(description="The appointment.")
    version: int | None = strawberry.field(default=None, description="The version that the step is based on, if any.")
    waiting: WaitingInput | None = strawberry.field(
        default=None, description="Puts them into a queue as well; that needs `queue:manage`."
    )


@strawberry.input(description="Who was checked in by mistake.")
class UndoCheckInInput:
    id: strawberry.ID = strawberry.field(description="The appointment.")
    version: int | None = strawberry.field(default=None, description="The version that the step is based on, if any.")
    reason: str | None = strawberry.field(default=None, description="Why; kept in the history.")


@strawberry.input(description="Which appointment took place.")
class FulfilAppointmentInput:
    id: strawberry.ID = strawberry.field(description="The appointment.")
    version: int | None = strawberry.field(default=None, description="The version that the step is based on, if any.")


@strawberry.input(description="For which appointment nobody came.")
class MarkNoShowInput:
    id: strawberry.ID = strawberry.field(description="The appointment.")
    version: int | None = strawberry.field(default=None, description="The version that the step is based on, if any.")


@strawberry.input(description="Which appointment should never have been entered, and why.")
class EnterAppointmentInErrorInput:
    id: strawberry.ID = strawberry.field(description="The appointment.")
    version: int | None = strawberry.field(default=None, description="The version that the step is based on, if any.")
    reason: str = strawberry.field(description="Why; kept in the history.")


@strawberry.type
class ArrivalMutation(Resolver):
    @field(
        Permission.APPOINTMENT_UPDATE,
        description="The patient is here for a booked appointment; with `waiting` they are put into a queue as well.",
    )
    async def check_in(self, info: Info, input: CheckInInput) -> AppointmentType:
        if input.waiting is not None:
            require(Permission.QUEUE_MANAGE)
        waiting = _waiting(input.waiting) if input.waiting is not None else None
        return shown(await arrivals.check_in(object_id(input.id, "input.id"), input.version, waiting))

    @field(
        Permission.APPOINTMENT_UPDATE,
        description="Takes a check-in back: it is booked again, and nobody waits for it any more.",
    )
    async def undo_check_in(self, info: Info, input: UndoCheckInInput) -> AppointmentType:
        return shown(await arrivals.undo_check_in(object_id(input.id, "input.id"), input.version, input.reason))

    @field(Permission.APPOINTMENT_UPDATE, description="It took place; what is left of its time is free again.")
    async def fulfil_appointment(self, info: Info, input: FulfilAppointmentInput) -> AppointmentType:
        return shown(await arrivals.fulfil(object_id(input.id, "input.id"), input.version))

    @field(Permission.APPOINTMENT_UPDATE, description="Nobody came, though it has begun; its time is free again.")
    async def mark_no_show(self, info: Info, input: MarkNoShowInput) -> AppointmentType:
        return shown(await arrivals.mark_no_show(object_id(input.id, "input.id"), input.version))

    @field(Permission.APPOINTMENT_CANCEL, description="It should never have been entered; its time is free again.")
    async def enter_appointment_in_error(self, info: Info, input: EnterAppointmentInErrorInput) -> AppointmentType:
        return shown(await arrivals.enter_in_error(object_id(input.id, "input.id"), input.version, input.reason))


def _waiting(source: WaitingInput) -> dict[str, Any]:
    values = given(source)
    if "queue" in values:
        values["queue"] = ids(values["queue"], "doctor_id", "room_id", "service_id", at="input.waiting.queue")
    return values
