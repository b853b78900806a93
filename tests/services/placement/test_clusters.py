"""A clinic on another cluster: opened or moved there, served from there, and nothing of it anywhere else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId
from pymongo import AsyncMongoClient

from app.config import Settings
from app.db.migrations.running import migrate
from app.errors import TenantWallBroken, Unavailable
from app.services import onboarding
from app.services.clinics import clinic_named
from app.services.deletion import delete_tenant
from app.services.onboarding import onboard, read_form
from app.services.placement.provisioning import Goal, id_for
from app.services.tenant_checks import check_columns
from app.services.tenant_traces import find_traces
from app.tenancy.away import AwayDatabase
from app.tenancy.clusters import Clusters, ClusterUnavailable
from app.tenancy.crossing import tenant_scope
from app.tenancy.places import database_of
from app.tenancy.scope import Database, Scope, current_scope, open_scope
from app.tenancy.spanning import COMMIT_LOG, MARKS
from models import SHARED_DOCUMENTS, TENANT_DOCUMENTS, Appointment, Room, User
from tests.fixtures.clinics import OWN, PASSWORD, Clinic, MakeClinic, Server
from tests.fixtures.desks import OpenDesk, wall
from tests.fixtures.tills import OpenTill
from tests.fixtures.twins import fill
from tests.resolvers.patient_calls import register


@pytest_asyncio.fixture
async def elsewhere(other_mongodb_uri: str) -> AsyncIterator[AsyncMongoClient[dict[str, Any]]]:
    """The other cluster without guard and wall."""
    async with AsyncMongoClient[dict[str, Any]](other_mongodb_uri, tz_aware=True) as client:
        yield client


@pytest_asyncio.fixture(scope="module")
async def clinic(make_clinic: MakeClinic, on_another_cluster: Goal) -> Clinic:
    """A clinic that was opened there."""
    return await make_clinic(on_another_cluster)


async def test_all_that_is_the_clinics_own_is_there_and_nowhere_else(
    server: Server, clinic: Clinic, raw: Database, elsewhere: AsyncMongoClient[dict[str, Any]]
) -> None:
    admin = await server.sign_in(clinic)
    await register(admin)

    own = elsewhere[str(clinic.tenant.placement.database)]
    assert clinic.tenant.placement.cluster == "other"
    assert own.name not in await raw.client.list_database_names()
    assert await own["patients"].count_documents({"tenant_ids": clinic.tenant.id}) == 1
    assert await own["audit_entries"].count_documents({}) > 0
    for model in TENANT_DOCUMENTS:
        assert await raw[model.guarded_name()].count_documents({"tenant_id": clinic.tenant.id}) == 0, model
    for shared in SHARED_DOCUMENTS:
        assert await raw[shared.guarded_name()].count_documents({"tenant_ids": clinic.tenant.id}) == 0
    assert await own[COMMIT_LOG].count_documents({}) == 0
    shown = await admin.gql("{ patients { totalCount } }")
    assert shown.data["patients"]["totalCount"] == 1


async def test_a_doctor_is_booked_once_among_clinics_on_different_clusters(
    open_desk: OpenDesk, clinic_a: Clinic, clinic: Clinic, raw: Database
) -> None:
    person = await User(email=f"{ObjectId()}@example.com", name="Works Twice", password_hash="none").insert()
    here, there = await open_desk(clinic_a, user_id=person.id), await open_desk(clinic, user_id=person.id)

    booked = await there.booked(wall(9))
    assert (await here.book(wall(9))).codes == ["SLOT_TAKEN"]
    moved = await there.move(booked, wall(11))
    assert moved.codes == []
    assert (await here.book(wall(9))).codes == []
    assert (await there.book(wall(9))).codes == ["SLOT_TAKEN"]
    shadow = await raw["appointments"].find_one({"_id": ObjectId(booked["id"])})
    assert shadow is not None
    assert shadow.keys() == {"_id", "tenant_id", "claims"}


async def test_money_is_taken_there(open_till: OpenTill, clinic: Clinic, raw: Database) -> None:
    cashier = await open_till(clinic)
    invoice = await cashier.issued("100.00")
    await cashier.paid(invoice, "40.00")
    assert (await cashier.stored(invoice))["status"] == "partially_paid"
    assert len(await cashier.payments_of(invoice)) == 1
    assert await raw[MARKS].count_documents({}) > 0


async def test_an_id_leads_to_no_other_cluster(server: Server, clinic: Clinic, clinic_a: Clinic) -> None:
    there, here = await server.sign_in(clinic), await server.sign_in(clinic_a)
    theirs, ours = await register(there), await register(here)
    query = "query($id: ID!) { patient(id: $id) { id } }"
    change = "mutation($input: UpdatePatientInput!) { updatePatient(input: $input) { id } }"

    for asking, foreign in ((there, ours), (here, theirs)):
        assert (await asking.gql(query, id=foreign["id"])).codes == ["NOT_FOUND"]
        asked = {"id": foreign["id"], "version": foreign["version"], "givenName": "Mallory"}
        assert (await asking.gql(change, input=asked)).codes == ["NOT_FOUND"]
    for asking, own in ((there, theirs), (here, ours)):
        shown = await asking.gql("query($id: ID!) { patient(id: $id) { givenName } }", id=own["id"])
        assert shown.data["patient"]["givenName"] != "Mallory"
        assert (await asking.gql(query, id=own["id"])).codes == []


async def test_a_command_to_one_cluster_is_not_sent_to_another(
    server: Server, clinic: Clinic, make_clinic: MakeClinic
) -> None:
    """Databases on two clusters may bear the same name, as they do after a move."""
    apart = await make_clinic(OWN)
    async with tenant_scope(clinic.ref):
        away = database_of(current_scope(), Room.home_database)
    twin = AwayDatabase(away.client, str(apart.tenant.placement.database), "other")
    async with tenant_scope(apart.ref):
        with pytest.raises(TenantWallBroken):
            await twin["rooms"].find_one({"tenant_id": apart.tenant.id})
    async with tenant_scope(clinic.ref):
        home = Room.home_database().client[away.name]
        with pytest.raises(TenantWallBroken):
            await home["rooms"].find_one({"tenant_id": clinic.tenant.id})


async def test_its_deletion_takes_its_database_and_its_shadows_along(
    make_clinic: MakeClinic, on_another_cluster: Goal, raw: Database, elsewhere: AsyncMongoClient[dict[str, Any]]
) -> None:
    clinic = await make_clinic(on_another_cluster)
    await fill(clinic, 2)
    async with tenant_scope(clinic.ref):
        claim = f"doctor:{ObjectId()}:20300101T0900"
        [row] = await Appointment.rows({}, limit=1)
        await Appointment.guarded().update_one({"_id": row["_id"]}, {"$set": {"claims": [claim]}})
    assert await raw["appointments"].count_documents({"claims": claim}) == 1

    with open_scope(Scope(request_id="test")):
        tenant = await clinic_named(clinic.tenant.subdomain)
        done = await delete_tenant(tenant, actor="tests", exports=None, settle=timedelta(0))

    assert done.tombstone.counts["patients"] == 2
    assert clinic.tenant.placement.database not in await elsewhere.list_database_names()
    assert await raw["appointments"].count_documents({"claims": claim}) == 0
    assert await find_traces(clinic.tenant.key) == {}


async def test_what_a_killed_opening_left_there_is_made_anew(
    server: Server, on_another_cluster: Goal, elsewhere: AsyncMongoClient[dict[str, Any]]
) -> None:
    name = f"n{ObjectId()}"
    place = on_another_cluster.placement(id_for(name))
    await elsewhere[str(place.database)]["roles"].insert_one({"tenant_id": id_for(name), "name": "admin"})
    admin = {"name": "Ada", "email": f"ada@{name}.example.com", "password": PASSWORD}

    with open_scope(Scope(request_id="test")):
        opened = await onboard(read_form({"name": "North", "subdomain": name, "admin": admin}), on_another_cluster)

    assert opened.tenant.placement == place
    assert await elsewhere[str(place.database)]["roles"].count_documents({"name": "admin"}) == 1


async def test_what_cannot_be_opened_leaves_no_database_there(
    server: Server,
    on_another_cluster: Goal,
    elsewhere: AsyncMongoClient[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def breaks(*_: Any, **__: Any) -> None:
        raise Unavailable

    name = f"n{ObjectId()}"
    admin = {"name": "Ada", "email": f"ada@{name}.example.com", "password": PASSWORD}
    monkeypatch.setattr(onboarding, "open_clinic", breaks)
    with open_scope(Scope(request_id="test")), pytest.raises(Unavailable):
        await onboard(read_form({"name": "North", "subdomain": name, "admin": admin}), on_another_cluster)
    assert on_another_cluster.placement(id_for(name)).database not in await elsewhere.list_database_names()


async def test_it_is_migrated_and_checked_with_all_others(
    clinic: Clinic, raw: Database, elsewhere: AsyncMongoClient[dict[str, Any]], settings: Settings
) -> None:
    own = elsewhere[str(clinic.tenant.placement.database)]
    await own["rooms"].drop_indexes()
    await own["schema_state"].update_one({"_id": "schema"}, {"$set": {"fingerprint": "former"}})
    orphan = f"{raw.name}_{ObjectId()}"
    await elsewhere[orphan]["rooms"].insert_one({})

    found = {str(one) for one in await check_columns(raw.client, settings)}
    assert f"other/{orphan}: is the database of no clinic that exists (1)" in found
    assert any(one.startswith(f"other/{own.name}.rooms: missing index") for one in found)
    await elsewhere.drop_database(orphan)

    [_, report] = await migrate(raw.client, settings, only=["shared", clinic.tenant.subdomain])
    assert (report.database, report.failed) == (f"other/{own.name}", None)
    assert any("rooms" in one for one in report.schema)


async def until_forgotten(known: Clusters) -> None:
    async with asyncio.timeout(10):
        while known.in_use:
            await asyncio.sleep(0.01)


async def test_a_new_address_is_noticed_and_a_client_that_nobody_uses_is_closed(
    server: Server, clinic: Clinic, other_mongodb_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.tenancy.clusters.LOOK_SECONDS", 0.05)
    monkeypatch.setattr("app.tenancy.clusters.GRACE_SECONDS", 0.05)
    residence = clinic.ref.residence
    known = Clusters()
    addresses = ["first", "second"]

    async def source(_: str) -> str:
        return addresses[0]

    made: list[str] = []

    def make(_: str, uri: str, watcher: Any) -> Any:
        made.append(uri)
        watcher.reachable(True)
        return AsyncMongoClient(other_mongodb_uri)

    known.use(source, make)
    await known.ready(residence)
    first = known.database(residence)
    assert known.database(residence) is first
    addresses.pop(0)
    await until_forgotten(known)
    await known.ready(residence)
    assert known.database(residence) is not first
    assert made == ["first", "second"]

    monkeypatch.setattr("app.tenancy.clusters.IDLE_SECONDS", 0.0)
    await until_forgotten(known)
    with pytest.raises(ClusterUnavailable):
        known.database(residence)
    await known.close()
