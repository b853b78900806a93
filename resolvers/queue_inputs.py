"""What is told to the queue, and its enums."""

from __future__ import annotations

from datetime import date

import strawberry

from models.queue import QueuePriority, QueueStatus
from resolvers.values import described

described(
    QueueStatus,
    "Where somebody stands in a queue.",
    WAITING="They wait.",
    CALLED="They were called.",
    IN_SERVICE="They are being served.",
    DONE="They were served.",
    SKIPPED="They were called, and did not come.",
    LEFT="They went without having been served to the end.",
    TRANSFERRED="They were sent on to another queue.",
)
described(
    QueuePriority,
    "Who is called before whom.",
    URGENT="Before everybody else.",
    ELEVATED="Before those who can wait: small children, pregnancy, old age, pain.",
    NORMAL="In the order of coming.",
)


@strawberry.input(
    name="QueueInput",
    description="Which queue: a doctor's, a room's, a service's or a desk's; or, with none of them, the general one.",
)
class QueueInput:
    doctor_id: strawberry.ID | None = strawberry.field(default=None, description="The doctor's staff profile.")
    room_id: strawberry.ID | None = strawberry.field(default=None, description="The room.")
    service_id: strawberry.ID | None = strawberry.field(default=None, description="The service.")
    desk: str | None = strawberry.field(default=None, description="The name of a desk, such as `Blood samples`.")


@strawberry.input(description="Who of those in the queues. All conditions must hold.")
class QueueFilter:
    queue: QueueInput | None = strawberry.field(default=None, description="In this queue; without it, in all.")
    status: QueueStatus | None = strawberry.field(default=None, description="Of this status.")


@strawberry.input(description="Which turns of a day. All conditions must hold.")
class QueueLogFilter:
    day: date | None = strawberry.field(default=None, description="The clinic's day; today without it.")
    queue: QueueInput | None = strawberry.field(default=None, description="In this queue; without it, in all.")
    status: QueueStatus | None = strawberry.field(default=None, description="Of this status.")
    patient_id: strawberry.ID | None = strawberry.field(
        default=None, description="Of this patient; of all days when no day is given."
    )


@strawberry.input(description="Who waits, and for what.")
class EnqueuePatientInput:
    patient_id: strawberry.ID = strawberry.field(description="The patient.")
    queue: QueueInput | None = strawberry.field(
        default=None, description="Where; without it, for the appointment's doctor, or in the general queue."
    )
    appointment_id: strawberry.ID | None = strawberry.field(
        default=None, description="The appointment for which the patient came, booked or checked in."
    )
    priority: QueuePriority = strawberry.field(
        default=QueuePriority.NORMAL, description="Whether they go before others."
    )
    priority_reason: str | None = strawberry.field(default=None, description="Why they go before others.")


@strawberry.input(description="Which queue is ready for the next one, and where they are to go.")
class CallNextInput:
    queue: QueueInput | None = strawberry.field(default=None, description="The queue; without it, the general one.")
    call_room_id: strawberry.ID | None = strawberry.field(
        default=None, description="The room to which they are called, when it is not the queue's own."
    )


@strawberry.input(description="Whose turn it is.")
class QueueStepInput:
    id: strawberry.ID = strawberry.field(description="The turn.")
    version: int | None = strawberry.field(default=None, description="The version that the step is based on, if any.")


@strawberry.input(description="Whom to call once more.")
class RecallQueueEntryInput:
    id: strawberry.ID = strawberry.field(description="The turn.")
    version: int | None = strawberry.field(default=None, description="The version that the step is based on, if any.")
    call_room_id: strawberry.ID | None = strawberry.field(default=None, description="Another room to go to.")


@strawberry.input(description="Whom to pass over.")
class SkipQueueEntryInput:
    id: strawberry.ID = strawberry.field(description="The turn.")
    version: int | None = strawberry.field(default=None, description="The version that the step is based on, if any.")
    reason: str | None = strawberry.field(default=None, description="Why; kept in the history.")


@strawberry.input(description="Who leaves a queue.")
class LeaveQueueInput:
    id: strawberry.ID = strawberry.field(description="The turn.")
    version: int | None = strawberry.field(default=None, description="The version that the step is based on, if any.")
    reason: str | None = strawberry.field(default=None, description="Why; kept in the history.")


@strawberry.input(description="Whom to send on, and where to.")
class TransferQueueEntryInput:
    id: strawberry.ID = strawberry.field(description="The turn.")
    version: int | None = strawberry.field(default=None, description="The version that the step is based on, if any.")
    queue: QueueInput = strawberry.field(description="The queue to go on to.")
    reason: str | None = strawberry.field(default=None, description="Why; kept in the history.")


@strawberry.input(description="Who is to go before others, or no longer.")
class PrioritiseQueueEntryInput:
    id: strawberry.ID = strawberry.field(description="The turn.")
    version: int = strawberry.field(description="The version that the change is based on.")
    priority: QueuePriority = strawberry.field(description="Whether they go before others.")
    priority_reason: str | None = strawberry.field(default=None, description="Why they go before others.")
