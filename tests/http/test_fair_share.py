"""A clinic that floods a process does not hold up another one: told by the order of service, not by clocks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.graphql.execution.compiled import CompiledOperation
from app.tenancy.scope import current_scope
from tests.fixtures.clinics import Clinic, Server
from tests.fixtures.people import SignedIn

FLOOD = 300
ROOMS = "{ rooms { totalCount } }"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The clinics' subdomains in the order in which their operations begin."""
    order: list[str] = []
    run = CompiledOperation.run

    async def noting(self: CompiledOperation, *args: Any) -> Any:
        tenant = current_scope().tenant
        order.append(tenant.subdomain if tenant else "")
        await asyncio.sleep(0)
        return await run(self, *args)

    monkeypatch.setattr(CompiledOperation, "run", noting)
    return order


async def test_single_requests_are_served_ahead_of_another_clinics_backlog(
    server: Server, clinic_a: Clinic, clinic_b: Clinic, signed_in: SignedIn, served: list[str]
) -> None:
    busy = server.variant(graphql_concurrency=4, graphql_queue=FLOOD, time_limit_ms=60_000)
    flooding = busy.client(clinic_a.host, (await signed_in(clinic_a)).token)
    calm = busy.client(clinic_b.host, (await signed_in(clinic_b)).token)
    served.clear()
    flood = [asyncio.create_task(flooding.gql(ROOMS)) for _ in range(FLOOD)]
    ahead: list[int] = []
    while len(ahead) < 5 and not all(task.done() for task in flood):
        while len(served) < 10 * (len(ahead) + 1) and not all(task.done() for task in flood):
            await asyncio.sleep(0)
        asked = len(served)
        assert (await calm.gql(ROOMS)).status == 200
        ahead.append(served.index(clinic_b.tenant.subdomain, asked) - asked)
    answers = await asyncio.gather(*flood)

    assert {answer.status for answer in answers} == {200}
    assert len(served) == FLOOD + len(ahead)
    assert len(ahead) == 5
    left = [FLOOD - 10 * (n + 1) for n in range(5)]
    assert all(passed < waiting / 4 for passed, waiting in zip(ahead, left, strict=True)), (ahead, left)


async def test_a_clinics_queue_is_bounded_and_refuses_at_once(
    server: Server, clinic_a: Clinic, clinic_b: Clinic, signed_in: SignedIn, served: list[str]
) -> None:
    busy = server.variant(graphql_concurrency=1, graphql_queue=5, time_limit_ms=60_000)
    flooding = busy.client(clinic_a.host, (await signed_in(clinic_a)).token)
    calm = busy.client(clinic_b.host, (await signed_in(clinic_b)).token)
    served.clear()
    flood = [asyncio.create_task(flooding.gql(ROOMS)) for _ in range(100)]
    await asyncio.sleep(0)
    assert (await calm.gql(ROOMS)).status == 200
    answers = await asyncio.gather(*flood)

    refused = [answer for answer in answers if answer.status != 200]
    assert refused
    for answer in refused:
        assert (answer.status, answer.codes) == (429, ["RATE_LIMITED"])
        assert answer.response.headers["retry-after"] == "1"
        assert "data" not in answer.body
    assert served.count(clinic_a.tenant.subdomain) == 100 - len(refused)


async def test_whoever_hangs_up_leaves_the_queue(
    server: Server, clinic_a: Clinic, signed_in: SignedIn, served: list[str]
) -> None:
    busy = server.variant(graphql_concurrency=1, graphql_queue=50, time_limit_ms=60_000)
    client = busy.client(clinic_a.host, (await signed_in(clinic_a)).token)
    served.clear()
    flood = [asyncio.create_task(client.gql(ROOMS)) for _ in range(30)]
    while not served:
        await asyncio.sleep(0)
    for task in flood[10:]:
        task.cancel()
    answers = await asyncio.gather(*flood, return_exceptions=True)

    assert [type(answer).__name__ for answer in answers[10:]] == ["CancelledError"] * 20
    assert len(served) < 30
    assert (await client.gql(ROOMS)).status == 200
