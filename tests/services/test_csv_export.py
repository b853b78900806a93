"""Lists as CSV are read and written in parts: a long list takes no more memory than a short one."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.services import csv_export
from app.tenancy.crossing import tenant_scope
from models import Appointment, Patient
from models.appointment import AppointmentStatus
from tests.fixtures.clinics import MakeClinic
from tests.fixtures.commands import Commands
from tests.fixtures.desks import Desk, OpenDesk

START = datetime(2031, 3, 1, 12, tzinfo=UTC)
SPAN = timedelta(days=90)


async def fill(desk: Desk, count: int) -> None:
    """So many appointments; always two start at once, so that parts are cut between equals."""
    rows = [
        Appointment(
            patient_id=desk.patient_id,
            doctor_id=desk.doctor_id,
            starts_at=START + timedelta(minutes=5 * (turn // 2)),
            ends_at=START + timedelta(minutes=5 * (turn // 2) + 5),
            status=AppointmentStatus.CANCELLED,
            reason="x" * 150,
        )
        for turn in range(count)
    ]
    await Appointment.insert_many(rows)


async def walked() -> tuple[int, int]:
    """How many lines the list has, and how much memory was in use at most, in bytes."""
    lines = 0
    tracemalloc.start()
    try:
        async for part in csv_export.appointments(START, START + SPAN):
            lines += part.count(b"\r\n")
        return lines - 1, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_a_list_ten_times_as_long_takes_no_more_memory(
    make_clinic: MakeClinic, open_desk: OpenDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_export, "BATCH", 101)
    desk: Any = await open_desk(await make_clinic())
    async with tenant_scope(desk.clinic.ref):
        await fill(desk, 303)
        await walked()  # what is loaded once is not counted
        short, little = await walked()
        await fill(desk, 2727)
        long, much = await walked()

    assert (short, long) == (303, 3030)
    assert much < 2 * little


async def test_the_first_patients_are_out_before_the_last_ones_are_read(
    make_clinic: MakeClinic, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_export, "BATCH", 10)
    async with tenant_scope((await make_clinic()).ref):
        await Patient.insert_many([Patient(given_name="Ana", family_name=f"F {n:03}").keyed() for n in range(95)])
        commands.clear()
        parts = csv_export.patients()

        header = await anext(parts)
        assert (header.count(b"\r\n"), commands.read("patients")) == (1, 0)
        first = await anext(parts)
        assert (first.count(b"\r\n"), commands.read("patients")) == (10, 10)

        assert sum([part.count(b"\r\n") async for part in parts]) == 85
