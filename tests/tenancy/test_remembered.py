"""What processes remember of a clinic is never older than the request that is shown it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from bson import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from app.tenancy.catalog_collection import CatalogCollection
from app.tenancy.collection import GuardedCollection, TenantCollection
from app.tenancy.remembered import SECONDS, Remembered, remembered
from app.tenancy.scope import Scope, TenantId, TenantRef
from models import Patient, Room, Service, Staff
from tests.fixtures.clinics import Client, Clinic
from tests.fixtures.commands import Commands
from tests.fixtures.desks import OpenDesk, wall
from tests.server_process import server_process

Row = dict[str, Any]
KEY = ObjectId()


def scope(clinic: TenantId, version: int | None) -> Scope:
    return Scope("test", TenantRef(clinic, "north", "North", catalog_version=version))


class Stored:
    """A clinic's stored row and number, and three processes that read and write it a step at a time."""

    def __init__(self) -> None:
        self.clinic = TenantId(ObjectId())
        self.value = self.version = self.answered = 0
        self.processes = [Remembered() for _ in range(3)]

    async def write(self, process: int) -> None:
        """Stores, then counts up, then is answered by what it wrote, or what came after it."""
        asker = scope(self.clinic, self.version)
        self.value += 1
        wrote = self.value
        await asyncio.sleep(0)
        self.version += 1
        counted = self.version
        await asyncio.sleep(0)
        self.processes[process].changed(self.clinic, counted)
        (row,) = await self.processes[process].rows(asker, "rooms", [KEY], self._stored)
        assert row["value"] >= wrote
        self.answered = max(self.answered, wrote)

    async def read(self, process: int) -> None:
        """Sees the number, then the row, which must not be older than the last write that was answered before."""
        least, asker = self.answered, scope(self.clinic, self.version)
        await asyncio.sleep(0)
        (row,) = await self.processes[process].rows(asker, "rooms", [KEY], self._stored)
        assert row["value"] >= least

    async def _stored(self, _: list[ObjectId]) -> list[Row]:
        await asyncio.sleep(0)
        row = {"_id": KEY, "value": self.value}
        await asyncio.sleep(0)
        return [row]


STEPS = st.lists(st.tuples(st.sampled_from(["write", "read"]), st.integers(0, 2), st.integers(0, 4)), max_size=40)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_nobody_is_shown_what_was_changed_before_they_asked(steps: list[tuple[str, int, int]]) -> None:
    """Each step begins a write or a read at one of the processes, some turns of the loop after the one before."""

    async def run() -> None:
        stored, tasks = Stored(), []
        for step, process, turns in steps:
            tasks.append(asyncio.create_task(getattr(stored, step)(process)))
            for _ in range(turns):
                await asyncio.sleep(0)
        await asyncio.gather(*tasks)

    asyncio.run(run())


async def counted(reads: list[list[ObjectId]], keys: list[ObjectId]) -> list[Row]:
    reads.append(keys)
    return [{"_id": key} for key in keys if key == KEY]


def reader(reads: list[list[ObjectId]]) -> Callable[[list[ObjectId]], Awaitable[list[Row]]]:
    return lambda keys: counted(reads, keys)


async def test_rows_are_read_once_and_what_is_not_there_neither_again() -> None:
    kept, reads, clinic, gone = Remembered(), list[list[ObjectId]](), TenantId(ObjectId()), ObjectId()

    for _ in range(2):
        assert await kept.rows(scope(clinic, 1), "rooms", [gone, KEY], reader(reads)) == [{"_id": KEY}]

    assert reads == [[gone, KEY]]


@pytest.mark.parametrize("other", ["clinic", "collection", "version"])
async def test_what_is_kept_is_for_one_clinic_one_collection_and_one_version(other: str) -> None:
    kept, reads, clinic = Remembered(), list[list[ObjectId]](), TenantId(ObjectId())
    await kept.rows(scope(clinic, 1), "rooms", [KEY], reader(reads))

    second = TenantId(ObjectId()) if other == "clinic" else clinic
    version, name = 2 if other == "version" else 1, "staff" if other == "collection" else "rooms"
    await kept.rows(scope(second, version), name, [KEY], reader(reads))

    assert len(reads) == 2


