"""The queue of a day: who is here, what they wait for, and who is called next."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Annotated, ClassVar

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.base import TenantDocument
from models.references import Reference
from models.states import Staged, Transitions
from models.values import Day, Name, Text


class QueueStatus(StrEnum):
    """The states of somebody who waits; `QueueEntry.transitions` says which may follow which."""

    WAITING = "waiting"
    CALLED = "called"
    IN_SERVICE = "in_service"
    DONE = "done"
    SKIPPED = "skipped"
    LEFT = "left"
    TRANSFERRED = "transferred"


class QueuePriority(IntEnum):
    """Who is called before whom: the lower number first."""

    URGENT = 0
    ELEVATED = 1
    NORMAL = 2


_S = QueueStatus
TRANSITIONS: Mapping[QueueStatus, frozenset[QueueStatus]] = {
    _S.WAITING: frozenset({_S.CALLED, _S.LEFT, _S.TRANSFERRED}),
    _S.CALLED: frozenset({_S.CALLED, _S.IN_SERVICE, _S.SKIPPED, _S.LEFT, _S.TRANSFERRED}),
    _S.IN_SERVICE: frozenset({_S.DONE, _S.LEFT, _S.TRANSFERRED}),
    _S.DONE: frozenset(),
    _S.SKIPPED: frozenset({_S.CALLED, _S.LEFT}),
    _S.LEFT: frozenset(),
    _S.TRANSFERRED: frozenset(),
}
"""Somebody who was called may be called again, and so may somebody who was passed over and has turned up."""
ACTIVE = (_S.WAITING, _S.CALLED, _S.IN_SERVICE)
"""States in which somebody is in a queue, be it at its very front."""
ACTIVE_VALUES = [status.value for status in ACTIVE]


class QueueEntry(Staged, TenantDocument):
    """One patient's turn in one queue.

    The queue is that of a doctor, a room, a service or a named desk, whichever is set, or the clinic's general one;
    `queue_key` says the same in one word, and an index lets a patient be in each but once. `ticket` is the number of
    the day, and goes along when the patient is sent on to another queue.
    """

    transitions: ClassVar[Transitions] = TRANSITIONS

    status: QueueStatus = QueueStatus.WAITING
    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    queue_key: str
    doctor_id: Annotated[PydanticObjectId, Reference("staff")] | None = None
    room_id: Annotated[PydanticObjectId, Reference("rooms")] | None = None
    service_id: Annotated[PydanticObjectId, Reference("services")] | None = None
    desk: Name | None = None
    appointment_id: Annotated[PydanticObjectId, Reference("appointments")] | None = None
    transferred_from_id: Annotated[PydanticObjectId, Reference("queue_entries")] | None = None
    day: Day
    ticket: int = Field(ge=1)
    priority: QueuePriority = QueuePriority.NORMAL
    priority_reason: Annotated[Text | None, Sealed()] = None
    waiting_since: datetime
    call_room_id: Annotated[PydanticObjectId, Reference("rooms")] | None = None
    """The room to which the patient is called, when it is not the queue's own."""
    calls: int = 0
    called_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None

    class Settings:
        name = "queue_entries"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING), ("queue_key", ASCENDING)],
                name="one_active",
                unique=True,
                partialFilterExpression={"status": {"$in": ACTIVE_VALUES}},
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("day", ASCENDING), ("ticket", ASCENDING)],
                name="one_per_ticket",
                unique=True,
                partialFilterExpression={"transferred_from_id": None},
            ),
            IndexModel(
                [
                    ("tenant_id", ASCENDING),
                    ("queue_key", ASCENDING),
                    ("status", ASCENDING),
                    ("priority", ASCENDING),
                    ("waiting_since", ASCENDING),
                    ("_id", ASCENDING),
                ],
                name="queue_place",
            ),
            IndexModel(
                [
                    ("tenant_id", ASCENDING),
                    ("status", ASCENDING),
                    ("priority", ASCENDING),
                    ("waiting_since", ASCENDING),
                    ("_id", ASCENDING),
                ],
                name="place",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("day", ASCENDING), ("waiting_since", DESCENDING), ("_id", DESCENDING)],
                name="day_waiting",
            ),
            IndexModel(
                [
                    ("tenant_id", ASCENDING),
                    ("patient_id", ASCENDING),
                    ("waiting_since", DESCENDING),
                    ("_id", DESCENDING),
                ],
                name="patient_waiting",
            ),
            IndexModel(
                [
                    ("tenant_id", ASCENDING),
                    ("appointment_id", ASCENDING),
                    ("waiting_since", DESCENDING),
                    ("_id", DESCENDING),
                ],
                name="appointment_waiting",
            ),
        )
