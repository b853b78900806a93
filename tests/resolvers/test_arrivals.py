"""Appointments on their day: whoever comes is checked in and waits, and time that is free again can be booked."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import Appointment
from models.values import now
from tests.fixtures.clinics import Answer, Server
from tests.fixtures.desks import Desk, day_ahead, wall
from tests.resolvers.queue_calls import done, say, waiting

pytestmark = pytest.mark.usefixtures("days_early")

SHOWN = "{ id version status history { action reason } queueEntries(first: 5) { edges { node { status ticket } } } }"
_INPUTS = {
    "checkIn": "CheckInInput",
    "undoCheckIn": "UndoCheckInInput",
    "fulfilAppointment": "FulfilAppointmentInput",
    "markNoShow": "MarkNoShowInput",
    "enterAppointmentInError": "EnterAppointmentInErrorInput",
}


async def step(desk: Desk, name: str, appointment: dict[str, Any], **more: Any) -> Answer:
    text = f"mutation($input: {_INPUTS[name]}!) {{ {name}(input: $input) {SHOWN} }}"
    return await desk.client.gql(text, input={"id": appointment["id"], **more})


async def taken(desk: Desk, name: str, appointment: dict[str, Any], **more: Any) -> dict[str, Any]:
    shown: dict[str, Any] = (await step(desk, name, appointment, **more)).data[name]
    return shown


async def begin(desk: Desk, appointment: dict[str, Any], minutes: int = 10) -> None:
    """Lets a booked half hour have begun so many minutes ago: its bounds and claims move into the past."""
    start = now().replace(second=0, microsecond=0)
    start -= timedelta(minutes=start.minute % 5 + minutes)
    times = [start + timedelta(minutes=5 * at) for at in range(6)]
    claims = [f"doctor:{desk.doctor}:{one:%Y%m%dT%H%M}" for one in times]
    async with tenant_scope(desk.clinic.ref):
        await Appointment.guarded().update_one(
            {"_id": ObjectId(appointment["id"])},
            {"$set": {"starts_at": start, "ends_at": start + timedelta(minutes=30), "claims": claims}},
        )


async def test_whoever_is_checked_in_waits_for_their_doctor(desk: Desk) -> None:
    booked = await desk.booked(wall(9))

    came = await taken(desk, "checkIn", booked, version=1, waiting={})

    assert came["status"] == "CHECKED_IN"
    assert came["history"][-1]["action"] == "checked_in"
    assert [edge["node"]["status"] for edge in came["queueEntries"]["edges"]] == ["WAITING"]
    [entry] = await waiting(desk.client, doctorId=desk.doctor)
    assert (entry["patient"]["id"], entry["appointment"]["id"]) == (desk.patient, booked["id"])


async def test_a_clinic_without_queues_checks_in_all_the_same(desk: Desk) -> None:
    came = await taken(desk, "checkIn", await desk.booked(wall(9)))

    assert came["queueEntries"]["edges"] == []


async def test_nobody_comes_for_an_appointment_of_another_day(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip of the mouse would end it for good, and give its time away."""
    monkeypatch.setattr("app.services.arrivals.EARLY", timedelta(hours=12))
    booked = await desk.booked(wall(9, day=day_ahead(2)))
    answers = [
        await step(desk, "checkIn", booked, waiting={}),
        await say(desk.client, "enqueuePatient", patientId=desk.patient, appointmentId=booked["id"]),
    ]
    assert [answer.codes for answer in answers] == [["INVALID_STATE"], ["INVALID_STATE"]]
    assert str(day_ahead(2)) in answers[0].errors[0]["message"]
    assert [row["status"] for row in await desk.stored()] == ["booked"]
    assert await waiting(desk.client, doctorId=desk.doctor) == []

    await shift(desk, booked, timedelta(hours=11))
    assert (await taken(desk, "checkIn", booked))["status"] == "CHECKED_IN"


async def shift(desk: Desk, appointment: dict[str, Any], ahead: timedelta) -> None:
    """Lets an appointment begin so long from now."""
    times = {"starts_at": now() + ahead, "ends_at": now() + ahead + timedelta(minutes=30)}
    async with tenant_scope(desk.clinic.ref):
        await Appointment.guarded().update_one({"_id": ObjectId(appointment["id"])}, {"$set": times})


async def test_of_twenty_check_ins_at_once_one_is_made_and_one_ticket_waits(desk: Desk) -> None:
    booked = await desk.booked(wall(9))

    answers = await asyncio.gather(*(step(desk, "checkIn", booked, waiting={}) for _ in range(20)))

    codes = Counter(code for answer in answers for code in answer.codes)
    assert sum(codes.values()) == 19
    assert codes.keys() <= {"INVALID_STATE", "CONFLICT"}
    assert len(await waiting(desk.client, doctorId=desk.doctor)) == 1


