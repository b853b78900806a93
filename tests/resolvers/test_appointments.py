"""Booking, moving and cancelling over GraphQL: what a desk sees, and that a refusal changes nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import Appointment, Patient, Staff
from models.appointment import AppointmentStatus
from models.staff import StaffKind
from tests.fixtures.clinics import Clinic, Server
from tests.fixtures.desks import CANCEL, CREATE, MOVE, Desk, OpenDesk, day_ahead, instant, past, wall


async def test_a_booked_appointment_tells_who_when_where_and_what_was_done(desk: Desk) -> None:
    room = await desk.new_room()

    shown = await desk.booked(wall(9), roomId=room, durationMinutes=45, reason="Cough", notes="Brings X-rays")

    assert instant(shown["startsAt"]) == instant(wall(9))
    assert instant(shown["endsAt"]) == instant(wall(9, 45))
    assert (shown["status"], shown["version"], shown["overbooked"]) == ("BOOKED", 1, False)
    assert (shown["reason"], shown["notes"], shown["cancelReason"]) == ("Cough", "Brings X-rays", None)
    assert shown["patient"] == {"id": desk.patient}
    assert shown["doctor"] == {"id": desk.doctor}
    assert shown["room"] == {"id": room}
    assert shown["service"] is None
    step = shown["history"][0]
    assert (step["action"], step["status"], step["by"]) == (
        "booked",
        "BOOKED",
        {"id": str(desk.clinic.staff["receptionist"].id)},
    )
    asked = "query($id: ID!) { appointment(id: $id) { id version status history { action } } }"
    found = (await desk.client.gql(asked, id=shown["id"])).data["appointment"]
    assert found == {"id": shown["id"], "version": 1, "status": "BOOKED", "history": [{"action": "booked"}]}


async def test_the_service_says_how_long_it_takes_and_without_any_it_is_a_usual_slot(desk: Desk) -> None:
    service = await desk.new_service(40)

    by_service = await desk.booked(wall(9), serviceId=service)
    usual = await desk.booked(wall(10))

    assert instant(by_service["endsAt"]) == instant(wall(9, 40))
    assert instant(usual["endsAt"]) == instant(wall(10, 15))


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"startsAt": wall(7)}, "input.startsAt"),
        ({"startsAt": wall(17, 50)}, "input.startsAt"),
        ({"startsAt": wall(9, 3)}, "input.startsAt"),
        ({"startsAt": past()}, "input.startsAt"),
        ({"startsAt": wall(9, day=day_ahead(300))}, "input.startsAt"),
        ({"startsAt": "1800-01-01T09:00:00Z"}, "input.startsAt"),
        ({"startsAt": "9999-12-31T23:59:00Z"}, "input.startsAt"),
        ({"durationMinutes": 7}, "input.durationMinutes"),
        ({"durationMinutes": -5}, "input.durationMinutes"),
        ({"durationMinutes": 2_000_000_000}, "input.durationMinutes"),
        ({"reason": " "}, "input.reason"),
        ({"reason": "x" * 201}, "input.reason"),
        ({"notes": "x" * 5001}, "input.notes"),
        ({"notes": "bell \u0007"}, "input.notes"),
        ({"idempotencyKey": "x" * 201}, "input.idempotencyKey"),
    ],
)
async def test_wrong_input_is_told_by_its_path_and_books_nothing(desk: Desk, change: dict[str, Any], path: str) -> None:
    asked = {"patientId": desk.patient, "doctorId": desk.doctor, "startsAt": wall(9), **change}

    answer = await desk.client.gql(CREATE, input=asked)

    assert answer.codes == ["VALIDATION_FAILED"]
    assert answer.paths == [path]
    assert await desk.stored() == []


async def test_an_empty_key_or_overbooking_reason_is_refused(open_desk: OpenDesk, clinic_a: Clinic) -> None:
    desk = await open_desk(clinic_a, "doctor")
    asked = {"patientId": desk.patient, "doctorId": desk.doctor, "startsAt": wall(9)}

    for name in ("idempotencyKey", "overbookReason"):
        answer = await desk.client.gql(CREATE, input={**asked, name: " "})

        assert answer.codes == ["VALIDATION_FAILED"]
        assert answer.paths == [f"input.{name}"]
    assert await desk.stored() == []


async def test_who_has_no_working_hours_cannot_be_booked_and_is_said_to_have_none(
    open_desk: OpenDesk, clinic_a: Clinic
) -> None:
    desk = await open_desk(clinic_a, hours=False)

    answer = await desk.book(wall(9))

    assert answer.codes == ["VALIDATION_FAILED"]
    assert "no working hours" in answer.errors[0]["extensions"]["fields"][0]["message"]
    assert await desk.slots() == []


async def test_only_doctors_in_service_and_patients_on_the_books_can_be_booked(desk: Desk) -> None:
    nurse = str(desk.clinic.staff["nurse"].id)
    async with tenant_scope(desk.clinic.ref):
        left = await Staff(
            kind=StaffKind.DOCTOR, name="Left Long Ago", name_key="left", archived_at=instant(past())
        ).insert()
        gone = await Patient(given_name="Gone", family_name="Away").keyed().insert()
        assert gone.id is not None
        await Patient.guarded().archive(gone.id)

    refused = [
        await desk.book(wall(9), doctorId=nurse),
        await desk.book(wall(9), doctorId=str(left.id)),
        await desk.book(wall(9), patientId=str(gone.id)),
    ]

    assert [answer.codes for answer in refused] == [["VALIDATION_FAILED"]] * 3
    assert [answer.paths for answer in refused] == [["input.doctorId"], ["input.doctorId"], ["input.patientId"]]
    assert await desk.stored() == []


@pytest.mark.parametrize("name", ["patientId", "doctorId", "roomId", "serviceId"])
async def test_what_another_clinic_has_is_answered_as_what_nobody_has(desk: Desk, desk_b: Desk, name: str) -> None:
    theirs = {
        "patientId": desk_b.patient,
        "doctorId": desk_b.doctor,
        "roomId": await desk_b.new_room(),
        "serviceId": await desk_b.new_service(30),
    }

    answers = [await desk.book(wall(9), **{name: one}) for one in (theirs[name], str(ObjectId()), "nonsense")]

    shown = [answer.body for answer in answers]
    for body in shown:
        body["errors"][0]["extensions"].pop("requestId")
        body["extensions"].pop("cost")  # what is left of one's budget
    assert shown[0] == shown[1] == shown[2]
    assert answers[0].codes == ["NOT_FOUND"]
    assert answers[0].paths == [f"input.{name}"]
    assert await desk.stored() == await desk_b.stored() == []


async def test_an_appointment_of_another_clinic_is_answered_as_one_that_nobody_has(desk: Desk, desk_b: Desk) -> None:
    theirs = await desk_b.booked(wall(9))
    ids = (theirs["id"], str(ObjectId()), "nonsense")

    for mutation, more in (
        (MOVE, {"version": 1, "startsAt": wall(10)}),
        (CANCEL, {"reason": "Ill"}),
    ):
        answers = [await desk.client.gql(mutation, input={"id": one, **more}) for one in ids]
        assert [(answer.codes, answer.paths) for answer in answers] == [(["NOT_FOUND"], ["input.id"])] * 3
    answers = [await desk.client.gql("query($id: ID!) { appointment(id: $id) { id } }", id=one) for one in ids]
    assert [(answer.codes, answer.paths) for answer in answers] == [(["NOT_FOUND"], ["id"])] * 3
    assert [row["version"] for row in await desk_b.stored()] == [1]


@pytest.mark.parametrize(
    ("role", "mutation", "more"),
    [
        ("accountant", CREATE, {}),
        ("accountant", MOVE, {}),
        ("nurse", CANCEL, {}),
        ("receptionist", CREATE, {"overbookReason": "Emergency"}),
        ("nurse", CREATE, {"overbookReason": "Emergency"}),
    ],
)
async def test_who_may_not_is_refused_and_nothing_changes(
    open_desk: OpenDesk, server: Server, clinic_a: Clinic, role: str, mutation: str, more: dict[str, Any]
) -> None:
    desk = await open_desk(clinic_a)
    there = await desk.booked(wall(9))
    before = await desk.stored()
    client = await server.sign_in(clinic_a, role)
    inputs: dict[str, dict[str, Any]] = {
        CREATE: {"patientId": await desk.new_patient(), "doctorId": desk.doctor, "startsAt": wall(9)},
        MOVE: {"id": there["id"], "version": 1, "startsAt": wall(10)},
        CANCEL: {"id": there["id"], "reason": "Ill"},
    }

    answer = await client.gql(mutation, input={**inputs[mutation], **more})

    assert answer.codes == ["FORBIDDEN"]
    assert answer.status == 403
    assert await desk.stored() == before


async def test_a_moved_appointment_keeps_its_length_and_tells_its_history(desk: Desk) -> None:
    there = await desk.booked(wall(9), durationMinutes=30, roomId=await desk.new_room())
    other = await desk.new_room()

    moved = (await desk.move(there, wall(9, 15), roomId=other, reason="Doctor is late")).data["rescheduleAppointment"]
    longer = (await desk.move(moved, wall(11), durationMinutes=60, roomId=None)).data["rescheduleAppointment"]

    assert (instant(moved["startsAt"]), instant(moved["endsAt"])) == (instant(wall(9, 15)), instant(wall(9, 45)))
    assert moved["room"] == {"id": other}
    assert instant(longer["endsAt"]) == instant(wall(12))
    assert longer["room"] is None
    steps = [(step["action"], instant(step["startsAt"]), step["reason"]) for step in longer["history"]]
    assert steps == [
        ("booked", instant(wall(9)), None),
        ("rescheduled", instant(wall(9, 15)), "Doctor is late"),
        ("rescheduled", instant(wall(11)), None),
    ]
    assert {instant(wall(9)), instant(wall(9, 15)), instant(wall(10, 45))} <= set(map(instant, await desk.slots()))


async def test_an_appointment_can_be_moved_to_another_doctor(open_desk: OpenDesk, clinic_a: Clinic) -> None:
    desk, other = await open_desk(clinic_a), await open_desk(clinic_a)
    there = await desk.booked(wall(9))

    moved = await desk.move(there, wall(9), doctorId=other.doctor)

    assert moved.data["rescheduleAppointment"]["doctor"] == {"id": other.doctor}
    assert instant(wall(9)) in map(instant, await desk.slots())
    assert instant(wall(9)) not in map(instant, await other.slots())


async def test_a_move_that_fails_changes_nothing(desk: Desk, desk_b: Desk) -> None:
    there = await desk.booked(wall(9))
    await desk.booked(wall(10), patientId=await desk.new_patient())
    before = await desk.stored()

    refused = [
        await desk.move(there, wall(10)),
        await desk.move(there, wall(7)),
        await desk.move(there, past()),
        await desk.move(there, wall(11), durationMinutes=3),
        await desk.move(there, wall(11), doctorId=desk_b.doctor),
        await desk.move(there, wall(11), roomId=await desk_b.new_room()),
        await desk.move({**there, "version": 7}, wall(11)),
    ]

    assert [answer.codes[0] for answer in refused] == [
        "SLOT_TAKEN",
        *["VALIDATION_FAILED"] * 3,
        *["NOT_FOUND"] * 2,
        "CONFLICT",
    ]
    assert [answer.paths for answer in refused] == [
        [],
        ["input.startsAt"],
        ["input.startsAt"],
        ["input.durationMinutes"],
        ["input.doctorId"],
        ["input.roomId"],
        ["input.version"],
    ]
    assert await desk.stored() == before


async def test_of_two_who_move_the_same_version_one_is_told_of_the_conflict(desk: Desk) -> None:
    there = await desk.booked(wall(9))

    answers = await asyncio.gather(*(desk.move(there, wall(hour)) for hour in range(10, 16)))

    assert Counter(code for answer in answers for code in answer.codes) == {"CONFLICT": 5}
    assert [row["version"] for row in await desk.stored()] == [2]


async def test_cancelling_frees_the_time_and_cannot_be_done_twice(desk: Desk) -> None:
    there = await desk.booked(wall(9))

    cancelled = (await desk.cancel(there, version=1)).data["cancelAppointment"]
    again = await desk.cancel(there)
    moved = await desk.move(cancelled, wall(10))

    assert (cancelled["status"], cancelled["cancelReason"], cancelled["version"]) == ("CANCELLED", "Ill", 2)
    assert cancelled["history"][-1]["action"] == "cancelled"
    assert again.codes == moved.codes == ["INVALID_STATE"]
    assert "CANCELLED" in again.errors[0]["message"]
    assert "nothing" in again.errors[0]["message"]
    assert not (await desk.book(wall(9))).errors


async def test_a_step_that_the_state_does_not_allow_names_those_that_it_does(desk: Desk) -> None:
    there = await desk.booked(wall(9))
    async with tenant_scope(desk.clinic.ref):
        await Appointment.change(ObjectId(there["id"]), 1, {"status": AppointmentStatus.CHECKED_IN.value})
    before = await desk.stored()

    answer = await desk.move({**there, "version": 2}, wall(10))

    assert answer.codes == ["INVALID_STATE"]
    assert "CANCELLED, ENTERED_IN_ERROR, FULFILLED" in answer.errors[0]["message"]
    assert await desk.stored() == before


async def test_cancelling_an_older_version_or_without_reason_is_refused(desk: Desk) -> None:
    there = await desk.booked(wall(9))

    older = await desk.cancel(there, version=9)
    silent = await desk.cancel(there, reason="  ")

    assert (older.codes, older.paths) == (["CONFLICT"], ["input.version"])
    assert (silent.codes, silent.paths) == (["VALIDATION_FAILED"], ["input.reason"])
    assert (await desk.stored())[0]["status"] == "booked"
