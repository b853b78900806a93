"""Calendars: a clinic's own days, spans, pages, and what they read."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo.monitoring import CommandStartedEvent

from app.tenancy.crossing import tenant_scope
from app.tenancy.listener import TenantWall, Verdict
from app.tenancy.scope import Database
from models import Appointment
from tests.fixtures.clinics import Clinic, MakeClinic
from tests.fixtures.desks import Desk, OpenDesk, day_ahead, instant, wall

LIST = """
    query($filter: AppointmentFilter!, $first: Int! = 20, $after: String, $sort: AppointmentSort! = STARTS_ASC) {
      appointments(filter: $filter, first: $first, after: $after, sort: $sort) {
        edges { node { id startsAt status reason patient { id name phone } doctor { id name } } }
        pageInfo { hasNextPage endCursor }
      }
    }
"""


def nodes(answer: Any) -> list[dict[str, Any]]:
    return [edge["node"] for edge in answer.data["appointments"]["edges"]]


async def test_a_day_is_the_clinics_own_from_midnight_to_midnight(open_desk: OpenDesk, make_clinic: MakeClinic) -> None:
    desk = await open_desk(await make_clinic())
    day = day_ahead()
    midnight = instant(wall(0, day=day))
    starts = [midnight - timedelta(minutes=5), midnight, midnight + timedelta(hours=23), midnight + timedelta(days=1)]
    async with tenant_scope(desk.clinic.ref):
        await Appointment.insert_many(
            [
                Appointment(
                    patient_id=desk.patient_id,
                    doctor_id=desk.doctor_id,
                    starts_at=start,
                    ends_at=start + timedelta(minutes=5),
                )
                for start in starts
            ]
        )

    answer = await desk.client.gql(LIST, filter={"day": str(day)})

    assert [instant(one["startsAt"]) for one in nodes(answer)] == starts[1:3]


async def test_lists_are_narrowed_by_each_condition_and_go_both_ways(open_desk: OpenDesk, clinic_a: Clinic) -> None:
    desk, other = await open_desk(clinic_a), await open_desk(clinic_a)
    room = await desk.new_room()
    early = await desk.booked(wall(9), roomId=room)
    late = await desk.booked(wall(16))
    await desk.cancel(late)
    await other.booked(wall(9))
    span = {"from": wall(0), "to": wall(23)}

    async def listed(sort: str = "STARTS_ASC", **filter: Any) -> list[str]:
        return [one["id"] for one in nodes(await desk.client.gql(LIST, filter=filter, sort=sort))]

    assert await listed(doctorId=desk.doctor, **span) == [early["id"], late["id"]]
    assert await listed("STARTS_DESC", doctorId=desk.doctor, **span) == [late["id"], early["id"]]
    assert await listed(patientId=desk.patient) == [early["id"], late["id"]]
    assert await listed(patientId=desk.patient, to=wall(10)) == [early["id"]]
    assert await listed(patientId=desk.patient, **{"from": wall(10)}) == [late["id"]]
    assert await listed(roomId=room, **span) == [early["id"]]
    assert await listed(doctorId=desk.doctor, status="CANCELLED", **span) == [late["id"]]
    assert await listed(doctorId=desk.doctor, **{"from": wall(9), "to": wall(16)}) == [early["id"]]


async def test_pages_go_on_behind_the_cursor_even_among_equal_times(open_desk: OpenDesk, clinic_a: Clinic) -> None:
    desks = [await open_desk(clinic_a) for _ in range(5)]
    booked = [await desk.booked(wall(9, day=day_ahead(40))) for desk in desks]
    seen: list[str] = []
    after = None
    for _ in range(3):
        answer = await desks[0].client.gql(LIST, filter={"day": str(day_ahead(40))}, first=2, after=after)
        seen += [one["id"] for one in nodes(answer)]
        after = answer.data["appointments"]["pageInfo"]["endCursor"]

    assert seen == sorted(one["id"] for one in booked)


@pytest.mark.parametrize(
    ("filter", "paths"),
    [
        ({}, ["filter.from", "filter.to"]),
        ({"doctorId": "5" * 24}, ["filter.from", "filter.to"]),
        ({"from": wall(0)}, ["filter.to"]),
        ({"to": wall(0)}, ["filter.from"]),
        ({"from": wall(0), "to": wall(0, day=day_ahead(101))}, ["filter.to"]),
        ({"from": wall(1), "to": wall(1)}, ["filter.to"]),
        ({"day": "2027-01-01", "from": wall(1)}, ["filter.day"]),
        ({"day": "0001-01-01"}, ["filter.day"]),
        ({"patientId": "5" * 24, "from": "0001-01-02T00:00:00Z"}, ["filter.from"]),
    ],
)
async def test_a_calendar_needs_a_span_that_is_not_too_long(
    desk: Desk, filter: dict[str, Any], paths: list[str]
) -> None:
    answer = await desk.client.gql(LIST, filter=filter)

    assert answer.codes == ["VALIDATION_FAILED"]
    assert answer.paths == paths


async def test_a_page_of_fifty_with_patients_and_doctors_is_three_reads_at_most(
    open_desk: OpenDesk, clinic_a: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = await open_desk(clinic_a)
    day = day_ahead(50)
    patients = await asyncio.gather(*(desk.new_patient() for _ in range(50)))
    for turn, patient in enumerate(patients):
        await desk.booked(wall(8 + turn // 12, 5 * (turn % 12), day=day), patientId=patient, durationMinutes=5)
    sent: list[tuple[str, Any]] = []
    judge = TenantWall.judge

    def recording(wall: TenantWall, event: CommandStartedEvent) -> Verdict:
        verdict = judge(wall, event)
        if verdict is not Verdict.NO_CLINIC_DATA and event.command_name == "find":
            sent.append((event.command_name, event.command.get(event.command_name)))
        return verdict

    monkeypatch.setattr(TenantWall, "judge", recording)
    answer = await desk.client.gql(LIST, filter={"day": str(day)}, first=50)

    assert [one["patient"]["id"] for one in nodes(answer)] == patients
    found = Counter(sent)
    assert found.pop(("find", "staff"), 0) <= 1, "most often the doctor is remembered"
    assert found == {("find", "appointments"): 1, ("find", "patients"): 1}


async def test_each_kind_of_list_reads_its_own_index_in_order(
    plain_database: Database, make_clinic: MakeClinic
) -> None:
    clinic = await make_clinic()
    begins = instant(wall(0))
    rows = [
        {
            "tenant_id": clinic.tenant.id,
            "starts_at": begins + timedelta(minutes=turn),
            "ends_at": begins + timedelta(minutes=turn + 5),
            "status": "booked" if turn % 50 else "cancelled",
            **{name: ObjectId() for name in ("doctor_id", "patient_id", "room_id")},
        }
        for turn in range(300)
    ]
    await plain_database["appointments"].insert_many(rows)
    asked: dict[str, dict[str, Any]] = {"starts": {}, "status_starts": {"status": "cancelled"}}
    asked |= {f"{name}_starts": {f"{name}_id": rows[7][f"{name}_id"]} for name in ("doctor", "patient", "room")}

    for index, equal in asked.items():
        span = {"starts_at": {"$gte": begins, "$lt": begins + timedelta(days=1)}}
        found = plain_database["appointments"].find({"tenant_id": clinic.tenant.id, **equal, **span})
        plan = str((await found.sort([("starts_at", 1), ("_id", 1)]).explain())["queryPlanner"]["winningPlan"])

        assert f"'indexName': '{index}'" in plan
        assert "'SORT'" not in plan
