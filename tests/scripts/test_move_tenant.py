"""The command that moves clinics, run as a person runs it, also when it is killed on the way."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import dataclass

import pytest_asyncio

from app.config import PROJECT_ROOT, Settings
from app.services.audit_verification import verify
from app.services.placement.moving import clinic_to_move
from app.tenancy.crossing import system_scope, tenant_scope
from app.tenancy.directory import ref_of
from app.tenancy.places import standings
from app.tenancy.scope import Database
from models import Room, Tenant
from models.tenant import MoveStage, PlacementKind
from models.values import now
from tests.fixtures.clinics import Clinic, MakeClinic
from tests.fixtures.twins import fill, fingerprints
from tests.scripts.commands import environment, run


@dataclass(frozen=True, slots=True)
class Ended:
    code: int
    out: str
    errors: str


@dataclass(frozen=True, slots=True)
class Command:
    """Runs the command on one clinic."""

    settings: Settings
    clinic: Clinic
    raw: Database

    async def run(self, *arguments: str, die_at: str | None = None) -> Ended:
        module = ["scripts.move_tenant"] if die_at is None else ["tests.standin_move", die_at]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *module, self.clinic.tenant.subdomain, *arguments),
            cwd=PROJECT_ROOT,
            env=environment(self.settings),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await process.communicate()
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(), errors.decode())

    async def row(self) -> Tenant:
        return await clinic_to_move(self.clinic.tenant.subdomain)

    async def prints(self) -> dict[str, str]:
        """The clinic's documents where it lives at this moment, but for its audit."""
        database = (await self.row()).placement.database
        place = self.raw.client[database] if database is not None else self.raw
        found = await fingerprints(place, self.clinic)
        return {name: one for name, one in found.items() if not name.startswith("audit_")}

    async def a_minute_later(self) -> None:
        """Whoever was killed holds nothing any longer."""
        await self.raw["tenants"].update_one(
            {"_id": self.clinic.tenant.id, "move": {"$ne": None}}, {"$set": {"move.lease_until": now()}}
        )
        own = self.raw.client[f"{self.raw.name}_{self.clinic.tenant.id}"]
        await own["schema_state"].delete_one({"_id": "lock"})
        standings.forget()


@pytest_asyncio.fixture
async def command(settings: Settings, make_clinic: MakeClinic, raw: Database) -> Command:
    clinic = await make_clinic()
    await fill(clinic, 3)
    return Command(settings, clinic, raw)


async def test_without_execute_it_tells_and_changes_nothing(command: Command) -> None:
    before = await command.prints()

    ended = await command.run("--to", "own")

    assert ended.code == 0, ended.errors
    assert "Nothing was changed." in ended.out
    assert (await command.row()).move is None
    assert await command.prints() == before


async def test_it_moves_tells_what_was_compared_and_goes_back(command: Command) -> None:
    before = await command.prints()

    ended = await command.run("--to", "own", "--execute", "--settle", "0", "--json")

    assert ended.code == 0, ended.errors
    told = json.loads(ended.out.splitlines()[-1])
    assert told["placement"]["kind"] == "own_database"
    assert told["compared"]["patients"]["documents"] == 3
    assert told["formerPlaceKept"] is True
    assert await command.prints() == before
    planned = await command.run("--to", "own")
    assert "It is there already: nothing would be moved." in planned.out
    again = await command.run("--to", "own", "--execute", "--settle", "0")
    assert again.code == 0, "all is done already"
    assert await command.prints() == before

    back = await command.run("--back", "--execute", "--settle", "0", "--drop-source")

    assert back.code == 0, back.errors
    assert "in the shared database" in back.out
    row = await command.row()
    assert (row.placement.kind, row.move) == (PlacementKind.SHARED, None)
    assert await command.prints() == before
    assert told["placement"]["database"] not in await command.raw.client.list_database_names()


async def test_killed_at_any_point_it_is_finished_by_running_it_again(command: Command) -> None:
    before = await command.prints()
    arguments = ("--to", "own", "--execute", "--settle", "0", "--drop-source")
    stages: list[MoveStage | None] = []

    for die_at in ("30", "t2", "t3", "t4", "t5", None):
        ended = await command.run(*arguments, die_at=die_at)
        await command.a_minute_later()
        row = await command.row()
        assert await command.prints() == before, "wherever it lives, all of it is there"
        async with tenant_scope(ref_of(row)):
            room = await Room(name=f"Room {die_at}", name_key=f"room {die_at}").insert()
            await room.delete()
        assert ended.code == (-signal.SIGKILL if row.move else 0), ended.errors
        stages.append(row.move.stage if row.move else None)

    copying, kept = MoveStage.COPYING, MoveStage.KEPT
    assert stages == [copying, copying, MoveStage.READ_ONLY, MoveStage.MOVED, kept, None]
    row = await command.row()
    assert (row.placement.kind, row.move) == (PlacementKind.OWN_DATABASE, None)
    assert (await verify(row)).broken is None
    assert await command.raw["patients"].count_documents({"tenant_ids": command.clinic.tenant.id}) == 0


async def test_killed_it_can_be_given_up(command: Command) -> None:
    before = await command.prints()
    killed = await command.run("--to", "own", "--execute", "--settle", "0", die_at="12")
    assert killed.code == -signal.SIGKILL, killed.errors
    at_once = await command.run("--undo", "--execute")
    assert at_once.code == 1
    assert "Another run is at work" in at_once.errors
    await command.a_minute_later()
    back = await command.run("--back", "--execute")
    assert back.code == 2
    planned = await command.run("--to", "shared")
    assert "That move is to be finished first" in planned.out
    assert "was interrupted: say --to own to finish it" in " ".join(back.errors.replace("│", " ").split())

    ended = await command.run("--undo", "--execute")

    assert ended.code == 0, ended.errors
    assert (await command.row()).move is None
    assert await command.prints() == before
    own = f"{command.raw.name}_{command.clinic.tenant.id}"
    assert own not in await command.raw.client.list_database_names()


async def test_what_the_audit_tells_of_moves_and_merges_keeps_no_clinic_from_being_deleted(command: Command) -> None:
    moved = await command.run("--to", "own", "--execute", "--settle", "0")
    assert moved.code == 0, moved.errors
    tenant = command.clinic.tenant
    async with system_scope(f"patient unmerged at {tenant.id}", action="patient.unmerge"):
        pass
    told = command.raw["platform_audit"]
    assert await told.count_documents({"reason": {"$regex": str(tenant.id)}}) >= 2

    flags = ("--execute", "--confirm", tenant.subdomain, "--no-export", "--settle", "0")
    deleted = await asyncio.to_thread(run, command.settings, "delete_tenant", tenant.subdomain, *flags)

    assert deleted.returncode == 0, deleted.stderr
    assert await command.raw["tenants"].find_one({"_id": tenant.key}) is None
    own = f"{command.raw.name}_{tenant.id}"
    assert own not in await command.raw.client.list_database_names()
