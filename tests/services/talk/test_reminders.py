"""Reminders: of tomorrow's booked appointments, in the clinic's own day, once each, whatever runs at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.config import Settings
from app.jobs.runs import run_job
from app.services import mailing
from app.services.talk import reminders
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from models import Appointment, Notification, OutboxMessage
from models.appointment import AppointmentStatus
from models.values import now
from tests.fixtures.clinics import Clinic, MakeClinic
from tests.fixtures.desks import ZONE
from tests.fixtures.portal import Visit, Visitor


def at(days: int, hour: int) -> datetime:
    day = now().astimezone(ZONE).date() + timedelta(days=days)
    return datetime(day.year, day.month, day.day, hour, tzinfo=ZONE)


async def booked(clinic: Clinic, visitor: Visitor, starts: datetime, **values: Any) -> Appointment:
    async with tenant_scope(clinic.ref):
        return await Appointment(
            patient_id=visitor.patient_id,
            doctor_id=clinic.staff["doctor"].key,
            starts_at=starts,
            ends_at=starts + timedelta(minutes=30),
            **{"status": AppointmentStatus.BOOKED, **values},
        ).insert()


async def told(clinic: Clinic) -> list[Any]:
    async with tenant_scope(clinic.ref):
        return [row["appointment_id"] for row in await Notification.rows({}, sort=[("_id", 1)])]


async def test_each_of_tomorrows_is_told_of_once(make_clinic: MakeClinic, visit: Visit, settings: Settings) -> None:
    clinic = await make_clinic()
    vera = await visit(clinic)
    early, late = await booked(clinic, vera, at(1, 0)), await booked(clinic, vera, at(1, 23))
    await booked(clinic, vera, at(0, 23))
    await booked(clinic, vera, at(2, 0))
    await booked(clinic, vera, at(1, 9), status=AppointmentStatus.CANCELLED)

    async with tenant_scope(clinic.ref):
        done = await asyncio.gather(*(reminders.remind(settings) for _ in range(4)))
    assert sum(one["reminded"] for one in done if isinstance(one, Mapping)) == 2
    assert set(await told(clinic)) == {early.id, late.id}
    mails = await OutboxMessage.rows({"clinic_id": clinic.tenant.id})
    assert [row["kind"] for row in mails] == ["appointment.reminder"] * 2

    async with tenant_scope(clinic.ref):
        assert await reminders.remind(settings) == {"reminded": 0}
        await Appointment.guarded().update_one({"_id": early.id}, {"$set": {"starts_at": at(1, 8)}})
        assert await reminders.remind(settings) == {"reminded": 1}, "one that was moved is told of anew"


async def test_a_clinic_that_fails_holds_up_no_other(
    make_clinic: MakeClinic, visit: Visit, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, well = await make_clinic(), await make_clinic()
    await booked(broken, await visit(broken), at(1, 9))
    await booked(well, await visit(well), at(1, 9))
    real = mailing.language_of

    async def fails(tenant: Any, session: Any = None) -> Any:
        if tenant.subdomain == broken.tenant.subdomain:
            raise RuntimeError("no language")
        return await real(tenant, session)

    monkeypatch.setattr(reminders, "language_of", fails)
    with open_scope(Scope(request_id="test")):
        report = await run_job("remind-appointments", settings)
    assert report.failed[broken.tenant.subdomain] == "RuntimeError"
    assert report.by_clinic[well.tenant.subdomain] == {"reminded": 1}
    assert await told(broken) == []
