"""When the clinic is closed, nothing can be booked by whatever way, and nothing that is booked is lost."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.clinics import Client, Clinic, MakeClinic, Server
from tests.fixtures.desks import Desk, OpenDesk, day_ahead, wall
from tests.resolvers.test_series import PREVIEW, weekly

CREATE = "mutation($input: CreateClosureInput!) { createClosure(input: $input) { id version name firstDay lastDay } }"
DELETE = "mutation($input: DeleteClosureInput!) { deleteClosure(input: $input) { id } }"
LIST = "query($from: Date!, $to: Date!) { closures(from: $from, to: $to) { edges { node { name } } } }"
HOURS = "mutation($input: UpdateSettingsInput!) { updateSettings(input: $input) { openingHours { weekday opens } } }"


async def close(admin: Client, days: tuple[int, int], name: str = "Holiday") -> dict[str, Any]:
    first, last = (str(day_ahead(one)) for one in days)
    shown: dict[str, Any] = (await admin.gql(CREATE, input={"name": name, "firstDay": first, "lastDay": last})).data[
        "createClosure"
    ]
    return shown


@pytest.fixture
async def closed(make_clinic: MakeClinic, open_desk: OpenDesk, server: Server) -> tuple[Desk, Client]:
    """A desk of a clinic of its own, and its admin."""
    clinic = await make_clinic()
    return await open_desk(clinic), await server.sign_in(clinic)


async def test_a_closure_takes_the_slots_and_its_end_gives_them_back(closed: tuple[Desk, Client]) -> None:
    desk, admin = closed
    before = await desk.slots()
    closure = await close(admin, (6, 8))

    during, refused = await desk.slots(), await desk.book(wall(9))
    await admin.gql(DELETE, input={"id": closure["id"], "version": 1})

    assert before
    assert during == []
    assert (refused.codes, refused.paths) == (["VALIDATION_FAILED"], ["input.startsAt"])
    assert await desk.slots() == before


async def test_a_series_finds_the_closure_in_its_way(closed: tuple[Desk, Client]) -> None:
    desk, admin = closed
    await close(admin, (14, 14))

    shown = (await desk.client.gql(PREVIEW, input=weekly(desk, 3))).data["previewAppointmentSeries"]

    assert [one["obstacle"] for one in shown["dates"]] == [None, "CLOSED", None]
    assert shown["dates"][1]["alternatives"][0].startswith(str(day_ahead(15)))


async def test_a_move_into_a_closure_is_refused_and_what_is_booked_stays(closed: tuple[Desk, Client]) -> None:
    desk, admin = closed
    booked = await desk.booked(wall(9))
    await close(admin, (7, 8))

    answer = await desk.move(booked, wall(9, day=day_ahead(8)))

    assert answer.codes == ["VALIDATION_FAILED"]
    assert [row["version"] for row in await desk.stored()] == [1]


@pytest.mark.parametrize(
    ("hours", "path"),
    [
        ([("MONDAY", "08:00", "07:00")], "input.openingHours.0"),
        ([("MONDAY", "08:00", "12:00"), ("MONDAY", "11:00", "13:00")], "input.openingHours"),
        ([("MONDAY", "08:03", "12:00")], "input.openingHours.0.opens"),
    ],
    ids=["backwards", "twice", "off the grid"],
)
async def test_hours_that_cannot_be_are_refused_where_they_stand(
    closed: tuple[Desk, Client], hours: list[tuple[str, str, str]], path: str
) -> None:
    _, admin = closed
    week = [{"weekday": day, "opens": opens, "closes": closes} for day, opens, closes in hours]

    answer = await admin.gql(HOURS, input={"version": 1, "openingHours": week})

    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], [path])


async def test_closures_that_cannot_be_are_refused(closed: tuple[Desk, Client]) -> None:
    _, admin = closed
    asked = {"name": "Holiday", "firstDay": str(day_ahead(8)), "lastDay": str(day_ahead(7))}

    answer = await admin.gql(CREATE, input=asked)

    assert (answer.codes, answer.paths) == (["VALIDATION_FAILED"], ["input.lastDay"])


async def test_one_clinics_holiday_is_not_anothers(closed: tuple[Desk, Client], desk_b: Desk) -> None:
    _, admin = closed
    await close(admin, (6, 8), "Moving house")
    span = {"from": str(day_ahead(1)), "to": str(day_ahead(30))}

    here = (await admin.gql(LIST, **span)).data["closures"]["edges"]
    there = (await desk_b.client.gql(LIST, **span)).data["closures"]["edges"]

    assert [edge["node"]["name"] for edge in here] == ["Moving house"]
    assert [edge["node"]["name"] for edge in there if edge["node"]["name"] == "Moving house"] == []
    assert await desk_b.slots()


async def test_doctors_do_not_close_the_clinic(server: Server, clinic_a: Clinic) -> None:
    doctor = await server.sign_in(clinic_a, "doctor")

    assert (await doctor.gql(CREATE, input={"name": "Off", "firstDay": str(day_ahead(9))})).codes == ["FORBIDDEN"]
