"""A clinic that is moved while it works: nothing is lost, nothing is written into a place that it has left."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId

from app.config import Settings
from app.errors import BeingMoved, Conflict, InvalidState
from app.services.audit import record
from app.services.audit_verification import verify
from app.services.placement import moving
from app.services.placement.copying import COLLECTIONS, Differs, copy, of_clinic
from app.services.placement.copying import compare as compare_all
from app.services.placement.moving import Moved, Stage, Waits, Watch, clear_source, clinic_to_move, undo
from app.services.placement.provisioning import Goal
from app.services.tenant_checks import check_columns
from app.tenancy.crossing import tenant_scope
from app.tenancy.directory import ref_of
from app.tenancy.places import standings
from app.tenancy.scope import Database, Scope, TenantRef, open_scope
from models import Patient, Room, Tenant
from models.tenant import MoveStage, PlacementKind
from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.fixtures.twins import Twins, fill, fingerprints
from tests.resolvers.patient_calls import register

OWN, SHARED = Goal(PlacementKind.OWN_DATABASE), Goal()
AT_ONCE = Waits(timedelta(0), timedelta(0))
PATIENTS = "{ patients(first: 50) { totalCount edges { node { id givenName } } } }"


@dataclass(slots=True)
class Mover:
    """A clinic with patients and appointments, and a way to move it without waiting."""

    clinic: Clinic
    raw: Database

    async def row(self) -> Tenant:
        return await clinic_to_move(self.clinic.tenant.subdomain)

    async def ref(self) -> TenantRef:
        return ref_of(await self.row())

    async def move(self, goal: Goal, **more: Any) -> Moved:
        with open_scope(Scope(request_id="test")):
            return await moving.move(await self.row(), goal, actor="tests", waits=AT_ONCE, **more)

    async def prints(self, place: Database) -> dict[str, str]:
        """Its documents in a place, byte for byte, without the audit, which grows by looking."""
        found = await fingerprints(place, self.clinic)
        return {name: one for name, one in found.items() if not name.startswith(("audit_", "portal_sessions"))}

    def own(self) -> Database:
        return self.raw.client[f"{self.raw.name}_{self.clinic.tenant.id}"]


@pytest_asyncio.fixture
async def mover(make_clinic: MakeClinic, raw: Database) -> Mover:
    clinic = await make_clinic()
    await fill(clinic, 5)
    return Mover(clinic, raw)


async def count(place: Database, clinic: Clinic) -> int:
    return sum([await place[name].count_documents(of_clinic(name, clinic.tenant.key)) for name in COLLECTIONS])


async def test_every_document_moves_as_it_is_and_the_clinic_goes_on(mover: Mover, server: Server) -> None:
    admin = await server.sign_in(mover.clinic)
    before = await mover.prints(mover.raw)
    shown = (await admin.gql(PATIENTS)).data

    moved = await mover.move(OWN)

    assert moved.tenant.placement.kind is OWN.kind
    assert await mover.prints(mover.own()) == before
    assert moved.digests["patients"].count == 5
    assert (await admin.gql(PATIENTS)).data == shown
    await register(admin)
    assert await mover.own()["patients"].count_documents({}) == 6
    assert await mover.raw["patients"].count_documents({"tenant_ids": mover.clinic.tenant.id}) == 5, "kept as it was"


async def test_it_can_be_moved_back_with_all_that_came_since(mover: Mover, server: Server) -> None:
    admin = await server.sign_in(mover.clinic)
    await mover.move(OWN)
    await register(admin)
    before = await mover.prints(mover.own())

    await mover.move(SHARED)

    assert await mover.prints(mover.raw) == before
    assert (await admin.gql(PATIENTS)).data["patients"]["totalCount"] == 6
    async with tenant_scope(await mover.ref()):
        assert await Patient.find({}).count() == 6


async def test_the_former_place_is_cleared_but_for_the_time_that_people_are_taken(
    mover: Mover, settings: Settings
) -> None:
    async with tenant_scope(await mover.ref()):
        [appointment] = await mover.raw["appointments"].find({"tenant_id": mover.clinic.tenant.id}).limit(1).to_list()
    claim = f"doctor:{ObjectId()}:20300101T0900"
    await mover.raw["appointments"].update_one({"_id": appointment["_id"]}, {"$push": {"claims": claim}})

    await mover.move(OWN, keep_source=False)

    [shadow] = await mover.raw["appointments"].find({"tenant_id": mover.clinic.tenant.id}).to_list()
    assert shadow == {"_id": appointment["_id"], "tenant_id": mover.clinic.tenant.id, "claims": [claim]}
    assert await count(mover.raw, mover.clinic) == 1
    assert (await mover.row()).move is None
    found = [one for one in await check_columns(mover.raw.client, settings) if str(mover.clinic.tenant.id) in str(one)]
    assert found == []


async def test_and_its_own_database_is_dropped_once_it_is_back(mover: Mover) -> None:
    await mover.move(OWN, keep_source=False)
    await mover.move(SHARED)
    assert mover.own().name in await mover.raw.client.list_database_names()

    with open_scope(Scope(request_id="test")):
        await clear_source(await mover.row(), actor="tests", waits=AT_ONCE)

    assert mover.own().name not in await mover.raw.client.list_database_names()
    assert (await mover.row()).move is None


async def test_what_changes_while_it_is_copied_comes_along(mover: Mover) -> None:
    clinic, late = await mover.ref(), []

    async def change() -> None:
        async with tenant_scope(clinic):
            late.append((await Room(name="Late", name_key="late").insert()).key)
            gone = await Patient.find({"family_name": "Family0"}).to_list()
            await Patient.guarded().update_one({"_id": gone[0].id}, {"$set": {"given_name": "Changed"}})

    real, runs = copy, 0

    async def copy_and_change(*args: Any) -> int:
        nonlocal runs
        runs += 1
        done = await real(*args)
        if runs == 1:
            await change()
        return done

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(moving, "copy", copy_and_change)
        await mover.move(OWN)

    assert await mover.own()["rooms"].find_one({"_id": late[0]}) is not None
    assert await mover.own()["patients"].find_one({"given_name": "Changed"}) is not None


async def test_while_it_is_compared_it_can_be_read_and_whoever_writes_is_told_to_try_again(
    mover: Mover, server: Server
) -> None:
    admin = await server.sign_in(mover.clinic)
    told: dict[str, Any] = {}
    real = compare_all

    async def compare(*args: Any) -> Any:
        standings.forget()  # as everybody has by then
        told["read"] = await admin.gql(PATIENTS)
        mutation = "mutation($input: CreatePatientInput!) { createPatient(input: $input) { id } }"
        told["write"] = await admin.gql(mutation, input={"givenName": "No", "familyName": "Way"})
        with pytest.raises(BeingMoved):
            async with tenant_scope(await mover.ref()):
                await Room(name="No", name_key="no").insert()
        return await real(*args)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(moving, "compare", compare)
        await mover.move(OWN)

    assert told["read"].data["patients"]["totalCount"] == 5
    assert told["write"].codes == ["UNAVAILABLE"]
    assert told["write"].response.headers["retry-after"]
    assert (await admin.gql(PATIENTS)).data["patients"]["totalCount"] == 5
    assert await mover.own()["rooms"].find_one({"name": "No"}) is None


async def test_nobody_writes_into_a_place_that_the_clinic_has_left(mover: Mover) -> None:
    before = await mover.ref()
    await mover.move(OWN)
    standings.forget()

    with pytest.raises(BeingMoved):
        async with tenant_scope(before):
            await Room(name="Stale", name_key="stale").insert()


async def test_the_audits_chain_goes_on_in_the_new_place_with_what_came_late(mover: Mover, server: Server) -> None:
    admin = await server.sign_in(mover.clinic)
    before = await mover.ref()
    real = moving._wait_until
    late: list[str] = []

    async def wait_until(moment: Any) -> None:
        if (await mover.row()).placement.kind is OWN.kind and not late:  # somebody who does not know of it yet reads
            standings.confirm(before.id, {"placement": {"database": None}})
            async with tenant_scope(before):
                await record("somebody.late")
            late.append("somebody.late")
            standings.forget()
            await admin.gql(PATIENTS)
        await real(moment)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(moving, "_wait_until", wait_until)
        await mover.move(OWN)

    assert await mover.own()["audit_entries"].count_documents({"action": "somebody.late"}) == 1
    verified = await verify(await mover.row())
    assert verified.broken is None
    entries = await mover.own()["audit_entries"].distinct("_id")
    assert len(entries) == verified.entries
    await mover.move(SHARED)
    assert (await verify(await mover.row())).broken is None


async def test_a_clinic_that_shares_patients_stays(twins: Twins) -> None:
    with open_scope(Scope(request_id="test")):
        tenant = await clinic_to_move(twins.going.tenant.subdomain)
        with pytest.raises(InvalidState, match="shares 2 patients"):
            await moving.move(tenant, OWN, actor="tests", waits=AT_ONCE)
        left = await clinic_to_move(tenant.subdomain)
        assert left.placement.kind is SHARED.kind
        assert (await undo(left, actor="tests")).move is None


async def test_what_differs_is_not_taken_for_a_copy_and_the_clinic_stays(mover: Mover) -> None:
    real = compare_all

    async def spoiled(source: Any, target: Any, *args: Any) -> Any:
        await target["patients"].update_one({}, {"$set": {"given_name": "Spoiled"}})
        return await real(source, target, *args)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(moving, "compare", spoiled)
        with pytest.raises(Differs, match="patients"):
            await mover.move(OWN)

    row = await mover.row()
    assert (row.placement.kind, row.move and row.move.stage) == (SHARED.kind, MoveStage.COPYING)
    standings.forget()
    async with tenant_scope(await mover.ref()):
        await Room(name="Goes on", name_key="goes on").insert()
    moved = await mover.move(OWN)
    assert moved.tenant.placement.kind is OWN.kind
    assert await mover.own()["patients"].find_one({"given_name": "Spoiled"}) is None


async def test_a_move_that_was_given_up_leaves_nothing(mover: Mover) -> None:
    async def stop(*_: Any) -> None:
        raise Differs("stopped")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(moving, "compare", stop)
        with pytest.raises(Differs):
            await mover.move(OWN)
    before = await mover.prints(mover.raw)

    with open_scope(Scope(request_id="test")):
        with pytest.raises(InvalidState, match="on its way elsewhere"):
            await moving.move(await mover.row(), SHARED, actor="tests", waits=AT_ONCE)
        await undo(await mover.row(), actor="tests")

    assert mover.own().name not in await mover.raw.client.list_database_names()
    assert await mover.prints(mover.raw) == before


async def test_two_runs_do_not_work_on_one_clinic(mover: Mover) -> None:
    seen: list[Exception] = []

    def tell(stage: Stage) -> None:
        if stage is Stage.COPY:
            tasks.append(asyncio.ensure_future(mover.move(OWN)))

    tasks: list[Any] = []
    await mover.move(OWN, watch=Watch(stage=tell))
    for task in tasks:
        try:
            await task
        except (Conflict, InvalidState) as error:
            seen.append(error)
    assert len(seen) == 1
    assert await count(mover.own(), mover.clinic) > 0
