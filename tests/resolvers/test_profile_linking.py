"""A doctor's profile gets a person behind it: from then on nobody books that person twice, whatever the clinic."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from app.services import booking
from app.services.scheduling.plan import Plan, planned
from app.tenancy.crossing import tenant_scope
from models import Appointment, Staff, User
from tests.fixtures.clinics import PASSWORD, Answer, Clinic, MakeClinic, Server
from tests.fixtures.desks import Desk, OpenDesk, day_ahead, wall
from tests.fixtures.mailbox import Mailbox
from tests.resolvers.test_invitations import accept, invite


async def link(server: Server, desk: Desk, email: str, mailbox: Mailbox) -> Answer:
    """The desk's clinic invites the person to take its doctor's profile over, and they accept."""
    admin = await server.sign_in(desk.clinic)
    invited = await invite(admin, desk.clinic, email, "doctor", kind="DOCTOR", staffId=desk.doctor)
    assert not invited.errors, invited.body
    return await accept(server, desk.clinic, await mailbox.token(email), password=PASSWORD)


async def person_at(clinic: Clinic, doctor: str) -> Any:
    async with tenant_scope(clinic.ref):
        [row] = [row for row in await Staff.rows({}) if str(row["_id"]) == doctor]
    return row.get("user_id")


@pytest_asyncio.fixture
async def desks(open_desk: OpenDesk, make_clinic: MakeClinic) -> tuple[Desk, Desk]:
    """Two clinics, each with a doctor's profile of its own; the first one's belongs to a person once linked."""
    return await open_desk(await make_clinic()), await open_desk(await make_clinic())


async def claims_of(desk: Desk) -> list[str]:
    async with tenant_scope(desk.clinic.ref):
        rows = await Appointment.rows({})
    return [claim for row in rows for claim in row.get("claims") or () if not claim.startswith("patient")]


async def test_what_was_booked_before_is_the_persons_time_at_every_clinic_afterwards(
    server: Server, desks: tuple[Desk, Desk], make_clinic: MakeClinic, mailbox: Mailbox
) -> None:
    one, two = desks
    email = (await make_clinic()).emails["doctor"]
    booked = await one.book(wall(9))
    assert not booked.errors
    assert not (await link(server, one, email, mailbox)).errors
    assert not (await link(server, two, email, mailbox)).errors

    refused = await two.book(wall(9))
    assert refused.codes == ["SLOT_TAKEN"]
    assert not (await two.book(wall(10))).errors
    assert (await one.book(wall(10))).codes == ["SLOT_TAKEN"]
    user = await User.find_one({"email": email})
    assert user is not None
    assert {claim.split(":")[1] for claim in [*await claims_of(one), *await claims_of(two)]} == {str(user.key)}


async def test_time_that_is_booked_at_both_already_keeps_the_profile_free_and_is_told(
    server: Server, desks: tuple[Desk, Desk], make_clinic: MakeClinic, mailbox: Mailbox
) -> None:
    one, two = desks
    email = (await make_clinic()).emails["doctor"]
    await one.book(wall(9))
    await two.book(wall(9))
    await two.book(wall(11))
    assert not (await link(server, one, email, mailbox)).errors
    before = await claims_of(two)

    refused = await link(server, two, email, mailbox)

    assert refused.codes == ["INVALID_STATE"]
    message = refused.errors[0]["message"]
    assert f"{day_ahead()} 09:00" in message
    assert "11:00" not in message
    assert one.clinic.tenant.name not in message
    assert await person_at(two.clinic, two.doctor) is None
    assert await claims_of(two) == before
    admin = await server.sign_in(two.clinic)
    listed = await admin.gql("{ invitations { edges { node { state } } } }")
    assert listed.data["invitations"]["edges"][0]["node"]["state"] == "OPEN"


async def test_bookings_that_race_with_the_link_never_leave_the_person_booked_twice(
    server: Server, desks: tuple[Desk, Desk], make_clinic: MakeClinic, mailbox: Mailbox
) -> None:
    one, two = desks
    email = (await make_clinic()).emails["doctor"]
    assert not (await link(server, one, email, mailbox)).errors
    admin = await server.sign_in(two.clinic)
    await invite(admin, two.clinic, email, "doctor", kind="DOCTOR", staffId=two.doctor)
    token = await mailbox.token(email)
    hours = [wall(hour) for hour in range(9, 15)]

    await asyncio.gather(
        accept(server, two.clinic, token, password=PASSWORD),
        *(two.book(hour) for hour in hours),
        *(one.book(hour) for hour in hours),
    )
    await accept(server, two.clinic, token, password=PASSWORD)

    user = await User.find_one({"email": email})
    assert user is not None
    claims = [*await claims_of(one), *await claims_of(two)]
    if await person_at(two.clinic, two.doctor):
        assert {claim.split(":")[1] for claim in claims} == {str(user.key)}
    times = [claim.rpartition(":")[2] for claim in claims if claim.split(":")[1] == str(user.key)]
    assert len(times) == len(set(times))


@pytest.mark.parametrize("elsewhere", [False, True], ids=["free", "booked elsewhere"])
async def test_a_booking_planned_before_the_link_and_stored_after_it_follows_or_gives_way(
    server: Server,
    desks: tuple[Desk, Desk],
    make_clinic: MakeClinic,
    mailbox: Mailbox,
    monkeypatch: pytest.MonkeyPatch,
    elsewhere: bool,
) -> None:
    one, two = desks
    email = (await make_clinic()).emails["doctor"]
    assert not (await link(server, one, email, mailbox)).errors
    if elsewhere:
        await one.booked(wall(9))
    linked: list[Answer] = []

    async def planned_early(*args: Any) -> Plan:
        plan = await planned(*args)
        linked.append(await link(server, two, email, mailbox))
        return plan

    monkeypatch.setattr(booking, "planned", planned_early)
    late = await two.book(wall(9))

    assert not linked[0].errors
    user = await User.find_one({"email": email})
    assert user is not None
    assert late.codes == (["SLOT_TAKEN"] if elsewhere else [])
    assert len(await two.stored()) == (0 if elsewhere else 1)
    assert {claim.split(":")[1] for claim in [*await claims_of(one), *await claims_of(two)]} == {str(user.key)}
