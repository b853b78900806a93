"""Audit entries of several clinics go by one command: each into its own clinic's chain, and nothing else goes along."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bson import ObjectId

from app.errors import TenantGuardRefused, TenantWallBroken
from app.services.audit import record
from app.services.audit_chain import drain, head_of, linked
from app.services.audit_verification import verify
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from models import AuditEntry, Room
from tests.fixtures.clinics import Clinic, MakeClinic, Server
from tests.fixtures.commands import Commands

MANY = 12


async def note(clinic: Clinic, action: str) -> None:
    async with tenant_scope(clinic.ref):
        await record(action)


async def actions(clinic: Clinic) -> list[str]:
    async with tenant_scope(clinic.ref):
        return [row["action"] for row in await AuditEntry.rows({}, sort=[("seq", 1)])]


async def heads(clinics: list[Clinic]) -> list[int]:
    found = []
    for clinic in clinics:
        async with tenant_scope(clinic.ref):
            found.append((await head_of())[0])
    return found


@pytest.fixture(scope="module")
async def clinics(make_clinic: MakeClinic) -> list[Clinic]:
    """Clinics whose chains this process knows."""
    opened = [await make_clinic() for _ in range(4)]
    for clinic in opened:
        await note(clinic, "test.first")
    return opened


async def test_entries_of_several_clinics_share_commands_and_stay_in_their_own_chains(
    clinics: list[Clinic], commands: Commands
) -> None:
    before = await heads(clinics)
    commands.clear()

    await asyncio.gather(*(note(clinic, f"test.{i}.{n}") for n, clinic in enumerate(clinics) for i in range(MANY)))

    inserts = [command for command in commands.on("audit_entries") if "insert" in command]
    assert len(inserts) < len(clinics) * MANY / 2
    assert await heads(clinics) == [head + MANY for head in before]
    for number, clinic in enumerate(clinics):
        told = [one for one in await actions(clinic) if one.startswith("test.") and one != "test.first"]
        assert sorted(told) == sorted(f"test.{i}.{number}" for i in range(MANY))
        assert await intact(clinic)


async def test_a_clinic_whose_chain_another_process_has_extended_is_tried_again_and_the_others_are_not(
    clinics: list[Clinic],
) -> None:
    late, *others = clinics
    async with tenant_scope(late.ref):  # as another process would: this one's head is out of date then
        last = await AuditEntry.guarded().find_one({}, sort=[("seq", -1)])
        assert last is not None
        row = {**row_of_another(last), "action": "test.elsewhere"}
        (entry,) = linked(late.ref.id, [row], (last["seq"], last["mac"]))
        await AuditEntry.guarded().insert_one(entry)

    await asyncio.gather(*(note(clinic, "test.at once") for clinic in clinics))

    assert (await actions(late))[-2:] == ["test.elsewhere", "test.at once"]
    assert [(await actions(clinic))[-1] for clinic in others] == ["test.at once"] * len(others)
    assert all([await intact(clinic) for clinic in clinics])


def row_of_another(last: dict[str, Any]) -> dict[str, Any]:
    left_out = ("tenant_id", "seq", "mac", "key_id")
    return {**{key: value for key, value in last.items() if key not in left_out}, "_id": ObjectId()}


async def intact(clinic: Clinic) -> bool:
    await drain()
    async with tenant_scope(clinic.ref):
        return (await verify(clinic.tenant)).broken is None


@pytest.mark.parametrize(
    "send",
    [
        lambda database: database["rooms"].insert_one({"tenant_id": ObjectId(), "seq": 1, "mac": b"", "key_id": ""}),
        lambda database: database["audit_entries"].insert_one({"seq": 1, "mac": b"", "key_id": ""}),
        lambda database: database["audit_entries"].insert_many([{"tenant_id": ObjectId()}]),
        lambda database: database["audit_entries"].find_one({}),
        lambda database: database["audit_entries"].delete_many({}),
        lambda database: database["audit_entries"].update_many({}, {"$set": {"seq": 1}}),
        lambda database: database["audit_entries"].aggregate([]),
    ],
)
async def test_the_wall_lets_nothing_else_pass_where_the_ledger_is_written(server: Server, send: Any) -> None:
    database = Room.home_database()

    with open_scope(Scope(request_id="ledger", ledger=True)), pytest.raises(TenantWallBroken):
        await send(database)


async def test_an_entry_of_another_clinic_is_refused_before_it_is_sent(clinics: list[Clinic]) -> None:
    here, there = clinics[:2]
    async with tenant_scope(here.ref):
        with pytest.raises(TenantGuardRefused):
            await AuditEntry.guarded().insert_shared({"tenant_id": there.ref.id, "seq": 1, "mac": b"", "key_id": ""})
