"""A clinic in a database of its own: opened there, served from there, and nowhere else."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import WriteError

from app.config import Settings
from app.errors import Unavailable, ValidationFailed
from app.jobs.runs import run_job
from app.permissions import ROLES
from app.services import onboarding
from app.services.clinics import clinic_named
from app.services.deletion import TracesLeft, delete_tenant
from app.services.deletion_plan import plan_deletion
from app.services.onboarding import onboard, read_form
from app.services.placement.provisioning import Goal, id_for, own_placement
from app.services.tenant_checks import check_columns
from app.services.tenant_traces import find_traces
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Database, Scope, open_scope
from models import SHARED_DOCUMENTS, TENANT_DOCUMENTS, Appointment, Tenant
from models.tenant import PlacementKind
from models.values import now
from tests.fixtures.clinics import PASSWORD, MakeClinic, Server
from tests.fixtures.twins import fill
from tests.resolvers.patient_calls import register

OWN = Goal(PlacementKind.OWN_DATABASE)


def form(name: str, **more: Any) -> Any:
    admin = {"name": "Ada", "email": f"ada@{name}.example.com", "password": PASSWORD}
    return read_form({"name": name.title(), "subdomain": name, "admin": admin, **more})


def fresh() -> str:
    return f"own{ObjectId()}"


async def test_all_that_is_the_clinics_own_is_in_its_database(
    server: Server, make_clinic: MakeClinic, raw: Database
) -> None:
    clinic = await make_clinic(OWN)
    admin = await server.sign_in(clinic)
    await register(admin)

    own = raw.client[str(clinic.tenant.placement.database)]
    assert own.name == f"{raw.name}_{clinic.tenant.id}"
    assert await own["patients"].count_documents({"tenant_ids": clinic.tenant.id}) == 1
    assert await own["audit_entries"].count_documents({}) > 0
    for model in TENANT_DOCUMENTS:
        assert await raw[model.guarded_name()].count_documents({"tenant_id": clinic.tenant.id}) == 0, model
    for shared in SHARED_DOCUMENTS:
        assert await raw[shared.guarded_name()].count_documents({"tenant_ids": clinic.tenant.id}) == 0
    shown = await admin.gql("{ patients { totalCount } }")
    assert shown.data["patients"]["totalCount"] == 1


async def test_its_database_admits_no_other_clinic(make_clinic: MakeClinic, raw: Database) -> None:
    clinic = await make_clinic(OWN)
    own = raw.client[str(clinic.tenant.placement.database)]
    assert "tenants" not in await own.list_collection_names()
    with pytest.raises(WriteError):
        await own["rooms"].insert_one({"tenant_id": ObjectId(), "name": "Foreign"})


async def test_what_cannot_be_opened_leaves_no_database(
    server: Server, raw: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = fresh()

    async def breaks(*_: Any, **__: Any) -> None:
        raise Unavailable

    with monkeypatch.context() as patched, open_scope(Scope(request_id="test")):
        patched.setattr(onboarding, "open_clinic", breaks)
        with pytest.raises(Unavailable):
            await onboard(form(name), OWN)
    left = own_placement(id_for(name)).database
    assert left not in await raw.client.list_database_names()

    with open_scope(Scope(request_id="test")):
        opened = await onboard(form(name), OWN)
    assert opened.tenant.placement.database == left


async def test_a_database_that_a_killed_run_left_is_taken_by_the_next(server: Server, raw: Database) -> None:
    name = fresh()
    placement = own_placement(id_for(name))
    await raw.client[str(placement.database)]["rooms"].insert_one({"tenant_id": id_for(name), "half": 1})

    with open_scope(Scope(request_id="test")):
        opened = await onboard(form(name), OWN)

    assert opened.tenant.placement == placement
    stored = raw.client[str(placement.database)]
    rules = [one async for one in await stored.list_collections(filter={"name": "rooms"})]
    assert rules[0]["options"]["validator"]["$jsonSchema"]["properties"]["tenant_id"] == {"enum": [opened.tenant.id]}


async def test_of_two_who_open_the_same_clinic_one_does_and_its_database_stays(server: Server, raw: Database) -> None:
    name = fresh()
    with open_scope(Scope(request_id="test")):
        results = await asyncio.gather(*(onboard(form(name), OWN) for _ in range(2)), return_exceptions=True)
        with pytest.raises(ValidationFailed):
            await onboard(form(name), OWN)
    assert sum(not isinstance(one, BaseException) for one in results) == 1
    tenant = await Tenant.find_one({"subdomain": name})
    assert tenant is not None
    async with tenant_scope(tenant):
        stored = raw.client[str(tenant.placement.database)]
        assert await stored["roles"].count_documents({}) == len(ROLES)


async def test_its_deletion_takes_its_database_and_its_shadows_along(make_clinic: MakeClinic, raw: Database) -> None:
    clinic = await make_clinic(OWN)
    await fill(clinic, 3)
    async with tenant_scope(clinic.ref):
        [row] = await Appointment.rows({}, limit=1)
        claim = f"doctor:{ObjectId()}:20300101T0900"
        await Appointment.guarded().update_one({"_id": row["_id"]}, {"$set": {"claims": [claim]}})
    assert await raw["appointments"].count_documents({"claims": claim}) == 1

    with open_scope(Scope(request_id="test")):
        tenant = await clinic_named(clinic.tenant.subdomain)
        plan = await plan_deletion(tenant)
        done = await delete_tenant(tenant, actor="tests", exports=None, settle=timedelta(0))

    assert plan.gone["patients"] == done.tombstone.counts["patients"] == 3
    assert clinic.tenant.placement.database not in await raw.client.list_database_names()
    assert await raw["appointments"].count_documents({"claims": claim}) == 0
    assert await find_traces(clinic.tenant.key) == {}


async def test_a_trace_in_its_own_database_stops_its_deletion(make_clinic: MakeClinic, raw: Database) -> None:
    clinic = await make_clinic(OWN)
    own = raw.client[str(clinic.tenant.placement.database)]
    await own["stray"].insert_one({"deep": {"owner": clinic.tenant.id}})

    with open_scope(Scope(request_id="test")):
        tenant = await clinic_named(clinic.tenant.subdomain)
        with pytest.raises(TracesLeft, match=f"1 in {own.name}.stray"):
            await delete_tenant(tenant, actor="tests", exports=None, settle=timedelta(0))
    assert own.name in await raw.client.list_database_names()


async def test_the_check_of_columns_looks_into_it(make_clinic: MakeClinic, raw: Database, settings: Settings) -> None:
    clinic = await make_clinic(OWN)
    own = raw.client[str(clinic.tenant.placement.database)]
    orphan = f"{raw.name}_{ObjectId()}"
    await raw.client[orphan]["rooms"].insert_one({})
    await raw["rooms"].insert_one({"tenant_id": clinic.tenant.id, "name": "Misplaced"})
    await own["patient_records"].insert_one({"tenant_id": clinic.tenant.id, "patient_id": ObjectId()})
    await own["unheard_of"].insert_one({})
    await own["rooms"].drop_indexes()

    found = {str(one) for one in await check_columns(raw.client, settings)}

    assert f"{orphan}: is the database of no clinic that exists (1)" in found
    assert "rooms: belongs to a clinic that lives in a database of its own (1)" in found
    mine = {one.removeprefix(f"{own.name}.").partition(", for")[0] for one in found if one.startswith(f"{own.name}.")}
    assert any(one.startswith("patient_records: patient_id points to nothing in patients (1") for one in mine)
    assert any(one.startswith("unheard_of: is not a registered collection") for one in mine)
    assert any(one.startswith("rooms: missing index") for one in mine)
    await raw["rooms"].delete_many({"tenant_id": clinic.tenant.id})
    await raw.client.drop_database(orphan)
    await raw.client.drop_database(own.name)


async def test_jobs_run_where_the_clinic_lives(make_clinic: MakeClinic, raw: Database, settings: Settings) -> None:
    clinic = await make_clinic(OWN)
    own = raw.client[str(clinic.tenant.placement.database)]
    pending = {"action": "late.act", "result": "ok", "request_id": "late", "at": now()}
    await own["audit_pending"].insert_one({"tenant_id": clinic.tenant.id, "at": now(), "entry": pending})

    with open_scope(Scope(request_id="test")):
        await run_job("chain-audit", settings)

    assert await own["audit_pending"].count_documents({}) == 0
    assert await own["audit_entries"].count_documents({"action": "late.act"}) == 1
