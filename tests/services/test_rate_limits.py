"""Limits on tries: exact under concurrency, and over with their window."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from app.errors import RateLimited
from app.services.rate_limits import Limit, give_back, network_of, take
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Scope, open_scope
from models import RateBucket
from models.values import now
from tests.fixtures.clinics import Clinic, Server


@pytest.fixture
def limit() -> Limit:
    return Limit(f"test-{uuid4().hex}", 5, timedelta(minutes=15), platform=True)


async def test_of_twenty_at_once_exactly_the_allowed_number_passes(server: Server, limit: Limit) -> None:
    results = await asyncio.gather(*(take(limit, "10.0.0.1") for _ in range(20)), return_exceptions=True)

    assert sum(result is None for result in results) == 5
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
