"""The cluster of some clinics falls silent or dies, and processes are killed between the commits of two clusters: other
clinics notice nothing, and what was begun has one effect or none."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from app.config import Settings
from app.db import mongod
from app.jobs.runs import run_job
from app.services.placement import clusters
from app.services.placement.commits import follow
from app.services.placement.provisioning import Goal
from app.tenancy.scope import Database, Scope, open_scope
from app.tenancy.spanning import COMMIT_LOG
from models import User
from models.tenant import PlacementKind
from tests.failure.dying import mortal_process
from tests.failure.replica_set import PATIENCE, Node
from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.fixtures.desks import CREATE, OpenDesk, day_ahead, wall

ROOMS = "{ rooms { totalCount } }"
NEW_ROOM = "mutation($input: CreateRoomInput!) { createRoom(input: $input) { id } }"
BOUND = 20.0
"""Seconds in which whoever asks at a cluster that is away has an answer, on a machine that is busy."""


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """Another cluster, of one node that can be stopped."""
    room = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a private folder in it
    folder = Path(tempfile.mkdtemp(prefix="polyclinic-frail-", dir=room if room.is_dir() else None))
    made = Node(folder)
    try:
        mongod._become_primary(made.process, made.port, folder, lambda _: None)
        yield made
    finally:
        made.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="module")
async def frail(server: Server, make_clinic: MakeClinic, node: Node) -> Clinic:
    """A clinic on that cluster."""
    with open_scope(Scope(request_id="test")):
        uri = f"mongodb://{node.address}/?replicaSet={mongod.REPLICA_SET}"
        await clusters.add("frail", uri, server.settings, actor="tests")
    return await make_clinic(Goal(PlacementKind.CLUSTER, "frail"))


@pytest.mark.parametrize("how", ["silent", "dead"])
async def test_a_cluster_that_is_away_fails_its_own_clinics_in_bounded_time_and_no_others(
    server: Server, settings: Settings, frail: Clinic, clinic_a: Clinic, node: Node, how: str
) -> None:
    there, here = await server.sign_in(frail), await server.sign_in(clinic_a)
    assert (await there.gql(ROOMS)).codes == []
    node.pause() if how == "silent" else node.kill()
    try:
        asking = [asyncio.create_task(there.gql(ROOMS)) for _ in range(8)]
        asking.append(asyncio.create_task(there.gql(NEW_ROOM, input={"name": f"R{ObjectId()}"})))
        began = time.monotonic()
        while not all(one.done() for one in asking):
            assert (await here.gql(ROOMS)).codes == []
            assert time.monotonic() - began < BOUND
        for one in asking:
            answer = one.result()
            assert (answer.status, answer.codes) == (503, ["UNAVAILABLE"])
        assert (await server.client().http.get("/readyz")).status_code == 200
        with open_scope(Scope(request_id="test")):
            report = await run_job("chain-audit", settings)
        assert frail.tenant.subdomain in report.failed
        assert clinic_a.tenant.subdomain not in report.failed
        began = time.monotonic()
        assert (await there.gql(ROOMS)).status == 503
        assert time.monotonic() - began < 2, "it is known to be away by now, and nobody waits for it"
    finally:
        node.mend()
    async with asyncio.timeout(PATIENCE):
        while (await there.gql(ROOMS)).status == 503:
            await asyncio.sleep(0.2)
    assert (await there.gql(NEW_ROOM, input={"name": f"R{ObjectId()}"})).codes == []


@pytest_asyncio.fixture
async def stored(
    make_clinic: MakeClinic, on_another_cluster: Goal, other_mongodb_uri: str
) -> AsyncIterator[tuple[Clinic, Database]]:
    """A clinic on another cluster, and its database without guard and wall."""
    clinic = await make_clinic(on_another_cluster)
    async with AsyncMongoClient[dict[str, Any]](other_mongodb_uri, tz_aware=True) as client:
        yield clinic, client[str(clinic.tenant.placement.database)]


async def test_a_process_that_is_killed_around_two_commits_leaves_both_or_neither(
    settings: Settings, stored: tuple[Clinic, Database], open_desk: OpenDesk, raw: Database
) -> None:
    clinic, own = stored
    person = await User(email=f"{ObjectId()}@example.com", name="Works", password_hash="none").insert()
    desk = await open_desk(clinic, user_id=person.id)
    about = {"patientId": desk.patient, "doctorId": desk.doctor, "durationMinutes": 30}
    times = [wall(hour, minute, day=day_ahead(day)) for day in (8, 9) for hour in range(8, 17) for minute in (0, 30)]
    free = iter(times)

    notes = kills = 0
    with mortal_process(settings) as mortal:

        async def book(die_at: int | None = None) -> Any:
            asked = {"input": {**about, "startsAt": next(free)}}
            return await mortal.graphql(clinic.host, desk.client.token, CREATE, asked, die_at=die_at)

        whole = await book()
        assert (whole.died, "errors" in whole.body) == (False, False), whole
        for moment in range(whole.moments - 21, whole.moments + 1, 2):
            kills += (await book(moment)).died
            notes += await own[COMMIT_LOG].count_documents({}) > notes
    assert kills >= 9
    assert notes, "some of the moments lay between the commits"

    placement = clinic.tenant.placement.model_dump()
    async with asyncio.timeout(120):
        while await own[COMMIT_LOG].count_documents({}):  # what the killed ones have left open ends after some seconds
            with open_scope(Scope(request_id="test")), suppress(PyMongoError):  # the job would come again, too
                await follow({"subdomain": clinic.tenant.subdomain, "placement": placement}, sure=timedelta(0))
    booked = {row["_id"]: row["claims"] async for row in own["appointments"].find({"doctor_id": desk.doctor_id})}
    shadows = {row["_id"]: row["claims"] async for row in raw["appointments"].find({"tenant_id": clinic.tenant.id})}
    assert 1 < len(booked) < kills + 1, "some were killed before the booking, and some after it"
    assert booked.keys() == shadows.keys()
    for id, claims in shadows.items():
        assert set(claims) == {one for one in booked[id] if one.startswith("doctor:")}
