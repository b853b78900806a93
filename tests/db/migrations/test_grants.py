"""An upgrade to a release that asks for plans shuts out no clinic that was opened before there were any."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId

from app.db.migrations import m0004_grants as step
from app.db.migrations.running import migrate
from app.db.migrations.step import Site
from app.db.transactions import in_transaction
from app.plans import LARGEST
from app.services.subscription import granting, keeping
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Database, Scope, open_scope
from models import Tenant
from models.values import now
from tests.db.migrations.places import Place
from tests.fixtures.clinics import Answer, Client, MakeClinic, Server

ENDED = {"plan": "trial", "status": "trial", "billing_cycle": "monthly", "renewal_at": None}
ROOM = "mutation($name: String!) { createRoom(input: {name: $name}) { id } }"


def old(**more: Any) -> dict[str, Any]:
    """A subscription as it was stored before plans were asked for: a trial of seven days that nobody held anyone to."""
    return {**ENDED, "expires_at": now() - timedelta(days=300), **more}


async def stored(database: Database, id: ObjectId, subscription: dict[str, Any]) -> None:
    await database["tenants"].update_one({"_id": id}, {"$set": {"subscription": subscription}})


async def room(client: Client) -> Answer:
    return await client.gql(ROOM, name=f"Room {ObjectId()}")


async def test_a_clinic_from_before_works_on_after_the_upgrade(
    make_clinic: MakeClinic, server: Server, raw: Database
) -> None:
    clinic = await make_clinic()
    await stored(raw, clinic.tenant.key, old())
    admin = await server.sign_in(clinic)
    assert (await room(admin)).codes == ["PLAN_REQUIRED"]
    site = Site("shared", raw, raw)

    assert await step.pending(site) == 1
    assert await step.run(site) == 1

    assert not (await room(admin)).errors
    tenant = await Tenant.get(clinic.tenant.key)
    assert tenant is not None
    assert (tenant.subscription.plan, tenant.subscription.status.value) == (LARGEST.name, "active")
    assert tenant.subscription.history[-1].cause == step.CAUSE
    assert (await step.pending(site), await step.run(site)) == (0, 0)


async def test_what_is_stored_is_what_follows_from_it(make_clinic: MakeClinic, server: Server, raw: Database) -> None:
    """Nothing that is worked out later moves it, and it can be taken back as any gift."""
    clinic = await make_clinic()
    await stored(raw, clinic.tenant.key, old(status="expired", revision=3, history=[]))
    await step.run(Site("shared", raw, raw))
    row = await raw["tenants"].find_one({"_id": clinic.tenant.key})
    assert row is not None

    with open_scope(Scope(request_id="test")):
        async with tenant_scope(clinic.ref):
            await in_transaction(lambda session: keeping.renew("a look", session, always=False))
        again = await raw["tenants"].find_one({"_id": clinic.tenant.key})
        assert again == row
        tenant = await Tenant.get(clinic.tenant.key)
        assert tenant is not None
        course = await granting.revoke(tenant, "they have agreed on nothing, #4711")
    assert (course.status.value, course.plan.value) == ("expired", "trial")


@pytest.mark.parametrize(
    "subscription",
    [
        pytest.param(old(grant=None), id="opened-since"),
        pytest.param(old(status="active", plan="pro", revision=2), id="pays"),
        pytest.param(old(status="cancelled", plan="pro", revision=2), id="cancelled"),
        pytest.param(old(expires_at=None), id="without-an-end"),
    ],
)
async def test_everybody_else_stays_as_they_are(place: Place, subscription: dict[str, Any]) -> None:
    await stored(place.shared, place.clinics["pool"], subscription)
    before = await place.shared["tenants"].find_one({"_id": place.clinics["pool"]})
    await place.forget("grants")

    await migrate(place.client, place.settings)

    assert await place.shared["tenants"].find_one({"_id": place.clinics["pool"]}) == before


async def test_a_dry_run_counts_them_and_one_run_gives_to_all(place: Place) -> None:
    for name in ("pool", "one"):
        await stored(place.shared, place.clinics[name], old())
    await place.forget("grants")

    [dry, *_] = await migrate(place.client, place.settings, dry=True)
    [done, *_] = await migrate(place.client, place.settings)

    assert (dry.steps["grants"], done.steps["grants"]) == (2, 2)
    rows = await place.shared["tenants"].find({"subscription.grant": {"$ne": None}}).to_list()
    given = [row["subscription"]["grant"] for row in rows]
    assert len(given) == 2
    assert {one["plan"] for one in given} == {LARGEST.name.value}
    assert all(one["until"] > now() + timedelta(days=364) for one in given)
