"""The application is killed (kill -9) at fifty random moments: all or nothing is there, and a retry has one effect.

A transaction that a killed process leaves open blocks its documents until the database ends it (15 s), so the retries
of all kills of one kind come together, after the last of them.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from bson import ObjectId

from app.config import Settings
from app.db.mongod import free_port
from app.permissions import ROLES
from app.services.billing.lines import number_in
from app.services.tenant_traces import find_traces
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from models import Appointment, AuditEntry, Membership, Role, Staff, Tenant, User
from tests.failure.dying import Mortal, Told, chosen_moments, mortal_process
from tests.fixtures.clinics import PASSWORD, Clinic, MakeClinic, Server
from tests.fixtures.desks import CREATE, MOVE, Desk, OpenDesk, day_ahead, wall
from tests.fixtures.tills import PAYMENT, Cashier, mutation, usd
from tests.fixtures.twins import Twins, fill, fingerprints
from tests.server_process import started, wait_for

ONBOARD = "/api/tenants/onboard"
LONGEST = 40.0
"""Seconds of retries: more than a transaction that was left open may block them."""
BOOKINGS, MOVES, PAYMENTS, OPENINGS, DELETIONS = 12, 8, 12, 10, 8


def test_fifty_moments_are_chosen() -> None:
    assert BOOKINGS + MOVES + PAYMENTS + OPENINGS + DELETIONS == 50


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where deletions leave what they have exported."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def mortal(settings: Settings, server: Server, exports: Path) -> Iterator[Mortal]:
    with mortal_process(settings, DATA_DIR=str(exports)) as process:
        yield process


@pytest_asyncio.fixture(autouse=True)
async def scope(server: Server) -> AsyncIterator[None]:
    with open_scope(Scope(request_id="test")):
        yield


async def until_answered(ask: Callable[[], Awaitable[httpx.Response]]) -> dict[str, Any]:
    """Asks as a client does: again while the answer is that it may be tried again."""
    async with asyncio.timeout(LONGEST):
        while (answer := await ask()).status_code == 503:
            assert int(answer.headers["retry-after"]) > 0
            await asyncio.sleep(0.5)
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, "errors" in body) == (200, False), body
    return body


def nearly_all(kills: int, count: int) -> bool:
    """Whether what was to be killed so often was: one that had fewer moments than the one that was measured (a machine
    that is busy now and then makes it try a command twice) may have come through."""
    return kills >= count - 2


def done(told: Told) -> Told:
    """What a process that nobody killed was told."""
    assert (told.died, told.status, "errors" in told.body) == (False, 200, False), told
    return told


# --- bookings -----------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def desk(open_desk: OpenDesk, clinic_a: Clinic) -> Desk:
    return await open_desk(clinic_a)


def slots(desk: Desk, count: int) -> list[dict[str, Any]]:
    """What books so many times of one doctor, each with a key."""
    times = [
        wall(hour, minute, day=day_ahead(day)) for day in (8, 9, 10) for hour in range(8, 17) for minute in (0, 30)
    ]
    about = {"patientId": desk.patient, "doctorId": desk.doctor, "durationMinutes": 30}
    return [{**about, "startsAt": time, "idempotencyKey": uuid4().hex} for time in times[:count]]


async def announced(desk: Desk, action: str) -> int:
    """How many acts on the patient the audit has that were begun."""
    async with tenant_scope(desk.clinic.ref):
        rows = await AuditEntry.rows({"action": action, "patient_ids": desk.patient_id, "result": "begun"})
    return len(rows)


def is_whole(row: dict[str, Any], acts: list[str]) -> bool:
    """Whether an appointment has all that belongs to it."""
    claimed = {claim.partition(":")[0] for claim in row["claims"]}
    return len(claimed) == 2 and [step["action"] for step in row["history"]] == acts


async def test_a_booking_is_there_with_all_that_belongs_to_it_or_not_at_all(mortal: Mortal, desk: Desk) -> None:
    asked = slots(desk, BOOKINGS + 1)

    async def book(values: dict[str, Any], die_at: int | None = None) -> Told:
        return await mortal.graphql(desk.clinic.host, desk.client.token, CREATE, {"input": values}, die_at=die_at)

    async def booked(values: dict[str, Any]) -> str:
        async def ask() -> httpx.Response:
            return (await desk.client.gql(CREATE, input=values)).response

        body = await until_answered(ask)
        return str(body["data"]["createAppointment"]["id"])

    whole = done(await book(asked[0]))
    stored = 1
    kills = 0
    for values, moment in zip(asked[1:], chosen_moments(whole.moments, BOOKINGS, "bookings"), strict=True):
        kills += (await book(values, moment)).died
        rows = await desk.stored()
        assert all(is_whole(row, ["booked"]) for row in rows)
        assert len(rows) in (stored, stored + 1)
        stored = len(rows)
        assert await announced(desk, "createAppointment") >= stored, "nothing is stored that was not announced"
    assert nearly_all(kills, BOOKINGS)
    assert 1 < stored < BOOKINGS + 1, "some of the moments were before the booking and some after it"

    ids = [await booked(values) for values in asked]
    assert ids == [await booked(values) for values in asked]
    rows = await desk.stored()
    assert sorted(str(row["_id"]) for row in rows) == sorted(ids)
    assert all(is_whole(row, ["booked"]) for row in rows)


async def test_an_appointment_is_moved_with_its_claims_or_stays_where_it_was(mortal: Mortal, desk: Desk) -> None:
    made = [await desk.booked(wall(8 + number, day=day_ahead(11)), durationMinutes=30) for number in range(MOVES + 1)]

    claims = {str(row["_id"]): row["claims"] for row in await desk.stored()}

    def asking(one: dict[str, Any]) -> dict[str, Any]:
        begins = wall(8 + made.index(one), 30, day=day_ahead(12))
        return {"id": one["id"], "version": one["version"], "startsAt": begins}

    async def move(one: dict[str, Any], die_at: int | None = None) -> Told:
        asked = asking(one)
        return await mortal.graphql(desk.clinic.host, desk.client.token, MOVE, {"input": asked}, die_at=die_at)

    whole = done(await move(made[0]))
    acts = Counter[str]()
    kills = 0
    for one, moment in zip(made[1:], chosen_moments(whole.moments, MOVES, "moves"), strict=True):
        kills += (await move(one, moment)).died
        async with tenant_scope(desk.clinic.ref):
            [row] = await Appointment.rows({"_id": ObjectId(one["id"])})
        moved = row["version"] == one["version"] + 1
        acts["moved" if moved else "stayed"] += 1
        assert is_whole(row, ["booked", "rescheduled"] if moved else ["booked"])
        assert f"{row['starts_at']:%Y-%m-%d}" == str(day_ahead(12) if moved else day_ahead(11))
        assert set(row["claims"]).isdisjoint(claims[one["id"]]) is moved
    assert nearly_all(kills, MOVES)
    assert acts.keys() == {"moved", "stayed"}
    for one in made:
        again = await desk.client.gql(MOVE, input=asking(one))
        assert again.codes in ([], ["CONFLICT"]), "it was moved already, and is not moved twice"
    assert {row["version"] for row in await desk.stored()} == {made[0]["version"] + 1}


async def test_a_server_that_is_killed_under_load_loses_nothing_that_it_answered(
    settings: Settings, server: Server, desk: Desk
) -> None:
    asked = slots(desk, 50)
    answered: dict[str, str] = {}
    headers = {"Host": desk.clinic.host, "Authorization": f"Bearer {desk.client.token}", "X-Polyclinic-Client": "t"}
    port = free_port()

    async def book(http: httpx.AsyncClient, values: dict[str, Any], process: subprocess.Popen[bytes]) -> None:
        answer = await http.post("/graphql", json={"query": CREATE, "variables": {"input": values}})
        answered[values["idempotencyKey"]] = answer.json()["data"]["createAppointment"]["id"]
        if len(answered) == 10:
            process.kill()

    with started(settings, port, {}) as process:
        await asyncio.to_thread(wait_for, f"http://127.0.0.1:{port}", process)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=20) as http:
            ended = await asyncio.gather(*(book(http, values, process) for values in asked), return_exceptions=True)
    failed = [one for one in ended if one is not None]
    assert failed, "it was killed before it had answered all"
    assert all(isinstance(one, httpx.TransportError) for one in failed), failed

    for values in asked:
        again = await desk.client.gql(CREATE, input=values)
        id = again.data["createAppointment"]["id"]
        assert answered.setdefault(values["idempotencyKey"], id) == id
    assert sorted(str(row["_id"]) for row in await desk.stored()) == sorted(answered.values())


# --- payments -----------------------------------------------------------------------------------------------------


async def test_what_is_paid_is_the_sum_of_the_payments_and_none_is_doubled(mortal: Mortal, cashier: Cashier) -> None:
    invoices = [await cashier.issued("100.00") for _ in range(PAYMENTS + 1)]
    keys = [uuid4().hex for _ in invoices]

    text = mutation("recordPayment", PAYMENT)

    def asked(number: int) -> dict[str, Any]:
        about = {"invoiceId": invoices[number]["id"], "method": "CASH", "idempotencyKey": keys[number]}
        return {**about, "amount": usd("100.00" if number % 2 else "40.00")}

    async def pay(number: int, die_at: int | None = None) -> Told:
        host, token = cashier.clinic.host, cashier.client.token
        return await mortal.graphql(host, token, text, {"input": asked(number)}, die_at=die_at)

    async def again(number: int) -> httpx.Response:
        return (await cashier.client.gql(text, input=asked(number))).response

    async def standing(number: int) -> Decimal:
        """What is paid of an invoice, once it is seen to agree with its payments."""
        row, payments = await cashier.stored(invoices[number]), await cashier.payments_of(invoices[number])
        paid = sum((number_in(one, "amount") for one in payments), Decimal(0))
        assert number_in(row, "paid") == paid
        assert number_in(row, "open") == 100 - paid
        assert row["status"] == ("paid" if paid == 100 else "partially_paid" if paid else "issued")
        return paid

    whole = done(await pay(0))
    kills = 0
    for number, moment in enumerate(chosen_moments(whole.moments, PAYMENTS, "payments"), 1):
        kills += (await pay(number, moment)).died
    assert nearly_all(kills, PAYMENTS)
    before = [await standing(number) for number in range(1, PAYMENTS + 1)]
    assert 0 < sum(paid > 0 for paid in before) < PAYMENTS, "some of the moments were before the payment, some after it"

    ids = []
    for number in range(PAYMENTS + 1):
        for _ in range(2):
            body = await until_answered(partial(again, number))
            ids.append(body["data"]["recordPayment"]["id"])
        assert await standing(number) == (100 if number % 2 else 40)
        assert len(await cashier.payments_of(invoices[number])) == 1
    assert len(set(ids)) == PAYMENTS + 1
    numbers = [row["number"] for one in invoices for row in await cashier.payments_of(one)]
    assert len(set(numbers)) == len(numbers)


# --- onboarding ---------------------------------------------------------------------------------------------------


async def test_a_clinic_is_open_or_there_is_nothing_of_it(mortal: Mortal, server: Server, raw: Any) -> None:
    names = [f"k{uuid4().hex[:10]}" for _ in range(OPENINGS + 1)]

    def form(name: str) -> dict[str, Any]:
        admin = {"name": "Ada Admin", "email": f"admin@{name}.example.com", "password": PASSWORD}
        return {"name": f"Clinic {name}", "subdomain": name, "admin": admin}

    def key(name: str) -> dict[str, str]:
        return {"Idempotency-Key": f"key of {name}"}

    async def open_clinic(name: str, die_at: int | None = None) -> Told:
        return await mortal.request("polyclinic.test", ONBOARD, form(name), headers=key(name), die_at=die_at)

    async def again(name: str) -> httpx.Response:
        return await server.client().http.post(ONBOARD, json=form(name), headers=key(name))

    async def is_open(name: str) -> bool:
        """Whether the clinic is there as a whole. Raises AssertionError for anything in between."""
        tenants = await Tenant.find({"subdomain": name}).to_list()
        users = await User.find({"email": f"admin@{name}.example.com"}).to_list()
        if not tenants:
            assert users == []
            return False
        [tenant], [user] = tenants, users
        async with tenant_scope(Clinic(tenant, {}).ref):
            found = await Role.find({}).count(), await Staff.find({}).count()
        assert found == (len(ROLES), 1)
        assert await Membership.find({"clinic_id": tenant.key, "user_id": user.key}).count() == 1
        await server.sign_in(Clinic(tenant, {"admin": user.email}))
        return True

    async def orphaned() -> int:
        """Roles of no clinic; other tests may have left some."""
        return int(await raw["roles"].count_documents({"tenant_id": {"$nin": await Tenant.guarded().distinct("_id")}}))

    had = await orphaned()
    whole = done(await open_clinic(names[0]))
    kills = 0
    for name, moment in zip(names[1:], chosen_moments(whole.moments, OPENINGS, "openings"), strict=True):
        kills += (await open_clinic(name, moment)).died
    assert nearly_all(kills, OPENINGS)
    before = [await is_open(name) for name in names[1:]]
    assert any(before), "the last moment was after the commit"
    assert not all(before)
    orphans = [name for name, there in zip(names[1:], before, strict=True) if not there]
    assert await orphaned() == had

    for name in names:
        first = await until_answered(partial(again, name))
        assert (first["success"], first["subdomain"]) == (True, name)
        assert await until_answered(partial(again, name)) == first
        assert await is_open(name)
    assert await Tenant.find({"subdomain": {"$in": names}}).count() == len(names)
    assert orphans, "some were opened by the retry"


# --- deletion -----------------------------------------------------------------------------------------------------


async def test_a_deletion_ends_with_one_tombstone_and_no_trace(
    mortal: Mortal, twins: Twins, make_clinic: MakeClinic, exports: Path
) -> None:
    def arguments(clinic: Clinic) -> list[str]:
        name = clinic.tenant.subdomain
        return ["scripts.delete_tenant", name, "--execute", "--plain", "--confirm", name, "--settle", "0"]

    measured = await make_clinic()
    await fill(measured, 5)
    whole = await mortal.command(*arguments(measured))
    others = await fingerprints(twins.raw, twins.staying)
    kills = 0
    for moment in chosen_moments(whole.moments // 2, DELETIONS, "deletions"):
        kills += (await mortal.command(*arguments(twins.going), die_at=moment)).died
        assert await fingerprints(twins.raw, twins.staying) == others
    assert nearly_all(kills, DELETIONS)

    assert not (await mortal.command(*arguments(twins.going))).died
    assert await find_traces(twins.going.tenant.key) == {}
    assert await twins.raw["tombstones"].count_documents({"subdomain": twins.going.tenant.subdomain}) == 1
    assert len(sorted((exports / "exports").glob(f"{twins.going.tenant.subdomain}-*"))) == 1
