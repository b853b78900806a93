"""`/metrics`: what is counted, for whom, and that nothing of a client's own stands in it."""

from __future__ import annotations

import re
import time

import httpx
import pytest
from pydantic import SecretStr

from app.config import Settings
from app.jobs.parts import MAX_TRIES
from app.jobs.runs import Order, run_job
from app.metrics import BOUNDS
from app.services.jobs import Counts, job
from app.tenancy.scope import Scope, current_scope, open_scope
from tests.fixtures.clinics import Clinic, Server
from tests.fixtures.jobs import fresh
from tests.server_process import server_process

SECRET = "q3Zr8vXw1LkPz6TnYb5Hd0Js2Fg7Ma9Ce4UiRoNtVhBx"


@pytest.fixture
def open_server(server: Server) -> Server:
    """A server with a metrics secret."""
    return server.variant(metrics_secret=SecretStr(SECRET))


async def scraped(server: Server, secret: str = SECRET) -> httpx.Response:
    return await server.client().http.get("/metrics", headers={"Authorization": f"Bearer {secret}"})


def value(text: str, name: str, **labels: str) -> float:
    """The value of one series; 0 where it is not there."""
    wanted = "".join(f'(?=[^}}]*{label}="{re.escape(value)}")' for label, value in labels.items())
    found = re.search(rf"^{name}{{{wanted}[^}}]*}} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def test_without_a_secret_there_is_nothing(server: Server) -> None:
    assert (await scraped(server)).status_code == 404


@pytest.mark.parametrize("secret", ["", "wrong", SECRET[:-1], SECRET + "x"])
async def test_another_secret_is_refused_and_shows_nothing(open_server: Server, secret: str) -> None:
    answer = await scraped(open_server, secret)

    assert answer.status_code == 401
    assert "polyclinic_" not in answer.text


async def test_guessing_is_limited(open_server: Server) -> None:
    http = open_server.client(address="127.9.9.9").http

    answers = [(await http.get("/metrics", headers={"Authorization": "Bearer no"})).status_code for _ in range(31)]

    assert answers == [*[401] * 30, 429]


async def test_requests_are_counted_by_route_clinic_and_outcome(open_server: Server, clinic_a: Clinic) -> None:
    before = (await scraped(open_server)).text
    client = open_server.client(clinic_a.host)

    await client.gql("{ clinic { name } }")
    await client.gql("{ patients { totalCount } }")

    after = (await scraped(open_server)).text
    subdomain = clinic_a.tenant.subdomain
    for name, labels in (
        ("polyclinic_http_requests_total", {"route": "/graphql", "method": "POST", "status": "200"}),
        ("polyclinic_http_requests_total", {"route": "/graphql", "method": "POST", "status": "401"}),
        ("polyclinic_tenant_requests_total", {"tenant": subdomain, "outcome": "ok"}),
        ("polyclinic_tenant_requests_total", {"tenant": subdomain, "outcome": "refused"}),
        ("polyclinic_graphql_fields_total", {"completed": "compiled"}),
    ):
        assert value(after, name, **labels) == value(before, name, **labels) + 1, (name, labels)
    times = "polyclinic_http_request_seconds_count"
    assert value(after, times, route="/graphql") == value(before, times, route="/graphql") + 2
    assert value(after, "polyclinic_http_request_seconds_bucket", route="/graphql", le=str(float(BOUNDS[-1]))) > 0


async def test_what_graphql_core_completed_is_told_with_its_reason(open_server: Server, clinic_a: Clinic) -> None:
    query = open_server.variant(metrics_secret=SecretStr(SECRET), introspection=True)
    name, why = "polyclinic_graphql_fields_total", "reference: a root field that must not be null"
    before = value((await scraped(query)).text, name, completed=why)

    await query.client(clinic_a.host).gql("{ __schema { queryType { name } } }")

    assert value((await scraped(query)).text, name, completed=why) == before + 1


async def test_jobs_are_told_by_how_they_went_wherever_they_ran(
    open_server: Server, jobs: object, clinic_a: Clinic, clinic_b: Clinic
) -> None:
    name, broken = fresh(), True

    @job(name, "Fails at one clinic for a while.")
    async def work(_: Settings) -> Counts:
        tenant = current_scope().tenant
        assert tenant is not None
        if broken and tenant.id == clinic_a.tenant.id:
            raise RuntimeError
        return {}

    def told(text: str) -> dict[str, float]:
        names = ("last_run_timestamp_seconds", "last_success_timestamp_seconds", "failing_clinics", "dead_letters")
        return {one: value(text, f"polyclinic_job_{one}", job=name) for one in names}

    order = Order([clinic_a.tenant.key, clinic_b.tenant.key])
    with open_scope(Scope(request_id="test")):
        await run_job(name, open_server.settings, order)
        first = told((await scraped(open_server)).text)
        for _ in range(MAX_TRIES - 1):
            await run_job(name, open_server.settings, order)
        last = told((await scraped(open_server)).text)
        broken = False
        await run_job(name, open_server.settings, order)
        well = told((await scraped(open_server)).text)

    assert (first["last_success_timestamp_seconds"], first["failing_clinics"], first["dead_letters"]) == (0, 1, 0)
    assert (last["failing_clinics"], last["dead_letters"]) == (1, 1)
    assert (well["failing_clinics"], well["dead_letters"]) == (0, 0)
    assert well["last_success_timestamp_seconds"] == well["last_run_timestamp_seconds"] > time.time() - 60


async def test_nothing_that_a_client_makes_up_stands_in_the_counts(open_server: Server, clinic_a: Clinic) -> None:
    http = open_server.client(clinic_a.host).http
    await http.get("/made/up/path", headers={"X-Request-Id": "made-up-id", "User-Agent": "made-up-agent"})
    await http.request("MADEUP", "/graphql")
    await open_server.client("made-up.polyclinic.test").http.get("/graphql")
    await open_server.client(clinic_a.host).gql("query MadeUp($madeUp: String) { madeUp: clinic { name } }")

    text = (await scraped(open_server)).text

    assert "polyclinic_http_requests_total" in text
    assert "made" not in text.lower()


async def test_the_processes_of_a_server_count_together(server: Server, clinic_a: Clinic) -> None:
    settings = server.settings
    with server_process(settings, WORKERS="2", METRICS_SECRET=SECRET) as address:
        async with httpx.AsyncClient(base_url=address, headers={"Host": clinic_a.host}) as client:
            for _ in range(20):  # each connection may be another process's
                async with httpx.AsyncClient(base_url=address, headers={"Host": clinic_a.host}) as fresh:
                    await fresh.get("/healthz")
            seen = {
                value(
                    (await client.get("/metrics", headers={"Authorization": f"Bearer {SECRET}"})).text,
                    "polyclinic_http_requests_total",
                    route="/healthz",
                    method="GET",
                    status="200",
                )
                for _ in range(3)
            }

    assert len(seen) == 1
    assert seen.pop() >= 20