async def test_putting_somebody_into_the_queue_for_an_appointment_checks_them_in(desk: Desk) -> None:
    booked = await desk.booked(wall(9))
    other = await desk.new_patient()

    wrong = await say(desk.client, "enqueuePatient", patientId=other, appointmentId=booked["id"])
    entry = await done(desk.client, "enqueuePatient", patientId=desk.patient, appointmentId=booked["id"])

    assert (wrong.codes, wrong.paths) == (["VALIDATION_FAILED"], ["input.appointmentId"])
    assert entry["appointment"] == {"id": booked["id"], "status": "CHECKED_IN"}
    assert entry["doctor"]["id"] == desk.doctor


async def test_a_check_in_that_finds_the_patient_in_the_queue_already_is_not_made(desk: Desk) -> None:
    booked = await desk.booked(wall(9))
    await done(desk.client, "enqueuePatient", patientId=desk.patient, queue={"doctorId": desk.doctor})

    answer = await step(desk, "checkIn", booked, waiting={})

    assert answer.codes == ["CONFLICT"]
    assert [row["status"] for row in await desk.stored()] == ["booked"]


async def test_a_check_in_by_mistake_is_undone_with_the_waiting(desk: Desk) -> None:
    booked = await desk.booked(wall(9))
    await taken(desk, "checkIn", booked, waiting={})

    back = await taken(desk, "undoCheckIn", booked, reason="Namesake")

    assert back["status"] == "BOOKED"
    assert back["history"][-1] == {"action": "check_in_undone", "reason": "Namesake"}
    assert await waiting(desk.client, doctorId=desk.doctor) == []


async def test_who_is_being_served_stays_checked_in(desk: Desk) -> None:
    booked = await desk.booked(wall(9))
    await taken(desk, "checkIn", booked, waiting={})
    called = await done(desk.client, "callNext", queue={"doctorId": desk.doctor})
    await done(desk.client, "startService", id=called["id"])

    assert (await step(desk, "undoCheckIn", booked)).codes == ["INVALID_STATE"]


async def test_what_is_left_of_a_time_that_was_not_needed_is_free_again(desk: Desk) -> None:
    booked = await desk.booked(wall(9), durationMinutes=30)
    await taken(desk, "checkIn", booked)
    await begin(desk, booked)

    seen = await taken(desk, "fulfilAppointment", booked)

    [row] = await desk.stored()
    assert seen["status"] == "FULFILLED"
    assert row["claims"]
    assert len(row["claims"]) < 6
    assert max(claim.rpartition(":")[2] for claim in row["claims"]) <= f"{now():%Y%m%dT%H%M}"


async def test_nobody_is_absent_before_the_time_has_come(desk: Desk) -> None:
    booked = await desk.booked(wall(9))

    early = await step(desk, "markNoShow", booked)
    await begin(desk, booked)
    absent = await taken(desk, "markNoShow", booked)

    assert early.codes == ["INVALID_STATE"]
    assert absent["status"] == "NO_SHOW"
    assert [row.get("claims") for row in await desk.stored()] == [None]


async def test_what_should_never_have_been_entered_gives_its_time_back(desk: Desk) -> None:
    booked = await desk.booked(wall(9))

    wrong = await taken(desk, "enterAppointmentInError", booked, reason="Wrong patient")
    again = await desk.booked(wall(9))

    assert wrong["history"][-1] == {"action": "entered_in_error", "reason": "Wrong patient"}
    assert again["status"] == "BOOKED"


@pytest.mark.parametrize(
    ("name", "more"), [("fulfilAppointment", {}), ("undoCheckIn", {}), ("checkIn", {"version": 7})], ids=str
)
async def test_a_step_that_may_not_follow_changes_nothing(desk: Desk, name: str, more: dict[str, Any]) -> None:
    booked = await desk.booked(wall(9))

    answer = await step(desk, name, booked, **more)

    assert answer.codes == ["CONFLICT" if more else "INVALID_STATE"]
    assert more or "What may follow: CANCELLED, CHECKED_IN" in answer.errors[0]["message"]
    assert [(row["status"], row["version"]) for row in await desk.stored()] == [("booked", 1)]


async def test_whoever_may_not_manage_the_queue_puts_nobody_into_it(server: Server, desk: Desk) -> None:
    booked = await desk.booked(wall(9, day=day_ahead(8)))
    accountant = await server.sign_in(desk.clinic, "accountant")
    text = f"mutation($input: CheckInInput!) {{ checkIn(input: $input) {SHOWN} }}"

    answer = await accountant.gql(text, input={"id": booked["id"], "waiting": {}})

    assert answer.codes == ["FORBIDDEN"]
