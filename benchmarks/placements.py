"""What databases of clinics' own cost: `python -m benchmarks.placements [CLINICS]` (300, of which every other has one).

Opens the clinics, asks each of them once, many at a time, through one server process, and prints how long a database
takes to make, how many files and how much memory the database server needs for them, how many connections the server
process holds, and how long migrations over all of them take: nothing to do, one step, one step and a new index.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr
from pymongo import AsyncMongoClient

from app.auth.sessions import open_session
from app.config import Settings
from app.db.documents import init_documents
from app.db.migrations import MIGRATIONS, running
from app.db.migrations.step import Migration, Site
from app.db.mongod import embedded_mongod
from app.db.schema import STATE, apply_schema
from app.services.audit_chain import drain, use_audit_keys
from app.services.onboarding import onboard, read_form
from app.services.placement.provisioning import Goal
from app.services.tenant_keys import use_tenant_keys
from app.tenancy.directory import ref_of
from app.tenancy.scope import Scope, open_scope
from benchmarks.fairness import PLENTY, served
from models import ALL_DOCUMENTS, User
from models.tenant import PlacementKind

IN_FLIGHT = 32
PARALLEL = 4
PASSWORD = secrets.token_urlsafe(16)
QUERY = {"query": "{ patients(first: 20) { totalCount edges { node { id name } } } }"}
Client = AsyncMongoClient[dict[str, Any]]


def told(what: str, value: str) -> None:
    print(f"{what:<58}{value:>20}", flush=True)


async def open_clinics(settings: Settings, many: int) -> dict[str, str]:
    """The tokens of the clinics' admins, by subdomain. One person runs them all: hashing is not what is measured."""
    tokens: dict[str, str] = {}
    seconds: dict[PlacementKind, float] = dict.fromkeys((PlacementKind.SHARED, PlacementKind.OWN_DATABASE), 0.0)
    for number in range(many):
        kind = PlacementKind.OWN_DATABASE if number % 2 else PlacementKind.SHARED
        admin = {"name": "Ada Admin", "email": "ada@example.com", "password": PASSWORD}
        name = f"clinic-{number}"
        form = read_form({"name": name, "subdomain": name, "admin": admin})
        with open_scope(Scope(request_id="bench")):
            began = time.perf_counter()
            opened = await onboard(form, Goal(kind))
            seconds[kind] += time.perf_counter() - began
            user = await User.find_one({"email": "ada@example.com"})
            assert user is not None
            ref = ref_of(opened.tenant)
            tokens[name] = (await open_session(user, settings, clinic=ref, address="", device="bench")).token
    for kind, spent in seconds.items():
        told(f"seconds to open a clinic, {kind.value}", f"{spent / (many / 2):.2f}")
    return tokens


async def ask_all(port: int, tokens: dict[str, str]) -> float:
    """Asks each clinic once, some at a time; the seconds that it took."""
    free = asyncio.Semaphore(IN_FLIGHT)
    limits = httpx.Limits(max_connections=IN_FLIGHT)
    async with httpx.AsyncClient(limits=limits, timeout=60) as http:

        async def ask(name: str, token: str) -> None:
            headers = {"Host": f"{name}.localhost", "Authorization": f"Bearer {token}", "X-Polyclinic-Client": "bench"}
            async with free:
                answer = await http.post(f"http://127.0.0.1:{port}/graphql", json=QUERY, headers=headers)
            assert "errors" not in answer.json(), answer.text

        began = time.perf_counter()
        await asyncio.gather(*(ask(name, token) for name, token in tokens.items()))
        return time.perf_counter() - began


