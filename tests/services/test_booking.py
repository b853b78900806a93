"""Booking below GraphQL: what the index and the marks make of races, and what bounds an appointment's growth."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from bson import ObjectId

from app.errors import AppError, Conflict, InvalidState, SlotTaken
from app.services import booking
from app.services.idempotency import mark_of
from app.tenancy.scope import Actor, Scope, TenantRef, open_scope
from models import Appointment
from models.values import now
from tests.fixtures.clinics import Clinic
from tests.fixtures.desks import Desk, OpenDesk, instant, wall


@contextmanager
def acting_at(clinic: Clinic, user_id: ObjectId | None = None) -> Iterator[TenantRef]:
    """Somebody without permissions acts at the clinic."""
    actor = Actor(user_id=user_id or ObjectId(), session_id="test", name="T. Ester", email="t@example.com")
    with open_scope(Scope(request_id="test", tenant=clinic.ref, actor=actor)):
        yield clinic.ref


def asked(desk: Desk, start: str, **more: Any) -> dict[str, Any]:
    ids = {"patient_id": ObjectId(desk.patient), "doctor_id": ObjectId(desk.doctor)}
    return {**ids, "starts_at": instant(start), **more}


async def test_alternatives_are_the_next_free_times_in_order_and_within_the_horizon(
    open_desk: OpenDesk, clinic_a: Clinic
) -> None:
    desk = await open_desk(clinic_a)
    with acting_at(clinic_a):
        await booking.create(asked(desk, wall(17, 30)))
        with pytest.raises(SlotTaken) as refused:
            await booking.create(asked(desk, wall(17, 30), patient_id=ObjectId(await desk.new_patient())))

    offered = refused.value.alternatives
    assert offered[0] == instant(wall(17, 45))
    assert list(offered) == sorted(offered)
    assert len(offered) == 5


async def test_a_move_may_overlap_the_time_that_it_gives_up(desk: Desk) -> None:
    with acting_at(desk.clinic):
        row = await booking.create(asked(desk, wall(9), duration_minutes=30))
        await booking.create(asked(desk, wall(8, 30), patient_id=ObjectId(await desk.new_patient())))
        with pytest.raises(SlotTaken) as refused:
            await booking.reschedule(row["_id"], 1, {"starts_at": instant(wall(8, 30))})
        moved = await booking.reschedule(row["_id"], 1, {"starts_at": refused.value.alternatives[0]})

    assert moved["starts_at"] == instant(wall(8, 45))
    assert moved["ends_at"] == instant(wall(9, 15))


async def test_moving_and_cancelling_at_once_end_in_one_of_the_two(desk: Desk) -> None:
    with acting_at(desk.clinic):
        row = await booking.create(asked(desk, wall(9)))
        done = await asyncio.gather(
            booking.reschedule(row["_id"], 1, {"starts_at": instant(wall(10))}),
            booking.cancel(row["_id"], 1, "Ill"),
            return_exceptions=True,
        )

    refused = [one for one in done if isinstance(one, AppError)]
    assert len(refused) == 1
    assert isinstance(refused[0], Conflict | InvalidState)
    stored = (await desk.stored())[0]
    assert stored["version"] == 2
    assert (stored["status"] == "cancelled") is ("claims" not in stored)


async def test_an_appointment_is_not_moved_without_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(booking, "MAX_STEPS", 3)
    with acting_at(desk.clinic):
        row = await booking.create(asked(desk, wall(9)))
        for hour in (10, 11):
            row = await booking.reschedule(row["_id"], row["version"], {"starts_at": instant(wall(hour))})
        with pytest.raises(InvalidState, match="too often"):
            await booking.reschedule(row["_id"], row["version"], {"starts_at": instant(wall(12))})
        cancelled = await booking.cancel(row["_id"], None, "Ill")

    assert len(cancelled["history"]) == 4


async def test_a_mark_tells_requests_apart_by_person_operation_key_and_input(clinic_a: Clinic) -> None:
    with acting_at(clinic_a, ObjectId()):
        first = mark_of("create", "key", {"a": 1, "at": now()})
        marks = [
            mark_of("create", "key", {"a": 2}),
            mark_of("move", "key", {"a": 1}),
            mark_of("create", "other", {"a": 1}),
        ]
        assert mark_of("create", "key", {"b": 2, "a": 1}) == mark_of("create", "key", {"a": 1, "b": 2})
        assert mark_of("create", None, {"a": 1}) is None
    with acting_at(clinic_a, ObjectId()):
        elsewhere = mark_of("create", "key", {"a": 1})

    assert first is not None
    assert elsewhere is not None
    assert first.id == marks[0].id  # type: ignore[union-attr]  # a key was given
    assert len({one.id for one in [first, *marks[1:], elsewhere] if one}) == 4
    assert len({one.digest for one in [first, *marks[:2]] if one}) == 3


async def test_a_booking_that_loses_is_not_there_at_all(desk: Desk) -> None:
    with acting_at(desk.clinic):
        before = await Appointment.guarded().count_documents({})
        done = await asyncio.gather(
            *(booking.create(asked(desk, wall(9)), key=f"key-{turn}") for turn in range(10)), return_exceptions=True
        )
        after = await Appointment.guarded().count_documents({})

    assert sum(isinstance(one, SlotTaken) for one in done) == 9
    assert after - before == 1


async def test_nobody_in_particular_may_book_but_not_overbook(desk: Desk) -> None:
    with acting_at(desk.clinic) as tenant, open_scope(Scope(request_id="job", tenant=replace(tenant))):
        row = await booking.create(asked(desk, wall(9)))

    assert row["created_by"] is None
    assert row["history"][0]["by"] is None
