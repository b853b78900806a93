"""Recurring appointments: previewed date by date, booked all or none, moved and called off with those that follow."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import datetime
from typing import Any

from app.tenancy.crossing import tenant_scope
from models import AppointmentSeries
from tests.fixtures.clinics import Answer, Clinic
from tests.fixtures.desks import ZONE, Desk, OpenDesk, day_ahead, instant, wall

_SERIES = """{
    id version startsWall: starts minutes firstDay endedBefore skipped { startsAt obstacle }
    rule { frequency interval weekdays count }
    appointments(first: 100) { edges { node { id version status startsAt history { action reason } } } }
}"""
PREVIEW = """query($input: PreviewAppointmentSeriesInput!) { previewAppointmentSeries(input: $input) {
    free obstructed dates { day startsAt endsAt obstacle alternatives } } }"""
_INPUTS = ("createAppointmentSeries", "rescheduleAppointmentSeries", "cancelAppointmentSeries")
MUTATIONS = {
    name: f"mutation($input: {name[0].upper()}{name[1:]}Input!) {{ {name}(input: $input) {_SERIES} }}"
    for name in _INPUTS
}


def weekly(desk: Desk, count: int = 4, **more: Any) -> dict[str, Any]:
    asked = {"patientId": desk.patient, "doctorId": desk.doctor, "startsAt": wall(9)}
    return {**asked, "rule": {"frequency": "WEEKLY", "count": count}, **more}


async def say(desk: Desk, name: str, **values: Any) -> Answer:
    return await desk.client.gql(MUTATIONS[name], input=values)


async def done(desk: Desk, name: str, **values: Any) -> dict[str, Any]:
    shown: dict[str, Any] = (await say(desk, name, **values)).data[name]
    return shown


def appointments(series: dict[str, Any]) -> list[dict[str, Any]]:
    return [edge["node"] for edge in series["appointments"]["edges"]]


def walls(series: dict[str, Any]) -> list[tuple[str, str]]:
    """Days and times of a series on the clinic's wall."""
    moments = [instant(one["startsAt"]).astimezone(ZONE) for one in appointments(series)]
    return [(str(moment.date()), f"{moment:%H:%M}") for moment in moments]


def weeks(*numbers: int, hour: str = "09:00", days: int = 0) -> list[tuple[str, str]]:
    return [(str(day_ahead(7 * number + days)), hour) for number in numbers]


async def test_each_week_at_nine_whatever_the_clocks_do(desk: Desk) -> None:
    series = await done(desk, "createAppointmentSeries", **weekly(desk, 20))

    assert walls(series) == weeks(*range(1, 21))
    assert {one["status"] for one in appointments(series)} == {"BOOKED"}
    assert (series["startsWall"], series["minutes"], series["skipped"]) == ("09:00", 15, [])


async def test_a_preview_names_what_is_in_the_way_and_what_is_free_instead(desk: Desk) -> None:
    other = await desk.new_patient()
    await desk.booked(wall(9, day=day_ahead(14)), patientId=other, durationMinutes=30)

    shown = (await desk.client.gql(PREVIEW, input=weekly(desk))).data["previewAppointmentSeries"]
    none = await desk.stored()

    assert (shown["free"], shown["obstructed"], len(none)) == (3, 1, 1)
    assert [one["obstacle"] for one in shown["dates"]] == [None, "TAKEN", None, None]
    taken = shown["dates"][1]
    assert taken["day"] == str(day_ahead(14))
    assert [instant(one) for one in taken["alternatives"]] == [
        instant(wall(9, minute, day=day_ahead(14))) for minute in (30, 45)
    ] + [instant(wall(10, day=day_ahead(14)))]
    assert shown["dates"][0]["alternatives"] == []


async def test_nothing_is_booked_when_one_date_cannot_be_unless_it_may_be_left_out(desk: Desk) -> None:
    await desk.booked(wall(9, day=day_ahead(14)), patientId=await desk.new_patient())

    refused = await say(desk, "createAppointmentSeries", **weekly(desk))
    unchanged = await desk.stored()
    series = await done(desk, "createAppointmentSeries", **weekly(desk), onObstacle="SKIP")

    [told] = refused.errors[0]["extensions"]["dates"]
    assert refused.codes == ["SLOT_TAKEN"]
    assert (instant(told["startsAt"]), told["obstacle"]) == (instant(wall(9, day=day_ahead(14))), "TAKEN")
    assert len(told["alternatives"]) == 3
    assert len(unchanged) == 1
    assert walls(series) == weeks(1, 3, 4)
    assert [one["obstacle"] for one in series["skipped"]] == ["TAKEN"]