@pytest.mark.parametrize("version", [None, 1])
async def test_who_has_not_seen_the_latest_number_reads_the_database(version: int | None) -> None:
    kept, reads, clinic = Remembered(), list[list[ObjectId]](), TenantId(ObjectId())
    await kept.rows(scope(clinic, 1), "rooms", [KEY], reader(reads))
    kept.changed(clinic, 2)

    for _ in range(2):
        await kept.rows(scope(clinic, version), "rooms", [KEY], reader(reads))

    assert len(reads) == 3


async def test_changes_around_the_guard_are_seen_after_some_seconds() -> None:
    moment = 0.0
    kept, reads, clinic = Remembered(clock=lambda: moment), list[list[ObjectId]](), TenantId(ObjectId())
    await kept.rows(scope(clinic, 1), "rooms", [KEY], reader(reads))

    moment = SECONDS
    await kept.rows(scope(clinic, 1), "rooms", [KEY], reader(reads))

    assert len(reads) == 2


async def test_memory_is_bounded_by_the_rows_kept() -> None:
    kept, reads = Remembered(rows=10), list[list[ObjectId]]()

    for _ in range(50):
        await kept.rows(scope(TenantId(ObjectId()), 1), "rooms", [ObjectId() for _ in range(4)], reader(reads))

    assert kept.kept <= 10


@pytest.mark.parametrize("model", [Staff, Room, Service])
def test_what_is_remembered_is_about_no_patient(model: type[Any]) -> None:
    assert model.remembered
    assert model.patient_column is None
    assert not Patient.remembered


READS = {"find", "find_one", "count_documents", "distinct", "aggregate", "received"}


def test_every_way_to_write_is_counted() -> None:
    offered = {name for name, value in vars(TenantCollection).items() if not name.startswith("_") and callable(value)}
    offered |= {name for name, value in vars(GuardedCollection).items() if not name.startswith("_") and callable(value)}

    assert offered - READS == vars(CatalogCollection).keys() & offered


RENAME = "mutation($input: UpdateRoomInput!) { updateRoom(input: $input) { version } }"
BOOKED = "query($id: ID!) { appointment(id: $id) { room { name } } }"


async def test_a_renamed_room_bears_its_new_name_at_once_in_every_process(
    open_desk: OpenDesk, clinic_a: Clinic
) -> None:
    desk = await open_desk(clinic_a, "admin")
    room = await desk.new_room()
    appointment = await desk.booked(wall(9), roomId=room)

    async def shown(client: Client) -> str:
        answer = await client.gql(BOOKED, id=appointment["id"])
        name: str = answer.data["appointment"]["room"]["name"]
        return name

    with server_process(desk.server.settings) as address:
        async with httpx.AsyncClient(base_url=address, headers={"Host": desk.clinic.host}) as http:
            processes = [desk.client, Client(http, desk.client.token)]
            for version in range(1, 11):
                before = [await shown(client) for client in processes]  # both remember it
                name = f"Room {version} of {room}"
                changed = await processes[version % 2].gql(RENAME, input={"id": room, "version": version, "name": name})
                after = [await shown(client) for client in processes]

                assert changed.errors == []
                assert before[0] == before[1] != name
                assert after == [name, name]


async def test_related_rows_that_are_remembered_are_not_read_again(
    open_desk: OpenDesk, clinic_a: Clinic, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "_clock", lambda: 0.0)  # the seconds do not run out meanwhile
    desk = await open_desk(clinic_a)
    appointment = await desk.booked(wall(10), roomId=await desk.new_room())
    commands.clear()

    for _ in range(3):
        await desk.client.gql(BOOKED, id=appointment["id"])

    assert commands.on("rooms") == []  # remembered from the booking's own answer
    assert len(commands.on("appointments")) == 3
