"""Scopes by name, and the few ways across clinics."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId

from app.errors import TenantGuardRefused, TenantScopeRequired, TenantWallBroken
from app.tenancy.crossing import busy_claims, system_scope, tenant_scope
from app.tenancy.scope import scope_or_none
from models.platform_audit import PlatformAudit
from tests.fixtures.documents import Gadget
from tests.fixtures.guard import Clinics


async def test_tenant_scope_opens_one_clinic_and_closes_it_again(clinics: Clinics) -> None:
    async with tenant_scope(clinics.a):
        assert await Gadget.count() == 3
        async with tenant_scope(clinics.b) as inner:
            assert inner.tenant_id == clinics.b.id
    assert scope_or_none() is None


async def test_a_system_scope_is_audited_before_it_opens(clinics: Clinics) -> None:
    with clinics.at_a():
        async with system_scope("moving a clinic"):
            row = await PlatformAudit.find_one({"reason": "moving a clinic"})
    assert row is not None
    assert row.tenant == clinics.a.id
    assert (row.actor, row.request_id) == ("system", "test")


async def test_a_system_scope_needs_a_reason(clinics: Clinics) -> None:
    with pytest.raises(ValueError, match="reason"):
        async with system_scope("  "):
            pass


async def test_a_system_scope_that_cannot_be_audited_does_not_open(clinics: Clinics) -> None:
    opened = False
    await clinics.plain.command("collMod", "platform_audit", validator={"nothing": "passes"})
    try:
        with pytest.raises(Exception, match="validation"):
            async with system_scope("unaudited"):
                opened = True
    finally:
        await clinics.plain.command("collMod", "platform_audit", validator={})
    assert not opened


async def test_guarded_collections_still_need_a_clinic_inside_a_system_scope(clinics: Clinics) -> None:
    with clinics.at_a():
        async with system_scope("counting") as system:
            with pytest.raises(TenantScopeRequired):
                await Gadget.guarded().count_documents({})
            assert await system.raw(Gadget).count_documents({}) == 6


async def test_raw_access_ends_with_its_scope(clinics: Clinics) -> None:
    async with system_scope("looking") as system:
        collection = system.raw(Gadget)
    with pytest.raises(TenantWallBroken):
        await collection.find_one({})
    with clinics.at_a(), pytest.raises(TenantGuardRefused):
        system.raw(Gadget)


def appointment(tenant_id: ObjectId, *claims: str) -> dict[str, Any]:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return {"tenant_id": tenant_id, "reason": "secret", "starts_at": at, "claims": list(claims)}


async def test_busy_claims_tells_that_a_person_is_busy_and_nothing_else(clinics: Clinics) -> None:
    appointments = clinics.plain["appointments"]
    await appointments.delete_many({})
    await appointments.create_index(
        "claims", name="claims", unique=True, partialFilterExpression={"claims": {"$gt": ""}}
    )
    await appointments.insert_many(
        [
            appointment(clinics.a.id, "doctor:1:10", "doctor:1:11", "patient:7:10"),
            appointment(clinics.b.id, "doctor:1:12", "room:3:12"),
            appointment(clinics.b.id, "doctor:1:20", "doctor:2:11"),
            {"tenant_id": clinics.b.id, "reason": "cancelled, so without claims"},
        ]
    )
    with clinics.at_a():
        assert await busy_claims("doctor:1:", "11", "20") == {"doctor:1:11", "doctor:1:12"}
        assert await busy_claims("doctor:9:", "00", "99") == set()
