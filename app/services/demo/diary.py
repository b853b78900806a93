"""Makes up a clinic's appointments for two weeks back and two weeks ahead, none in another's way."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from zoneinfo import ZoneInfo

from beanie import PydanticObjectId
from bson import ObjectId

from app.services.changes import build
from app.services.demo.plans import DoctorPlan
from app.services.scheduling.claims import claims_for
from app.services.scheduling.slots import WeeklyRule, free_slots
from app.tenancy.scope import current_scope
from models import Appointment, Service, Staff
from models.appointment import AppointmentStatus, HistoryEntry
from models.values import now

AROUND = timedelta(days=14)
SLOT = timedelta(minutes=30)
_EVER = datetime(2000, 1, 1, tzinfo=UTC)
_REASONS = (
    "Cough for a week",
    "Blood pressure check",
    "Rash on the arm",
    "Back pain",
    "Test results",
    "New prescription",
    "Headaches",
    "Yearly check",
    "Fever since yesterday",
    "Knee pain after a fall",
)
_NOT_COMING = ("Feels better", "Cannot come that day", "Went to the hospital")

_S = AppointmentStatus
_PATHS: dict[AppointmentStatus, tuple[AppointmentStatus, ...]] = {
    _S.BOOKED: (_S.BOOKED,),
    _S.CHECKED_IN: (_S.BOOKED, _S.CHECKED_IN),
    _S.FULFILLED: (_S.BOOKED, _S.CHECKED_IN, _S.FULFILLED),
    _S.NO_SHOW: (_S.BOOKED, _S.NO_SHOW),
    _S.CANCELLED: (_S.BOOKED, _S.CANCELLED),
}
"""How an appointment came to where it stands."""


@dataclass(frozen=True, slots=True)
class Practice:
    """A doctor at work: where, and what they offer."""

    plan: DoctorPlan
    staff: Staff
    room_id: ObjectId | None
    services: Sequence[Service]


class DemoDiary:
    """Appointments of the clinic in scope. A patient comes at most once a day; `clerk` is a user's id."""

    def __init__(self, patients: Sequence[ObjectId], clerk: PydanticObjectId | None, rng: Random) -> None:
        self._patients = patients
        self._clerk = clerk
        self._rng = rng
        self._now = now()
        self._seen: defaultdict[date, set[ObjectId]] = defaultdict(set)
        tenant = current_scope().tenant
        self._zone = ZoneInfo(tenant.timezone if tenant else "UTC")
        self._clinic = str(current_scope().tenant_id)

    def of(self, practice: Practice) -> Iterator[Appointment]:
        """The appointments of one doctor, not yet stored."""
        for start in self._slots(practice.plan):
            if self._rng.random() < self._fullness(start):
                yield self._appointment(practice, start)

    def _slots(self, plan: DoctorPlan) -> list[datetime]:
        today = self._now.astimezone(self._zone).date()
        rules = [
            WeeklyRule(day, time.fromisoformat(opens), time.fromisoformat(closes))
            for day in plan.weekdays
            for opens, closes in plan.hours
        ]
        return free_slots(
            rules=rules,
            absences=(),
            busy=(),
            zone=self._zone,
            first_day=today - AROUND,
            last_day=today + AROUND,
            duration=SLOT,
            step=SLOT,
            not_before=_EVER,
        )

    def _fullness(self, start: datetime) -> float:
        """The share of slots that are taken: fewer, the further ahead."""
        ahead = (start - self._now) / AROUND
        return 0.6 if ahead < 0 else 0.55 - 0.35 * ahead

    def _appointment(self, practice: Practice, start: datetime) -> Appointment:
        service = self._rng.choice(practice.services)
        end = start + timedelta(minutes=service.duration_minutes)
        status = self._status(start, end)
        patient = self._patient(start)
        reason = self._rng.choice(_NOT_COMING) if status is _S.CANCELLED else None
        history = list(self._history(status, start, end, reason))
        appointment: Appointment = build(
            Appointment,
            {
                "id": ObjectId(),
                "patient_id": patient,
                "doctor_id": practice.staff.id,
                "room_id": practice.room_id,
                "service_id": service.id,
                "starts_at": start,
                "ends_at": end,
                "status": status,
                "reason": self._rng.choice(_REASONS),
                "cancel_reason": reason,
                "claims": None if status is _S.CANCELLED else self._claims(practice, patient, start, end),
                "history": history,
                "version": len(history),
                "created_at": history[0].at,
                "updated_at": history[-1].at,
                "created_by": self._clerk,
            },
            at="",
        )
        return appointment

    def _patient(self, start: datetime) -> ObjectId:
        seen = self._seen[start.astimezone(self._zone).date()]
        patient = self._rng.choice([one for one in self._patients if one not in seen])
        seen.add(patient)
        return patient

    def _status(self, start: datetime, end: datetime) -> AppointmentStatus:
        if end <= self._now:
            return self._rng.choices((_S.FULFILLED, _S.NO_SHOW, _S.CANCELLED), (86, 7, 7))[0]
        if start <= self._now:
            return _S.CHECKED_IN
        return self._rng.choices((_S.BOOKED, _S.CANCELLED), (95, 5))[0]

    def _history(
        self, status: AppointmentStatus, start: datetime, end: datetime, reason: str | None
    ) -> Iterator[HistoryEntry]:
        booked = min(start, self._now) - timedelta(days=self._rng.randrange(1, 15), minutes=self._rng.randrange(600))
        moments: dict[AppointmentStatus, datetime] = {
            _S.BOOKED: booked,
            _S.CHECKED_IN: start - timedelta(minutes=5),
            _S.FULFILLED: end,
            _S.NO_SHOW: end,
            _S.CANCELLED: booked + timedelta(hours=9),
        }
        for step in _PATHS[status]:
            why = reason if step is _S.CANCELLED else None
            yield HistoryEntry(
                at=moments[step], by=self._clerk, action=step.value, status=step, starts_at=start, reason=why
            )

    def _claims(self, practice: Practice, patient: ObjectId, start: datetime, end: datetime) -> list[str]:
        return claims_for(
            doctor=practice.staff.person,
            room=str(practice.room_id) if practice.room_id else None,
            patient=str(patient),
            tenant=self._clinic,
            start=start,
            end=end,
        )
