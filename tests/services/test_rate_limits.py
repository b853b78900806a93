"""Limits on tries: exact under concurrency, and over with their window."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress
from datetime import datetime, timedelta
from subprocess import PIPE
from uuid import uuid4

import pytest

from app.config import Settings
from app.errors import RateLimited
from app.services.rate_limits import Limit, Taken, give_back, network_of, refund, take
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from models import RateBucket, values
from models.values import now
from tests.fixtures.clinics import Clinic, Server


@pytest.fixture
def limit() -> Limit:
    return Limit(f"test-{uuid4().hex}", 5, timedelta(minutes=15), platform=True)


async def test_of_twenty_at_once_exactly_the_allowed_number_passes(server: Server, limit: Limit) -> None:
    results = await asyncio.gather(*(take(limit, "10.0.0.1") for _ in range(20)), return_exceptions=True)

    assert sum(isinstance(result, Taken) for result in results) == 5
    refused = [result for result in results if isinstance(result, RateLimited)]
    assert len(refused) == 15
    assert all(0 < one.retry_after <= 900 for one in refused)


async def test_other_keys_are_counted_apart(server: Server, limit: Limit) -> None:
    for _ in range(5):
        await take(limit, "10.0.0.1")

    await take(limit, "10.0.0.2")


async def test_a_window_that_has_run_out_starts_anew(server: Server, limit: Limit) -> None:
    for _ in range(5):
        await take(limit, "10.0.0.1")
    await RateBucket.guarded().update_one(
        {"_id": f"{limit.name}:platform:10.0.0.1"}, {"$set": {"expires_at": now() - timedelta(seconds=1)}}
    )

    await take(limit, "10.0.0.1")


async def test_tries_can_be_given_back(server: Server, limit: Limit) -> None:
    for _ in range(5):
        await take(limit, "10.0.0.1")
    await give_back(limit, "10.0.0.1")

    await take(limit, "10.0.0.1")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_address_counts_as_its_network(address: str, network: str) -> None:
    assert network_of(address) == network


async def test_a_clinics_limit_counts_each_clinic_apart(server: Server, clinic_a: Clinic, clinic_b: Clinic) -> None:
    limit = Limit(f"test-{uuid4().hex}", 1, timedelta(minutes=1))
    for clinic in (clinic_a, clinic_b):
        async with tenant_scope(clinic.ref):
            await take(limit, "same key")
    async with tenant_scope(clinic_a.ref):
        with pytest.raises(RateLimited):
            await take(limit, "same key")
    with open_scope(Scope(request_id="none")), pytest.raises(Exception, match="clinic"):
        await take(limit, "same key")


async def test_a_try_of_an_earlier_window_is_not_taken_off_the_present_one(server: Server, limit: Limit) -> None:
    early = await take(limit, "10.0.0.1")
    await RateBucket.guarded().update_one(
        {"_id": f"{limit.name}:platform:10.0.0.1"}, {"$set": {"expires_at": now() - timedelta(seconds=1)}}
    )
    late = [await take(limit, "10.0.0.1") for _ in range(limit.tries)]
    await refund(limit, "10.0.0.1", early)
    with pytest.raises(RateLimited):
        await take(limit, "10.0.0.1")

    await refund(limit, "10.0.0.1", late[0])
    await take(limit, "10.0.0.1")
    with pytest.raises(RateLimited):
        await take(limit, "10.0.0.1")


async def test_refused_tries_neither_count_nor_keep_the_window_open(server: Server, limit: Limit) -> None:
    opened = await take(limit, "10.0.0.1")
    for _ in range(20):
        with suppress(RateLimited):
            await take(limit, "10.0.0.1")

    row = await RateBucket.get_pymongo_collection().find_one({"_id": f"{limit.name}:platform:10.0.0.1"})
    assert (row["tries"], row["expires_at"]) == (limit.tries, opened.expires_at)


@pytest.mark.parametrize("hours", [-24, 24])
async def test_a_process_with_a_wrong_clock_gets_no_more_tries(
    server: Server, limit: Limit, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Neither does it keep the others waiting: windows open and close by the database's clock alone."""
    for _ in range(limit.tries):
        await take(limit, "10.0.0.1")
    real = values.now

    def wrong() -> datetime:
        return real() + timedelta(hours=hours)

    monkeypatch.setattr(values, "now", wrong)
    monkeypatch.setattr("time.time", lambda: real().timestamp() + hours * 3600)
    with pytest.raises(RateLimited) as refused:
        await take(limit, "10.0.0.1")

    assert 0 < refused.value.retry_after <= 900


CLIENTS, PROCESSES = 20, 4
RUN = """
import asyncio, sys
from pymongo import AsyncMongoClient
from datetime import timedelta
from app.db.documents import init_documents
from app.errors import RateLimited
from app.services.rate_limits import Limit, take
from app.tenancy.scope import Scope, open_scope
from models import RateBucket

async def main(uri, database, name, clients):
    passed = 0
    async with AsyncMongoClient(uri, tz_aware=True) as client:
        await init_documents(client[database], [RateBucket])
        print("ready", flush=True)
        sys.stdin.readline()
        async def one():
            nonlocal passed
            for _ in range(25):
                try:
                    await take(Limit(name, 100, timedelta(minutes=15), platform=True), "all")
                    passed += 1
                except RateLimited:
                    pass
        with open_scope(Scope(request_id="test")):
            await asyncio.gather(*(one() for _ in range(clients)))
    print(passed, flush=True)

asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
"""


def test_twenty_clients_of_four_processes_get_exactly_what_is_allowed_and_a_restart_keeps_it(
    server: Server, settings: Settings
) -> None:
    """500 tries at once: 100 pass. Fresh processes afterwards get none."""
    name = f"test-{uuid4().hex}"
    command = [sys.executable, "-c", RUN, settings.mongodb_uri, settings.mongodb_database, name]

    def run() -> int:
        started = [
            subprocess.Popen([*command, str(CLIENTS // PROCESSES)], stdin=PIPE, stdout=PIPE, text=True)
            for _ in range(PROCESSES)
        ]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        return sum(int(process.communicate("go\n", timeout=60)[0]) for process in started)

    assert run() == 100
    assert run() == 0
