"""Makes up who is in the demo's queues at this moment, and who was there today."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from random import Random

from beanie import PydanticObjectId
from bson import ObjectId

from app.services.changes import build
from app.services.scheduling.diary import clinic_zone
from models import Appointment, QueueEntry
from models.appointment import AppointmentStatus
from models.queue import QueuePriority, QueueStatus
from models.states import Step
from models.values import now

LABORATORY = "Blood samples"
_WAITED = timedelta(minutes=12)
_S = QueueStatus
_PATHS: dict[QueueStatus, tuple[QueueStatus, ...]] = {
    _S.WAITING: (_S.WAITING,),
    _S.CALLED: (_S.WAITING, _S.CALLED),
    _S.IN_SERVICE: (_S.WAITING, _S.CALLED, _S.IN_SERVICE),
    _S.DONE: (_S.WAITING, _S.CALLED, _S.IN_SERVICE, _S.DONE),
    _S.LEFT: (_S.WAITING, _S.LEFT),
}
_WALK_INS = (_S.DONE, _S.LEFT, _S.IN_SERVICE, _S.CALLED, _S.WAITING, _S.WAITING, _S.WAITING)
"""Where those stand who came for a blood sample without an appointment, the first to come first."""


class DemoQueue:
    """Entries of the clinic in scope, numbered from the first ticket of the day. `clerk` is a user's id."""

    def __init__(self, clerk: PydanticObjectId | None, rng: Random) -> None:
        self._clerk = clerk
        self._rng = rng
        self._now = now()
        self._zone = clinic_zone()
        self.day = self._now.astimezone(self._zone).date()
        self.tickets = 0

    def of(self, appointments: Sequence[Appointment], patients: Sequence[ObjectId]) -> Iterator[QueueEntry]:
        """Those who came for today's appointments, and some who came without one; not yet stored."""
        came = {AppointmentStatus.CHECKED_IN: _S.IN_SERVICE, AppointmentStatus.FULFILLED: _S.DONE}
        here = [one for one in appointments if one.status in came and self._is_today(one.starts_at)]
        for one in sorted(here, key=lambda one: one.starts_at):
            yield self._entry(
                one.patient_id,
                came[one.status],
                one.starts_at - _WAITED,
                one.ends_at,
                queue_key=f"doctor:{one.doctor_id}",
                doctor_id=one.doctor_id,
                appointment_id=one.id,
                call_room_id=one.room_id,
            )
        busy = {one.patient_id for one in appointments if self._is_today(one.starts_at)}
        free = [one for one in patients if one not in busy]
        for at, (status, patient) in enumerate(zip(_WALK_INS, self._rng.sample(free, len(_WALK_INS)), strict=True)):
            since = self._now - timedelta(minutes=7 * (len(_WALK_INS) - at) + 20)
            end = since + _WAITED + timedelta(minutes=8)
            desk = {"queue_key": f"desk:{LABORATORY.casefold()}", "desk": LABORATORY}
            urgent = {"priority": QueuePriority.ELEVATED, "priority_reason": "Fasting since last night"}
            more = urgent if at == len(_WALK_INS) - 1 else {}
            yield self._entry(patient, status, since, end, **desk, **more)

    def _is_today(self, moment: datetime) -> bool:
        return moment.astimezone(self._zone).date() == self.day

    def _entry(
        self, patient: ObjectId, status: QueueStatus, since: datetime, end: datetime, **where: object
    ) -> QueueEntry:
        self.tickets += 1
        called = since + _WAITED
        moments = {_S.WAITING: since, _S.CALLED: called, _S.IN_SERVICE: called, _S.DONE: end, _S.LEFT: called}
        path = _PATHS[status]
        entry: QueueEntry = build(
            QueueEntry,
            {
                **where,
                "patient_id": patient,
                "status": status,
                "day": self.day,
                "ticket": self.tickets,
                "waiting_since": since,
                "called_at": called if _S.CALLED in path else None,
                "started_at": called if _S.IN_SERVICE in path else None,
                "finished_at": end if status is _S.DONE else None,
                "history": [Step(at=moments[one], by=self._clerk, status=one.value) for one in path],
                "version": len(path),
                "created_at": since,
            },
            at="",
        )
        return entry
