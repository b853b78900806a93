"""Working hours, time off and free slots over GraphQL."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from bson import ObjectId

from app.tenancy.crossing import tenant_scope
from models import AvailabilityRule, Settings, TimeOff, User
from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.fixtures.desks import SLOTS, ZONE, Desk, OpenDesk, day_ahead, instant, wall

ADD_RULE = """
    mutation($input: CreateAvailabilityRuleInput!) {
      createAvailabilityRule(input: $input) { id version weekday starts ends validFrom validUntil doctor { id } }
    }
"""
DELETE_RULE = "mutation($input: DeleteAvailabilityRuleInput!) { deleteAvailabilityRule(input: $input) { id } }"
RULES = """
    query($doctorId: ID!, $first: Int! = 20, $after: String) {
      availabilityRules(doctorId: $doctorId, first: $first, after: $after) {
        edges { node { id weekday starts ends } } pageInfo { endCursor hasNextPage } totalCount
      }
    }
"""
ADD_TIME_OFF = """
    mutation($input: CreateTimeOffInput!) {
      createTimeOff(input: $input) { id version startsAt endsAt reason doctor { id } }
    }
"""
DELETE_TIME_OFF = "mutation($input: DeleteTimeOffInput!) { deleteTimeOff(input: $input) { id } }"
TIME_OFF = """
    query($doctorId: ID!, $from: DateTime!, $to: DateTime!) {
      timeOff(doctorId: $doctorId, from: $from, to: $to) { edges { node { id startsAt } } totalCount }
    }