def memory_of(pid: int) -> float:
    """Resident memory of a process, in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


async def connections(client: Client, name: str) -> int:
    """How many connections of that application the database has, by what it tells of itself."""
    async with await client.admin.aggregate([{"$currentOp": {"allUsers": True, "idleConnections": True}}]) as cursor:
        return len(
            {one["connectionId"] async for one in cursor if one.get("appName") == name and "connectionId" in one}
        )


async def database_figures(client: Client, folder: Path, label: str) -> None:
    status = await client.admin.command("serverStatus")
    files = sum(1 for one in (folder / "mongodb").iterdir() if one.suffix == ".wt")
    told(f"files of the database, {label}", str(files))
    told(f"of them open, {label}", str(status["wiredTiger"]["data-handle"]["connection data handles currently active"]))
    told(f"resident memory of the database, {label}", f"{status['mem']['resident']} MB")


async def serve_all(settings: Settings, client: Client, tokens: dict[str, str]) -> None:
    with served(settings, **dict.fromkeys(map(str.upper, PLENTY), str(10**12))) as port:
        await ask_all(port, dict(list(tokens.items())[:1]))
        pid = server_at(port)
        told("resident memory of the server, one clinic asked", f"{memory_of(pid):.0f} MB")
        seconds = await ask_all(port, tokens)
        told(f"resident memory of the server, {len(tokens)} clinics asked", f"{memory_of(pid):.0f} MB")
        told(f"requests a second, each of the {len(tokens)} clinics for the first time", f"{len(tokens) / seconds:.0f}")
        told("and for the second time", f"{len(tokens) / await ask_all(port, tokens):.0f}")
        told("connections of the server process to the database", str(await connections(client, "polyclinic")))


def server_at(port: int) -> int:
    """The process id of the server that was started for the port."""
    processes = (one for one in Path("/proc").iterdir() if one.name.isdigit())
    return next(
        int(one.name) for one in processes if f"PORT={port}\0" in environment(one) and "scripts.serve" in command(one)
    )


def environment(process: Path) -> str:
    try:
        return (process / "environ").read_text()
    except OSError:
        return ""


def command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


def use(step: Migration) -> None:
    """Adds a step to those of this version."""
    setattr(running, "MIGRATIONS", (*MIGRATIONS, step))  # noqa: B010 - a module's constant is replaced on purpose


async def migrations(client: Client, settings: Settings) -> None:
    async def run(site: Site) -> int:
        done = await site.database["patients"].update_many({"bench": {"$exists": False}}, {"$set": {"bench": 1}})
        return done.modified_count

    async def timed(label: str) -> None:
        began = time.perf_counter()
        reports = await running.migrate(client, settings, parallel=PARALLEL)
        assert not running.failed_of(reports)
        told(f"migrating {len(reports)} databases, {label}", f"{time.perf_counter() - began:.1f} s")

    await timed("nothing to do")
    use(Migration(9001, "bench", run, run))
    await timed("one step")
    use(Migration(9002, "bench_too", run, run))
    for place in await running.all_places(client, settings):
        site = await place.site()
        await site.database["rooms"].drop_indexes()
        await site.database[STATE].update_one({"_id": "schema"}, {"$set": {"fingerprint": "former"}})
    await timed("one step and the indexes of a collection")


async def measure(settings: Settings, folder: Path, many: int) -> None:
    use_audit_keys(settings)
    async with Client(settings.mongodb_uri, tz_aware=True) as client:
        shared = client[settings.mongodb_database]
        await apply_schema(shared)
        await init_documents(shared, ALL_DOCUMENTS)
        keys = use_tenant_keys(settings)
        await database_figures(client, folder, "no clinic")
        tokens = await open_clinics(settings, many)
        await drain()
        await database_figures(client, folder, f"{many} clinics")
        await serve_all(settings, client, tokens)
        await migrations(client, settings)
        await keys.close()


def main() -> None:
    many = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 300
    given: dict[str, Any] = {
        name: SecretStr(secrets.token_urlsafe(48)) for name in ("session_secret", "audit_secret", "encryption_key")
    }
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_FOLDER")) as name:
        folder = Path(name)
        with embedded_mongod(folder, cache_gb=1.0, keep=False) as uri:
            settings = Settings(environment="test", mongodb_uri=uri, root_domain="localhost", **given)
            asyncio.run(measure(settings, folder, many))


if __name__ == "__main__":
    main()
