"""Many who want one time, one person at two clinics, and requests that are sent twice."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter

import pytest_asyncio
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Database
from models import Staff, User
from tests.fixtures.clinics import OWN, Clinic, MakeClinic, Server
from tests.fixtures.desks import MOVE, Desk, OpenDesk, day_ahead, instant, past, wall


async def test_of_fifty_who_book_overlapping_times_at_once_one_wins_and_the_rest_learn_what_is_free(
    desk: Desk,
) -> None:
    patients = await asyncio.gather(*(desk.new_patient() for _ in range(50)))

    answers = await asyncio.gather(
        *(
            desk.book(wall(10, 5 * (turn % 4)), patientId=patient, durationMinutes=30)
            for turn, patient in enumerate(patients)
        )
    )

    assert Counter(code for answer in answers for code in answer.codes) == {"SLOT_TAKEN": 49}
    assert len(await desk.stored()) == 1
    offers = [answer.errors[0]["extensions"]["alternatives"] for answer in answers if answer.errors]
    assert all(len(offer) >= 3 for offer in offers)
    for start in sorted({start for offer in offers for start in offer})[::2]:
        shown = await desk.booked(start, patientId=await desk.new_patient(), durationMinutes=30)
        await desk.cancel(shown)


async def test_bookings_and_moves_that_race_for_one_time_let_one_in_and_leave_the_others_where_they_were(
    desk: Desk,
) -> None:
    patients = await asyncio.gather(*(desk.new_patient() for _ in range(20)))
    there = [
        await desk.booked(wall(8 + turn // 4, 15 * (turn % 4)), patientId=patient)
        for turn, patient in enumerate(patients[:10])
    ]

    answers = await asyncio.gather(
        *(desk.move(one, wall(15)) for one in there), *(desk.book(wall(15), patientId=one) for one in patients[10:])
    )

    assert Counter(code for answer in answers for code in answer.codes) == {"SLOT_TAKEN": 19}
    stored = {str(row["_id"]): row for row in await desk.stored()}
    at_three = [row for row in stored.values() if row["starts_at"] == instant(wall(15))]
    assert len(at_three) == 1
    for one, answer in zip(there, answers[:10], strict=True):
        row = stored[one["id"]]
        moved = not answer.errors
        assert row["starts_at"] == instant(wall(15) if moved else one["startsAt"])
        assert row["version"] == (2 if moved else 1)
        assert len(row["claims"]) == 6


async def test_a_patient_or_a_room_cannot_be_in_two_places(open_desk: OpenDesk, clinic_a: Clinic) -> None:
    one, other = await open_desk(clinic_a), await open_desk(clinic_a)
    room = await one.new_room()
    await one.booked(wall(9), roomId=room)

    same_patient = await other.book(wall(9), patientId=one.patient)
    same_room = await other.book(wall(9), roomId=room)
    neither = await other.book(wall(9))

    assert same_patient.codes == same_room.codes == ["SLOT_TAKEN"]
    assert instant(same_room.errors[0]["extensions"]["alternatives"][0]) == instant(wall(9, 15))
    assert not neither.errors


async def test_two_clinics_cannot_book_one_person_at_once_and_neither_learns_where_they_are(
    open_desk: OpenDesk, clinic_a: Clinic, clinic_b: Clinic
) -> None:
    person = await User(email=f"{ObjectId()}@example.com", name="Works Twice", password_hash="none").insert()
    here, there = await open_desk(clinic_a, user_id=person.id), await open_desk(clinic_b, user_id=person.id)

    answers = await asyncio.gather(*(desk.book(wall(9), reason="Secret") for desk in (here, there)))

    assert Counter(code for answer in answers for code in answer.codes) == {"SLOT_TAKEN": 1}
    loser, lost = (there, answers[1]) if answers[1].errors else (here, answers[0])
    winner = here if loser is there else there
    error = lost.errors[0]
    assert error["message"] == "This time is no longer free."
    assert error["extensions"].keys() == {"code", "requestId", "fields", "alternatives"}
    assert error["extensions"]["fields"] == []
    assert not {winner.patient, winner.doctor, "Secret"} & set(lost.response.text.split('"'))
    assert instant(wall(9)) not in map(instant, await loser.slots())
    assert await loser.stored() == []


@pytest_asyncio.fixture(scope="module")
async def apart(make_clinic: MakeClinic) -> Clinic:
    """A clinic with a database of its own."""
    return await make_clinic(OWN)


async def test_one_person_is_booked_once_among_clinics_in_different_databases(
    open_desk: OpenDesk, clinic_a: Clinic, apart: Clinic
) -> None:
    person = await User(email=f"{ObjectId()}@example.com", name="Works Twice", password_hash="none").insert()
    here, there = await open_desk(clinic_a, user_id=person.id), await open_desk(apart, user_id=person.id)
    racing = [(desk, await desk.new_patient()) for desk in (here, there) for _ in range(10)]

    answers = await asyncio.gather(*(desk.book(wall(9), patientId=patient) for desk, patient in racing))

    assert Counter(code for answer in answers for code in answer.codes) == {"SLOT_TAKEN": 19}
    assert len(await here.stored()) + len(await there.stored()) == 1
    assert instant(wall(9)) not in map(instant, await here.slots())
    assert instant(wall(9)) not in map(instant, await there.slots())


async def test_time_that_is_given_back_in_one_database_is_free_in_the_other(
    open_desk: OpenDesk, clinic_a: Clinic, apart: Clinic
) -> None:
    person = await User(email=f"{ObjectId()}@example.com", name="Works Twice", password_hash="none").insert()
    here, there = await open_desk(clinic_a, user_id=person.id), await open_desk(apart, user_id=person.id)
    booked = await there.booked(wall(9), roomId=await there.new_room())

    assert (await here.book(wall(9))).codes == ["SLOT_TAKEN"]
    moved = (await there.move(booked, wall(11))).data["rescheduleAppointment"]
    mine = await here.booked(wall(9))
    assert (await there.book(wall(9), patientId=await there.new_patient())).codes == ["SLOT_TAKEN"]
    assert (await here.move(mine, wall(11))).codes == ["SLOT_TAKEN"]
    assert not (await there.cancel(moved)).errors
    assert not (await here.move(mine, wall(11))).errors


async def test_the_shared_database_learns_when_a_person_is_taken_and_nothing_else(
    open_desk: OpenDesk, apart: Clinic, raw: Database
) -> None:
    person = await User(email=f"{ObjectId()}@example.com", name="Works Twice", password_hash="none").insert()
    there = await open_desk(apart, user_id=person.id)
    booked = await there.booked(wall(9), roomId=await there.new_room(), reason="Secret", durationMinutes=15)

    shadow = await raw["appointments"].find_one({"_id": ObjectId(booked["id"])})

    assert shadow is not None
    assert shadow.keys() == {"_id", "tenant_id", "claims"}
    assert all(claim.startswith(f"doctor:{person.id}:") for claim in shadow["claims"])
    assert len(shadow["claims"]) == 3
    await there.cancel(booked)
    assert await raw["appointments"].find_one({"_id": ObjectId(booked["id"])}) is None


async def test_overbooking_has_one_lane_of_its_own(open_desk: OpenDesk, clinic_a: Clinic) -> None:
    desk = await open_desk(clinic_a, "doctor")
    await desk.booked(wall(9))

    beside = await desk.booked(wall(9), overbookReason="Emergency")
    third = await desk.book(wall(9), patientId=await desk.new_patient(), overbookReason="Emergency")

    assert (beside["overbooked"], beside["overbookReason"]) == (True, "Emergency")
    assert beside["history"][0]["reason"] == "Emergency"
    assert third.codes == ["SLOT_TAKEN"]
    assert instant(third.errors[0]["extensions"]["alternatives"][0]) == instant(wall(9, 15))
    assert len(await desk.stored()) == 2


async def test_an_overbooked_appointment_is_moved_only_by_who_may_overbook(
    open_desk: OpenDesk, server: Server, clinic_a: Clinic
) -> None:
    desk = await open_desk(clinic_a, "doctor")
    squeezed = await desk.booked(wall(9), overbookReason="Emergency")
    receptionist = await server.sign_in(clinic_a, "receptionist")
    asked = {"id": squeezed["id"], "version": 1, "startsAt": wall(10)}

    refused = await receptionist.gql(MOVE, input=asked)
    moved = await desk.client.gql(MOVE, input=asked)

    assert refused.codes == ["FORBIDDEN"]
    assert moved.data["rescheduleAppointment"]["overbooked"] is True
    assert {claim.split(":")[0] for claim in (await desk.stored())[0]["claims"]} == {"overbook"}


async def test_twenty_repeats_at_once_book_once_and_get_one_answer(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.book(wall(9), idempotencyKey="key-1") for _ in range(20)))

    shown = [answer.data["createAppointment"] for answer in answers]
    assert all(one == shown[0] for one in shown)
    assert len(await desk.stored()) == 1


async def test_a_used_key_with_another_input_is_a_conflict_and_books_nothing(desk: Desk) -> None:
    await desk.booked(wall(9), idempotencyKey="key-2")

    elsewhen = await desk.book(wall(10), idempotencyKey="key-2")
    wrong = await desk.book(wall(7), idempotencyKey="key-2")
    more = await desk.book(wall(9), idempotencyKey="key-2", reason="Cough")

    assert elsewhen.codes == wrong.codes == more.codes == ["IDEMPOTENCY_CONFLICT"]
    assert len(await desk.stored()) == 1


async def test_a_repeat_is_answered_even_when_the_booking_would_no_longer_be_allowed(desk: Desk) -> None:
    first = await desk.booked(wall(9), idempotencyKey="key-3")
    async with tenant_scope(desk.clinic.ref):
        await Staff.change(ObjectId(desk.doctor), 1, {"archived_at": instant(past())})

    again = await desk.booked(wall(9), idempotencyKey="key-3")

    assert again == first


async def test_keys_belong_to_one_person_at_one_clinic(
    open_desk: OpenDesk, desk: Desk, desk_b: Desk, clinic_a: Clinic
) -> None:
    nurse = await open_desk(clinic_a, "nurse")

    shown = [await one.booked(wall(9), idempotencyKey="key-4") for one in (desk, nurse, desk_b)]

    assert len({one["id"] for one in shown}) == 3


async def test_moves_are_repeated_safely_too(desk: Desk) -> None:
    one = await desk.booked(wall(9))
    other = await desk.booked(wall(10), patientId=await desk.new_patient())

    answers = await asyncio.gather(*(desk.move(one, wall(11), idempotencyKey="move-1") for _ in range(10)))
    same_again = await desk.move(one, wall(11), idempotencyKey="move-1")
    other_time = await desk.move({**one, "version": 2}, wall(12), idempotencyKey="move-1")
    other_one = await desk.move(other, wall(12), idempotencyKey="move-1")

    shown = [answer.data["rescheduleAppointment"] for answer in [*answers, same_again]]
    assert all(one == shown[0] for one in shown)
    assert shown[0]["version"] == 2
    assert other_time.codes == other_one.codes == ["IDEMPOTENCY_CONFLICT"]
    assert [row["version"] for row in await desk.stored()] == [2, 1]


async def test_bookings_leave_nothing_behind_in_the_server(open_desk: OpenDesk, clinic_a: Clinic) -> None:
    desk = await open_desk(clinic_a)
    each_day = 40

    async def grown_by_a_day(days: int) -> int:
        before = alive()
        for turn in range(each_day):
            await desk.booked(wall(8 + turn % 10, 15 * (turn // 10), day=day_ahead(days)))
        return alive() - before

    def alive() -> int:
        gc.collect()
        return len(gc.get_objects())

    growth = [await grown_by_a_day(60 + turn) for turn in range(5)]

    # What is left behind by a booking shows on each of the days; other things in the process come and go.
    assert min(growth) < each_day