async def test_of_twenty_who_book_one_series_at_once_one_wins_and_nobody_is_booked_twice(desk: Desk) -> None:
    patients = await asyncio.gather(*(desk.new_patient() for _ in range(20)))

    answers = await asyncio.gather(
        *(say(desk, "createAppointmentSeries", **weekly(desk, 3, patientId=patient)) for patient in patients)
    )

    assert Counter(code for answer in answers for code in answer.codes) == {"SLOT_TAKEN": 19}
    assert len(await desk.stored()) == 3
    async with tenant_scope(desk.clinic.ref):
        assert await AppointmentSeries.guarded().count_documents({"doctor_id": desk.doctor_id}) == 1


async def test_single_bookings_that_race_with_a_series_never_share_a_time_with_it(desk: Desk) -> None:
    patients = await asyncio.gather(*(desk.new_patient() for _ in range(8)))
    singles = (
        desk.book(wall(9, day=day_ahead(7 * (1 + turn % 4))), patientId=one) for turn, one in enumerate(patients)
    )

    await asyncio.gather(say(desk, "createAppointmentSeries", **weekly(desk), onObstacle="SKIP"), *singles)

    starts = Counter(row["starts_at"] for row in await desk.stored())
    assert set(starts.values()) == {1}
    assert len(starts) == 4


async def test_a_repeated_request_gives_the_first_answer_again(desk: Desk) -> None:
    asked = weekly(desk, idempotencyKey="again", onObstacle="SKIP")

    first, second = [await done(desk, "createAppointmentSeries", **asked) for _ in range(2)]
    other = await say(desk, "createAppointmentSeries", **{**asked, "startsAt": wall(11)})

    assert first["id"] == second["id"]
    assert other.codes == ["IDEMPOTENCY_CONFLICT"]
    assert len(await desk.stored()) == 4


async def test_one_appointment_of_a_series_is_moved_alone(desk: Desk) -> None:
    series = await done(desk, "createAppointmentSeries", **weekly(desk, 3))
    second = appointments(series)[1]

    moved = await done(
        desk,
        "rescheduleAppointmentSeries",
        appointmentId=second["id"],
        version=1,
        scope="THIS",
        startsAt=wall(15, day=day_ahead(14)),
    )

    assert moved["id"] == series["id"]
    assert walls(moved) == [*weeks(1), *weeks(2, hour="15:00"), *weeks(3)]


async def test_those_that_follow_are_moved_along_by_the_same_rule(desk: Desk) -> None:
    series = await done(desk, "createAppointmentSeries", **weekly(desk, 5))
    third = appointments(series)[2]

    rest = await done(
        desk,
        "rescheduleAppointmentSeries",
        appointmentId=third["id"],
        version=1,
        scope="THIS_AND_FOLLOWING",
        startsAt=wall(14, day=day_ahead(22)),
        reason="New shift",
    )
    before = (
        await desk.client.gql(f"query($id: ID!) {{ appointmentSeries(id: $id) {_SERIES} }}", id=series["id"])
    ).data

    assert rest["id"] != series["id"]
    assert walls(rest) == weeks(3, 4, 5, hour="14:00", days=1)
    assert appointments(rest)[0]["history"][-1] == {"action": "rescheduled", "reason": "New shift"}
    assert walls(before["appointmentSeries"]) == weeks(1, 2)
    assert before["appointmentSeries"]["endedBefore"] == str(day_ahead(21))


async def test_a_series_may_be_moved_onto_its_own_times(desk: Desk) -> None:
    asked = weekly(desk, rule={"frequency": "DAILY", "count": 4})
    series = await done(desk, "createAppointmentSeries", **asked)

    moved = await done(
        desk,
        "rescheduleAppointmentSeries",
        appointmentId=appointments(series)[0]["id"],
        version=1,
        scope="THIS_AND_FOLLOWING",
        startsAt=wall(9, day=day_ahead(8)),
    )

    assert walls(moved) == [(str(day_ahead(day)), "09:00") for day in (8, 9, 10, 11)]


