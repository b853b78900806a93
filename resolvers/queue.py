"""The queue of the day: who waits, who is called, how long it takes."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, loaded, related, row_type, stored
from app.graphql.inputs import given, ids, object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services import arrivals
from app.services.queue import entries, listing, turns, waits
from models import QueueEntry
from models.queue import QueuePriority, QueueStatus
from resolvers.base import Resolver, shown
from resolvers.queue_inputs import (
    CallNextInput,
    EnqueuePatientInput,
    LeaveQueueInput,
    PrioritiseQueueEntryInput,
    QueueFilter,
    QueueLogFilter,
    QueueStepInput,
    RecallQueueEntryInput,
    SkipQueueEntryInput,
    TransferQueueEntryInput,
)
from resolvers.rooms import RoomType
from resolvers.services import ServiceType
from resolvers.staff import StaffType

if TYPE_CHECKING:
    from resolvers.appointments import AppointmentType
    from resolvers.patients import PatientType


def _patient_type() -> type:
    from resolvers.patients import PatientType

    return PatientType


def _appointment_type() -> type:
    from resolvers.appointments import AppointmentType

    return AppointmentType


def _by_patient(row: Row) -> bool:
    return bool(row.get("by_patient"))


def _day(row: Row) -> date:
    return date.fromisoformat(row["day"])


def _calls(row: Row) -> int:
    return sum(step["status"] == QueueStatus.CALLED for step in row["history"])


@row_type("QueueStep", description="One step of somebody's way through a queue.")
class QueueStepType:
    at: datetime = stored(description="When it was taken.")
    status: QueueStatus = stored(description="Where the patient stood from then on.")
    reason: str | None = stored(description="Why it was taken.")
    by: StaffType | None = related(
        lambda: StaffType, key="by", foreign="user_id", description="Who took it, if they have a profile here."
    )
    by_patient: bool = computed("by_patient", by=_by_patient, description="Whether it was the patient, in the portal.")


@row_type("QueuePlace", description="Where somebody who waits stands.")
class QueuePlaceType:
    position: int = stored(description="1 is next.")
    estimated_minutes: int = stored(
        description="About how long it takes until they are called, by how long one took in this queue today."
    )


@row_type(
    "QueueEntry", model=QueueEntry, read=Permission.QUEUE_READ, description="One patient's turn in one queue of a day."
)
class QueueEntryType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    ticket: int = stored(description="The number of the day; it goes along to another queue.")
    day: date = computed("day", by=_day, description="The clinic's day on which the patient came.")
    status: QueueStatus = stored(description="Where the patient stands.")
    priority: QueuePriority = stored(description="Whether they go before others.")
    priority_reason: str | None = stored(description="Why they go before others.")
    desk: str | None = stored(description="The desk whose queue it is, if it is a desk's.")
    waiting_since: datetime = stored(description="Since when they have waited.")
    called_at: datetime | None = stored(description="When they were first called.")
    calls: int = computed("history", by=_calls, description="How often they were called.")
    started_at: datetime | None = stored(description="When their service began.")
    finished_at: datetime | None = stored(description="When their service ended.")
    history: list[QueueStepType] = stored(description="The steps, the first one first.")
    place: QueuePlaceType | None = loaded(
        "_id", by=waits.places, description="Where they stand; null for those who do not wait."
    )
    patient: Annotated[PatientType, strawberry.lazy("resolvers.patients")] | None = related(
        _patient_type, key="patient_id", description="The patient."
    )
    doctor: StaffType | None = related(
        lambda: StaffType, key="doctor_id", description="The doctor whose queue it is, if it is a doctor's."
    )
    room: RoomType | None = related(
        lambda: RoomType, key="room_id", description="The room whose queue it is, if it is a room's."
    )
    service: ServiceType | None = related(
        lambda: ServiceType, key="service_id", description="The service whose queue it is, if it is a service's."
    )
    call_room: RoomType | None = related(
        lambda: RoomType, key="call_room_id", description="The room to which they were called."
    )
    appointment: Annotated[AppointmentType, strawberry.lazy("resolvers.appointments")] | None = related(
        _appointment_type, key="appointment_id", description="The appointment for which they came, if they had one."
    )


@row_type("QueueWait", description="What is going on in one queue, and what today was like there.")
class QueueWaitType:
    desk: str | None = stored(description="The desk whose queue it is, if it is a desk's.")
    waiting: int = stored(description="How many wait.")
    called: int = stored(description="How many were called and are not there yet.")
    in_service: int = stored(description="How many are being served.")
    served: int = stored(description="How many were served today.")
    left: int = stored(description="How many left today, or were passed over.")
    waiting_minutes: int | None = stored(description="How long the one who waits longest has waited.")
    average_minutes: int | None = stored(description="How long people waited today until they were called, on average.")
    longest_minutes: int | None = stored(description="How long somebody waited today at most until they were called.")
    service_minutes: int | None = stored(description="How long serving one took today, on average.")
    doctor: StaffType | None = related(
        lambda: StaffType, key="doctor_id", description="The doctor whose queue it is, if it is a doctor's."
    )
    room: RoomType | None = related(
        lambda: RoomType, key="room_id", description="The room whose queue it is, if it is a room's."
    )
    service: ServiceType | None = related(
        lambda: ServiceType, key="service_id", description="The service whose queue it is, if it is a service's."
    )


@strawberry.type
class QueueQuery(Resolver):
    @field(Permission.QUEUE_READ, description="One turn in a queue.")
    async def queue_entry(self, info: Info, id: strawberry.ID) -> QueueEntryType:
        return shown(await self.one(info, QueueEntryType, id))

    @field(Permission.QUEUE_READ, description="Who is in the clinic's queues now, in the order of being called.")
    async def queue(
        self, info: Info, filter: QueueFilter | None = None, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[QueueEntryType]:
        where = listing.now_in(_chosen(filter))
        return shown(await self.page(info, QueueEntryType, where=where, sort=turns.PLACE, first=first, after=after))

    @field(Permission.QUEUE_READ, description="Everybody who was in the clinic's queues on a day, the latest first.")
    async def queue_log(
        self, info: Info, filter: QueueLogFilter | None = None, first: First = DEFAULT_PAGE, after: After = None
    ) -> Connection[QueueEntryType]:
        where = listing.of_day(_chosen(filter))
        return shown(await self.page(info, QueueEntryType, where=where, sort=listing.LATEST, first=first, after=after))

    @field(Permission.QUEUE_READ, description="How long people wait, in each queue that anybody was in today.")
    async def queue_waits(self, info: Info) -> list[QueueWaitType]:
        return shown(await waits.queue_waits())


@strawberry.type
class QueueMutation(Resolver):
    @field(
        Permission.QUEUE_MANAGE,
        description="Gives a patient the next ticket of the day and lets them wait; with an appointment they are "
        "checked in for it.",
    )
    async def enqueue_patient(self, info: Info, input: EnqueuePatientInput) -> QueueEntryType:
        values = ids(_values(input), "patient_id", "appointment_id")
        return shown(await arrivals.enqueue(values))

    @field(
        Permission.QUEUE_MANAGE,
        description="Calls whoever is next in a queue; null when nobody waits there. No two callers get the same one.",
    )
    async def call_next(self, info: Info, input: CallNextInput) -> QueueEntryType | None:
        values = ids(_values(input), "call_room_id")
        return shown(await turns.call_next(values.get("queue"), values.get("call_room_id")))

    @field(Permission.QUEUE_MANAGE, description="Calls somebody once more, also if they were passed over before.")
    async def recall_queue_entry(self, info: Info, input: RecallQueueEntryInput) -> QueueEntryType:
        room = object_id(input.call_room_id, "input.callRoomId") if input.call_room_id is not None else None
        return shown(await turns.recall(object_id(input.id, "input.id"), input.version, room))

    @field(Permission.QUEUE_MANAGE, description="Somebody who was called is being served.")
    async def start_service(self, info: Info, input: QueueStepInput) -> QueueEntryType:
        return shown(await turns.start(object_id(input.id, "input.id"), input.version))

    @field(Permission.QUEUE_MANAGE, description="Somebody was served.")
    async def finish_service(self, info: Info, input: QueueStepInput) -> QueueEntryType:
        return shown(await turns.finish(object_id(input.id, "input.id"), input.version))

    @field(Permission.QUEUE_MANAGE, description="Passes over somebody who was called and did not come.")
    async def skip_queue_entry(self, info: Info, input: SkipQueueEntryInput) -> QueueEntryType:
        return shown(await turns.skip(object_id(input.id, "input.id"), input.version, input.reason))

    @field(Permission.QUEUE_MANAGE, description="Somebody goes without having been served to the end.")
    async def leave_queue(self, info: Info, input: LeaveQueueInput) -> QueueEntryType:
        return shown(await turns.leave(object_id(input.id, "input.id"), input.version, input.reason))

    @field(
        Permission.QUEUE_MANAGE,
        description="Sends somebody on to another queue, with their ticket. Who was not served yet keeps their place "
        "by the time since which they have waited. Answers with the turn there.",
    )
    async def transfer_queue_entry(self, info: Info, input: TransferQueueEntryInput) -> QueueEntryType:
        return shown(await entries.transfer(object_id(input.id, "input.id"), input.version, _values(input)))

    @field(Permission.QUEUE_MANAGE, description="Lets somebody who waits go before others, or no longer.")
    async def prioritise_queue_entry(self, info: Info, input: PrioritiseQueueEntryInput) -> QueueEntryType:
        return shown(await entries.prioritise(object_id(input.id, "input.id"), input.version, _values(input)))


def _values(source: Any) -> dict[str, Any]:
    """The values of an input, the ids of its queue as ids."""
    values = given(source)
    if "queue" in values:
        values["queue"] = ids(values["queue"], "doctor_id", "room_id", "service_id", at="input.queue")
    return values


def _chosen(filter: Any) -> dict[str, Any]:
    values = given(filter) if filter is not None else {}
    if "queue" in values:
        values["queue"] = ids(values["queue"], "doctor_id", "room_id", "service_id", at="filter.queue")
    return ids(values, "patient_id", at="filter")