"""


@pytest.fixture
async def manager(open_desk: OpenDesk, clinic_a: Clinic) -> Desk:
    """A doctor of clinic A, who may manage availability, with a colleague who has no hours yet."""
    return await open_desk(clinic_a, "doctor", hours=False)


def hours(desk: Desk, **more: Any) -> dict[str, Any]:
    return {"doctorId": desk.doctor, "weekday": "MONDAY", "starts": "09:00", "ends": "12:00", **more}


async def rules_of(desk: Desk) -> int:
    async with tenant_scope(desk.clinic.ref):
        return await AvailabilityRule.guarded().count_documents({"doctor_id": desk.doctor_id})


async def absences_of(desk: Desk) -> int:
    async with tenant_scope(desk.clinic.ref):
        return await TimeOff.guarded().count_documents({"doctor_id": desk.doctor_id})


# --- working hours --------------------------------------------------------------------------------


async def test_working_hours_are_added_listed_by_weekday_and_deleted(manager: Desk) -> None:
    last = (await manager.client.gql(ADD_RULE, input=hours(manager, weekday="SUNDAY", ends="24:00"))).data
    await manager.client.gql(ADD_RULE, input=hours(manager, starts="13:00", ends="17:00"))
    await manager.client.gql(ADD_RULE, input=hours(manager, validFrom="2030-01-01", validUntil="2030-12-31"))

    listed = (await manager.client.gql(RULES, doctorId=manager.doctor)).data["availabilityRules"]

    rows = [(one["node"]["weekday"], one["node"]["starts"], one["node"]["ends"]) for one in listed["edges"]]
    assert rows == [("MONDAY", "09:00", "12:00"), ("MONDAY", "13:00", "17:00"), ("SUNDAY", "09:00", "24:00")]
    assert listed["totalCount"] == 3
    made = last["createAvailabilityRule"]
    assert (made["version"], made["validFrom"], made["doctor"]) == (1, None, {"id": manager.doctor})
    gone = await manager.client.gql(DELETE_RULE, input={"id": made["id"], "version": 1})
    assert gone.data["deleteAvailabilityRule"] == {"id": made["id"]}
    assert await rules_of(manager) == 2


async def test_pages_of_working_hours_go_on_behind_the_cursor(desk: Desk) -> None:
    seen, after = [], None
    for _ in range(3):
        page = (await desk.client.gql(RULES, doctorId=desk.doctor, first=3, after=after)).data["availabilityRules"]
        seen += [edge["node"]["weekday"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]

    assert seen == ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"starts": "9:00"}, "input.starts"),
        ({"starts": "09:03"}, "input.starts"),
        ({"starts": "24:00"}, "input.ends"),
        ({"ends": "09:00"}, "input.ends"),
        ({"ends": "25:00"}, "input.ends"),
        ({"ends": "\u0660\u0669:00"}, "input.ends"),
        ({"validFrom": "2030-02-01", "validUntil": "2030-01-31"}, "input.validUntil"),
        ({"validFrom": "0001-01-01"}, "input.validFrom"),
    ],
)
async def test_hours_that_make_no_sense_are_told_by_their_path(
    manager: Desk, change: dict[str, Any], path: str
) -> None:
    answer = await manager.client.gql(ADD_RULE, input=hours(manager, **change))

    assert answer.codes == ["VALIDATION_FAILED"]
    assert answer.paths == [path]
    assert await rules_of(manager) == 0


async def test_hours_must_not_overlap_while_both_hold(manager: Desk) -> None:
    await manager.client.gql(ADD_RULE, input=hours(manager, validUntil="2030-01-31"))

    overlapping = await manager.client.gql(ADD_RULE, input=hours(manager, starts="11:55", ends="14:00"))
    touching = await manager.client.gql(ADD_RULE, input=hours(manager, starts="12:00", ends="14:00"))
    later = await manager.client.gql(ADD_RULE, input=hours(manager, validFrom="2030-02-01", ends="11:00"))

    assert (overlapping.codes, overlapping.paths) == (["VALIDATION_FAILED"], ["input.starts"])
    assert not touching.errors
    assert not later.errors


# --- time off -------------------------------------------------------------------------------------


async def test_time_off_is_added_listed_where_it_overlaps_and_deleted(manager: Desk) -> None:
    made = await manager.client.gql(
        ADD_TIME_OFF,
        input={"doctorId": manager.doctor, "startsAt": wall(9), "endsAt": wall(12), "reason": "Course"},
    )
    shown = made.data["createTimeOff"]

    async def listed(start: str, end: str) -> int:
        answer = await manager.client.gql(TIME_OFF, doctorId=manager.doctor, **{"from": start, "to": end})
        count: int = answer.data["timeOff"]["totalCount"]
        return count

    assert (shown["reason"], shown["doctor"]) == ("Course", {"id": manager.doctor})
    assert [await listed(wall(11), wall(13)), await listed(wall(10), wall(11)), await listed(wall(8), wall(18))] == [
        1
    ] * 3
    assert [await listed(wall(12), wall(13)), await listed(wall(8), wall(9))] == [0, 0]
    older = await manager.client.gql(DELETE_TIME_OFF, input={"id": shown["id"], "version": 2})
    assert (older.codes, older.paths) == (["CONFLICT"], ["input.version"])
    gone = await manager.client.gql(DELETE_TIME_OFF, input={"id": shown["id"], "version": 1})
    assert gone.data["deleteTimeOff"] == {"id": shown["id"]}
    assert await absences_of(manager) == 0


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"endsAt": wall(9)}, "input.endsAt"),
        ({"endsAt": wall(9, day=day_ahead(400))}, "input.endsAt"),
        ({"startsAt": "0001-01-02T00:00:00Z"}, "input.startsAt"),
        ({"reason": ""}, "input.reason"),
    ],
)
async def test_time_off_that_makes_no_sense_is_told_by_its_path(
    manager: Desk, change: dict[str, Any], path: str
) -> None:
    asked = {"doctorId": manager.doctor, "startsAt": wall(9), "endsAt": wall(10), **change}

    answer = await manager.client.gql(ADD_TIME_OFF, input=asked)

    assert answer.codes == ["VALIDATION_FAILED"]
    assert answer.paths == [path]
    assert await absences_of(manager) == 0


async def test_a_list_of_time_off_spans_a_year_at_most(desk: Desk) -> None:
    answer = await desk.client.gql(
        TIME_OFF, doctorId=desk.doctor, **{"from": wall(9), "to": wall(9, day=day_ahead(500))}
    )

    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["to"])


async def test_time_off_takes_slots_away_and_refuses_bookings_and_moves(manager: Desk, desk: Desk) -> None:
    there = await desk.booked(wall(8))
    await manager.client.gql(ADD_TIME_OFF, input={"doctorId": desk.doctor, "startsAt": wall(9), "endsAt": wall(17, 30)})

    booked = await desk.book(wall(17, 20), patientId=await desk.new_patient())
    moved = await desk.move(there, wall(12))

    assert list(map(instant, await desk.slots())) == [
        instant(wall(hour, minute)) for hour, minute in ((8, 15), (8, 30), (8, 45), (17, 30), (17, 45))
    ]
    assert booked.codes == moved.codes == ["VALIDATION_FAILED"]
    assert booked.paths == moved.paths == ["input.startsAt"]


# --- who may, and whose ---------------------------------------------------------------------------


async def test_who_may_only_read_availability_cannot_change_it(desk: Desk) -> None:
    async with tenant_scope(desk.clinic.ref):
        rule = await AvailabilityRule.find_one({"doctor_id": desk.doctor_id})
    assert rule is not None
    span = {"doctorId": desk.doctor, "startsAt": wall(9), "endsAt": wall(10)}

    answers = [
        await desk.client.gql(ADD_RULE, input=hours(desk)),
        await desk.client.gql(DELETE_RULE, input={"id": str(rule.id), "version": 1}),
        await desk.client.gql(ADD_TIME_OFF, input=span),
        await desk.client.gql(DELETE_TIME_OFF, input={"id": str(rule.id), "version": 1}),
    ]

    assert [answer.codes for answer in answers] == [["FORBIDDEN"]] * 4
    assert await rules_of(desk) == 7
    assert await absences_of(desk) == 0


async def test_who_may_not_read_availability_sees_no_slots(server: Server, desk: Desk) -> None:
    accountant = await server.sign_in(desk.clinic, "accountant")

    answer = await accountant.gql(SLOTS, doctorId=desk.doctor, **{"from": str(day_ahead()), "to": str(day_ahead())})

    assert answer.codes == ["FORBIDDEN"]


async def test_another_clinics_doctor_rule_and_absence_are_as_if_they_did_not_exist(
    manager: Desk, desk_b: Desk
) -> None:
    async with tenant_scope(desk_b.clinic.ref):
        rule = await AvailabilityRule.find_one({"doctor_id": desk_b.doctor_id})
        absence = await TimeOff(
            doctor_id=desk_b.doctor_id, starts_at=instant(wall(9)), ends_at=instant(wall(10))
        ).insert()
    assert rule is not None
    span = {"from": wall(0), "to": wall(23)}
    days = {"from": str(day_ahead()), "to": str(day_ahead())}

    for theirs in (desk_b.doctor, str(ObjectId())):
        off = {"doctorId": theirs, "startsAt": wall(9), "endsAt": wall(10)}
        answers = [
            await manager.client.gql(ADD_RULE, input={**hours(manager), "doctorId": theirs}),
            await manager.client.gql(ADD_TIME_OFF, input=off),
            await manager.client.gql(SLOTS, doctorId=theirs, **days),
        ]
        assert [answer.codes for answer in answers] == [["NOT_FOUND"]] * 3
        assert [answer.paths for answer in answers] == [["input.doctorId"], ["input.doctorId"], ["doctorId"]]
        assert (await manager.client.gql(RULES, doctorId=theirs)).data["availabilityRules"]["totalCount"] == 0
        assert (await manager.client.gql(TIME_OFF, doctorId=theirs, **span)).data["timeOff"]["totalCount"] == 0
    for mutation, own in ((DELETE_RULE, rule.id), (DELETE_TIME_OFF, absence.id)):
        answers = [
            await manager.client.gql(mutation, input={"id": str(one), "version": 1}) for one in (own, ObjectId())
        ]
        assert [(answer.codes, answer.paths) for answer in answers] == [(["NOT_FOUND"], ["input.id"])] * 2
    assert (await rules_of(desk_b), await absences_of(desk_b)) == (7, 1)


# --- free slots -----------------------------------------------------------------------------------


async def test_slots_are_the_hours_less_what_is_booked(desk: Desk) -> None:
    await desk.booked(wall(9), durationMinutes=30)

    starts = list(map(instant, await desk.slots()))

    assert starts[:6] == [instant(wall(h, m)) for h, m in ((8, 0), (8, 15), (8, 30), (8, 45), (9, 30), (9, 45))]
    assert starts[-1] == instant(wall(17, 45))
    assert len(starts) == 38


async def test_slots_are_as_long_as_the_service_or_as_asked_for(desk: Desk) -> None:
    service = await desk.new_service(60)

    by_service = await desk.slots(serviceId=service)
    asked = await desk.slots(durationMinutes=120)

    assert instant(by_service[-1]) == instant(wall(17))
    assert instant(asked[-1]) == instant(wall(16))


async def test_a_room_that_is_taken_takes_slots_away(open_desk: OpenDesk, clinic_a: Clinic) -> None:
    desk, other = await open_desk(clinic_a), await open_desk(clinic_a)
    room = await desk.new_room()
    await other.booked(wall(8), roomId=room)

    assert instant((await desk.slots(roomId=room))[0]) == instant(wall(8, 15))
    assert instant((await desk.slots())[0]) == instant(wall(8))


async def test_what_a_person_does_at_another_clinic_is_busy_and_nothing_more(
    open_desk: OpenDesk, clinic_a: Clinic, clinic_b: Clinic
) -> None:
    person = await User(email=f"{ObjectId()}@example.com", name="Works Twice", password_hash="none").insert()
    here, there = await open_desk(clinic_a, user_id=person.id), await open_desk(clinic_b, user_id=person.id)
    await there.booked(wall(8), durationMinutes=60)

    assert instant((await here.slots())[0]) == instant(wall(9))


async def test_slots_are_never_in_the_past_nor_beyond_the_horizon(open_desk: OpenDesk, make_clinic: MakeClinic) -> None:
    desk = await open_desk(await make_clinic())
    async with tenant_scope(desk.clinic.ref):
        await Settings.guarded().update_one({}, {"$set": {"booking_horizon_days": 3}})

    asked = {"doctorId": desk.doctor, "from": str(day_ahead(-5)), "to": str(day_ahead(20))}
    slots = (await desk.client.gql(SLOTS, **asked)).data["availableSlots"]

    days = {instant(slot["startsAt"]).astimezone(ZONE).date() for slot in slots}
    assert days - {day_ahead(0)} == {day_ahead(1), day_ahead(2), day_ahead(3)}
    assert instant(slots[0]["startsAt"]) >= datetime.now(ZONE) - timedelta(seconds=10)
    assert (await desk.book(wall(9, day=day_ahead(4)))).paths == ["input.startsAt"]
    assert not (await desk.book(wall(9, day=day_ahead(3)))).errors


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"to": str(day_ahead(38))}, "to"),
        ({"to": str(day_ahead(6))}, "to"),
        ({"from": "0001-01-01"}, "from"),
        ({"to": "9999-12-31"}, "to"),
        ({"durationMinutes": 0}, "durationMinutes"),
        ({"durationMinutes": 721}, "durationMinutes"),
    ],
)
async def test_slots_are_asked_for_in_bounds(desk: Desk, change: dict[str, Any], path: str) -> None:
    asked = {"doctorId": desk.doctor, "from": str(day_ahead()), "to": str(day_ahead()), **change}

    answer = await desk.client.gql(SLOTS, **asked)

    assert answer.codes == ["VALIDATION_FAILED"]
    assert answer.paths == [path]


# --- days on which clocks change ------------------------------------------------------------------


def next_change_of_clocks(hours: int) -> date:
    """The next day in New York that is so many hours longer (or, below 0, shorter) than others."""
    for days in range(1, 370):
        day = day_ahead(days)
        begins, ends = instant(wall(0, day=day)), instant(wall(0, day=day + timedelta(days=1)))
        if ends.timestamp() - begins.timestamp() == (24 + hours) * 3600:
            return day
    raise AssertionError("New York changes its clocks twice a year")


@pytest.fixture(scope="module")
async def night_desk(open_desk: OpenDesk, make_clinic: MakeClinic) -> Desk:
    """A doctor who works from midnight to 5 h, bookable for more than a year."""
    desk = await open_desk(await make_clinic(), hours=False)
    async with tenant_scope(desk.clinic.ref):
        await Settings.guarded().update_one({}, {"$set": {"booking_horizon_days": 400, "slot_minutes": 60}})
        for weekday in range(7):
            await AvailabilityRule(doctor_id=desk.doctor_id, weekday=weekday, starts="00:00", ends="05:00").insert()
    return desk


def wall_hours(starts: list[str]) -> list[int]:
    return [instant(start).astimezone(ZONE).hour for start in starts]


def gaps(starts: list[str]) -> list[float]:
    """Hours that pass from each start to the next."""
    return [(instant(b) - instant(a)) / timedelta(hours=1) for a, b in pairwise(starts)]


async def test_when_clocks_go_forward_the_hour_that_is_skipped_is_not_offered(night_desk: Desk) -> None:
    starts = await night_desk.slots(next_change_of_clocks(-1))

    assert wall_hours(starts) == [0, 1, 3, 4]
    assert gaps(starts) == [1, 1, 1]


async def test_when_clocks_go_back_the_hour_that_comes_twice_is_offered_once(night_desk: Desk) -> None:
    day = next_change_of_clocks(+1)
    starts = await night_desk.slots(day)

    first = await night_desk.booked(starts[1])

    assert wall_hours(starts) == [0, 1, 2, 3, 4]
    assert gaps(starts) == [1, 2, 1, 1]
    assert first["startsAt"] == starts[1]
    assert instant(first["endsAt"]) - instant(first["startsAt"]) == timedelta(hours=1)
    assert await night_desk.slots(day) == [starts[0], *starts[2:]]
