"""What of the demo lies further ahead: when the clinic is open, a holiday, and somebody who comes each week."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time, timedelta
from typing import Any

from beanie import PydanticObjectId
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.services.changes import build
from app.services.demo.diary import AROUND, Practice
from app.services.scheduling.claims import claims_for
from app.services.scheduling.diary import clinic_zone
from app.services.series.recurrence import occurrences
from app.tenancy.scope import current_scope
from models import Appointment, AppointmentSeries, Closure, Settings
from models.appointment import AppointmentStatus, HistoryEntry
from models.appointment_series import Frequency, Recurrence
from models.values import now

OPENS, CLOSES = "07:00", "20:00"
WEEKS = 6


async def add_season(
    practices: Sequence[Practice],
    patients: Sequence[ObjectId],
    clerk: PydanticObjectId | None,
    session: AsyncClientSession,
) -> None:
    """Adds it all to the clinic in scope; opening hours only where it has none."""
    week = [{"weekday": weekday, "opens": OPENS, "closes": CLOSES} for weekday in range(7)]
    await Settings.guarded().update_one(
        {"opening_hours": {"$in": [None, []]}}, {"$set": {"opening_hours": week}}, session=session
    )
    today = now().astimezone(clinic_zone()).date()
    new_year = date(today.year + 1, 1, 1)
    await Closure(name="New Year's Day", first_day=str(new_year), last_day=str(new_year)).insert(session=session)
    series, appointments = _series(practices[0], patients[0], clerk, today)
    await series.insert(session=session)
    await Appointment.insert_many(appointments, session=session)


def _series(
    practice: Practice, patient: ObjectId, clerk: PydanticObjectId | None, today: date
) -> tuple[AppointmentSeries, list[Appointment]]:
    """From behind the days that the diary fills."""
    zone, opens = clinic_zone(), practice.plan.hours[0][0]
    first = today + AROUND + timedelta(days=1)
    while first.weekday() != practice.plan.weekdays[0]:
        first += timedelta(days=1)
    rule = Recurrence(frequency=Frequency.WEEKLY, count=WEEKS)
    days = occurrences(rule, first, time.fromisoformat(opens), zone, at="")
    service = practice.services[0]
    takes = timedelta(minutes=service.duration_minutes)
    parties: dict[str, Any] = {
        "patient_id": patient,
        "doctor_id": practice.staff.id,
        "room_id": practice.room_id,
        "service_id": service.id,
    }
    series: AppointmentSeries = build(
        AppointmentSeries,
        {
            **parties,
            "id": ObjectId(),
            "rule": rule,
            "first_day": days[0][0],
            "starts": opens,
            "minutes": service.duration_minutes,
            "reason": "Blood pressure, week by week",
            "created_by": clerk,
        },
        at="",
    )
    booked = [
        build(
            Appointment,
            {
                **parties,
                "id": ObjectId(),
                "starts_at": start,
                "ends_at": start + takes,
                "reason": series.reason,
                "series_id": series.id,
                "series_day": day,
                "claims": claims_for(
                    doctor=practice.staff.person,
                    room=str(practice.room_id) if practice.room_id else None,
                    patient=str(patient),
                    tenant=str(current_scope().tenant_id),
                    start=start,
                    end=start + takes,
                ),
                "history": [HistoryEntry(by=clerk, action="booked", status=AppointmentStatus.BOOKED, starts_at=start)],
                "created_by": clerk,
            },
            at="",
        )
        for day, start in days
    ]
    return series, booked
