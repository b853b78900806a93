"""A server that is told to end finishes what it has begun, takes nothing new, and leaves the audit whole."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from app.config import Settings
from app.db.mongod import free_port
from app.tenancy.crossing import tenant_scope
from models import AuditAnchor, AuditEntry
from tests.fixtures.clinics import Clinic, Server
from tests.fixtures.people import SignedIn
from tests.processes import is_gone
from tests.server_process import started, wait_for
from tests.standin_slow import BEGUN

SLOW = "tests.standin_slow:create_app"
CREATE = 'mutation { createPatient(input: {givenName: "Ana", familyName: "Late", phone: "+12125550123"}) { id } }'
ENDED = {0, -signal.SIGTERM}


async def soon(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)


def refuses(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def ask(port: int, clinic: Clinic, token: str) -> httpx.Response:
    headers = {"Host": clinic.host, "Authorization": f"Bearer {token}", "X-Polyclinic-Client": "tests"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30) as http:
        return await http.post("/graphql", json={"query": CREATE})


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_what_is_under_way_is_answered_and_told_and_nothing_new_is_taken(
    server: Server, settings: Settings, clinic_a: Clinic, signed_in: SignedIn, workers: str
) -> None:
    token = (await signed_in(clinic_a)).token or ""
    port = free_port()
    more = {"WORKERS": workers}
    with started(settings, port, more, application=SLOW, stdout=subprocess.PIPE) as process:
        await asyncio.to_thread(wait_for, f"http://127.0.0.1:{port}", process)
        asking = asyncio.create_task(ask(port, clinic_a, token))
        assert process.stdout is not None
        while await asyncio.to_thread(process.stdout.readline) != BEGUN:
            assert process.poll() is None

        process.terminate()
        await soon(lambda: refuses(port))
        assert not asking.done(), "new ones are refused while the request goes on"
        answer = await asking
        code = await asyncio.to_thread(process.wait, 20)

    assert (answer.status_code, code in ENDED) == (200, True), answer.text
    assert answer.json()["data"]["createPatient"]["id"]
    async with tenant_scope(clinic_a.ref):
        last = await AuditEntry.guarded().find_one({}, sort=[("seq", -1)])
        anchor = await AuditAnchor.guarded().find_one({"clinic_id": clinic_a.ref.id})
    assert last is not None
    assert anchor is not None
    assert (last["action"], anchor["seq"]) == ("createPatient", last["seq"])


async def test_workers_end_with_the_process_that_watches_over_them(settings: Settings) -> None:
    port = free_port()
    with started(settings, port, {"WORKERS": "2"}) as process:
        await asyncio.to_thread(wait_for, f"http://127.0.0.1:{port}", process)
        workers = children_of(process.pid)
        os.kill(process.pid, signal.SIGKILL)
        assert len(workers) >= 2
        for pid in workers:
            assert await asyncio.to_thread(is_gone, pid)


async def test_an_application_that_no_worker_can_start_is_a_failure(settings: Settings) -> None:
    missing = "tests.standin_slow:nothing_here"
    with started(settings, free_port(), {"WORKERS": "2"}, application=missing) as process:
        assert await asyncio.to_thread(process.wait, 30) == 1