async def test_nothing_moves_when_one_of_those_that_follow_cannot(desk: Desk) -> None:
    series = await done(desk, "createAppointmentSeries", **weekly(desk))
    await desk.booked(wall(14, day=day_ahead(21)), patientId=await desk.new_patient())
    before = await desk.stored()

    answer = await say(
        desk,
        "rescheduleAppointmentSeries",
        appointmentId=appointments(series)[1]["id"],
        version=1,
        scope="THIS_AND_FOLLOWING",
        startsAt=wall(14, day=day_ahead(14)),
    )

    assert answer.codes == ["SLOT_TAKEN"]
    assert [instant(one["startsAt"]) for one in answer.errors[0]["extensions"]["dates"]] == [
        instant(wall(14, day=day_ahead(21)))
    ]
    assert await desk.stored() == before


async def test_an_appointment_and_all_that_follow_are_called_off_and_their_time_is_free(desk: Desk) -> None:
    series = await done(desk, "createAppointmentSeries", **weekly(desk))
    third = appointments(series)[2]
    asked = {"appointmentId": third["id"], "scope": "THIS_AND_FOLLOWING", "reason": "Moves away"}

    stale = await say(desk, "cancelAppointmentSeries", **asked, version=7)
    over = await done(desk, "cancelAppointmentSeries", **asked, version=1)
    again = await desk.booked(wall(9, day=day_ahead(28)), patientId=await desk.new_patient())

    assert stale.codes == ["CONFLICT"]
    assert [one["status"] for one in appointments(over)] == ["BOOKED", "BOOKED", "CANCELLED", "CANCELLED"]
    assert appointments(over)[3]["history"][-1] == {"action": "cancelled", "reason": "Moves away"}
    assert over["endedBefore"] == str(day_ahead(21))
    assert again["status"] == "BOOKED"


async def test_one_appointment_of_a_series_is_called_off_alone(desk: Desk) -> None:
    series = await done(desk, "createAppointmentSeries", **weekly(desk, 3))

    left = await done(
        desk, "cancelAppointmentSeries", appointmentId=appointments(series)[1]["id"], scope="THIS", reason="Holiday"
    )

    assert [one["status"] for one in appointments(left)] == ["BOOKED", "CANCELLED", "BOOKED"]
    assert left["endedBefore"] is None


async def test_an_appointment_of_no_series_is_told_so(desk: Desk) -> None:
    booked = await desk.booked(wall(9))

    answer = await say(desk, "cancelAppointmentSeries", appointmentId=booked["id"], scope="THIS", reason="Ill")

    assert answer.codes == ["INVALID_STATE"]


async def test_a_rule_says_when_it_ends_and_weekdays_are_for_weeks(desk: Desk) -> None:
    endless = await desk.client.gql(PREVIEW, input=weekly(desk, rule={"frequency": "DAILY"}))
    odd = await desk.client.gql(
        PREVIEW, input=weekly(desk, rule={"frequency": "DAILY", "count": 2, "weekdays": ["MONDAY"]})
    )

    assert (endless.codes, endless.paths) == (["VALIDATION_FAILED"], ["input.rule.count"])
    assert odd.codes == ["VALIDATION_FAILED"]


async def test_dates_beyond_what_the_clinic_books_are_named(desk: Desk) -> None:
    shown = (await desk.client.gql(PREVIEW, input=weekly(desk, 30))).data["previewAppointmentSeries"]

    assert {one["obstacle"] for one in shown["dates"]} == {None, "TOO_FAR"}
    limit = datetime.combine(day_ahead(180), datetime.max.time(), ZONE)
    assert all((instant(one["startsAt"]) > limit) == (one["obstacle"] == "TOO_FAR") for one in shown["dates"])


async def test_another_clinics_series_is_not_there(desk: Desk, open_desk: OpenDesk, clinic_b: Clinic) -> None:
    other = await open_desk(clinic_b)
    series = await done(desk, "createAppointmentSeries", **weekly(desk, 2))
    asked = {"appointmentId": appointments(series)[0]["id"], "scope": "THIS_AND_FOLLOWING", "reason": "Mine now"}

    answer = await say(other, "cancelAppointmentSeries", **asked)

    assert (answer.codes, answer.paths) == (["NOT_FOUND"], ["input.appointmentId"])
    assert {row["status"] for row in await desk.stored()} == {"booked"}
