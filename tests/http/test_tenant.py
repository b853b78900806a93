"""Which clinic a request reaches, over HTTP."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.http.support import (
    PROXIED,
    EdgeSettings,
    FakeDirectory,
    browse,
    code_of,
    edge_app,
    handshake,
    served,
    shake_hands,
    talk,
)


async def test_a_clinics_host_puts_the_clinic_and_its_database_into_scope() -> None:
    async with browse(edge_app()) as client:
        seen = (await client.get("/where")).json()

    assert (seen["tenant"], seen["database"]) == ("alpha", "database of alpha")


@pytest.mark.parametrize("host", ["localhost:8000", "polyclinic.test", "www.polyclinic.test", "127.0.0.1"])
async def test_the_root_host_works_without_a_clinic(host: str) -> None:
    directory = FakeDirectory()
    async with browse(edge_app(directory=directory), host) as client:
        seen = (await client.get("/where")).json()

    assert (seen["tenant"], seen["database"]) == (None, None)
    assert directory.asked == []


@pytest.mark.parametrize(
    "host",
    ["nobody.localhost", "gamma.localhost", "evil.example.org", "b.alpha.localhost", "a---b.preview.test"],
)
async def test_unknown_suspended_and_foreign_hosts_get_one_answer(host: str) -> None:
    async with browse(edge_app(), host) as client:
        answer = await client.post("/graphql", json={})

    assert answer.status_code == 404
    (error,) = answer.json()["errors"]
    assert error == {
        "message": "Clinic not found.",
        "extensions": {"code": "TENANT_NOT_FOUND", "requestId": answer.headers["x-request-id"], "fields": []},
    }


async def test_unknown_and_suspended_differ_in_no_byte_but_the_request_id() -> None:
    pages = []
    for host in ("nobody.localhost", "gamma.localhost"):
        async with browse(edge_app(), host) as client:
            answer = await client.get("/", headers={"accept": "text/html"})
            request_id = answer.headers.pop("x-request-id")
            pages.append((answer.text.replace(request_id, ""), sorted(answer.headers.items())))

    assert pages[0] == pages[1]


async def test_a_browser_gets_a_page_that_needs_nothing_else() -> None:
    async with browse(edge_app(), "nobody.localhost") as client:
        answer = await client.get("/", headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})

    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "Clinic not found" in answer.text
    assert "nobody" not in answer.text
    assert "style-src 'sha256-" in answer.headers["content-security-policy"]


async def test_rest_callers_get_their_own_error_shape() -> None:
    async with browse(edge_app(), "nobody.localhost") as client:
        answer = await client.post("/api/tenants/onboard", json={})

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "TENANT_NOT_FOUND"


@pytest.mark.parametrize("host", ["a@evil.com", "a..localhost", "alpha.localhost:99999", "alpha.localhost,b", ""])
async def test_a_malformed_host_is_a_bad_request(host: str) -> None:
    async with browse(edge_app()) as client:
        answer = await client.get("/where", headers={"host": host})

    assert (answer.status_code, code_of(answer)) == (400, "VALIDATION_FAILED")


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_two_host_headers_are_a_bad_request_on_the_wire(http: str) -> None:
    with served(edge_app(), http) as port:
        answer = talk(
            port,
            b"GET /where HTTP/1.1\r\nHost: alpha.localhost\r\nHost: beta.localhost\r\n",
            b"Connection: close\r\n\r\n",
        )

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'"tenant"' not in answer


def test_a_request_without_a_host_is_a_bad_request_on_the_wire() -> None:
    with served(edge_app()) as port:
        answer = talk(port, b"GET /where HTTP/1.0\r\n\r\n")

    assert b" 400 " in answer.partition(b"\r\n")[0]


@pytest.mark.parametrize(
    "name",
    [
        "x-tenant-id",
        "X-Tenant-Slug",
        "x-clinic-id",
        "X-TENANT",
        "x_tenant_id",
        "x-forwarded-host",
        "x-original-host",
    ],
)
async def test_headers_that_claim_a_clinic_change_nothing_and_reach_nobody(name: str) -> None:
    async with browse(edge_app()) as client:
        seen = (await client.get("/where", headers={name: "beta.localhost"})).json()

    assert seen["tenant"] == "alpha"
    assert name.lower() not in seen["headers"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.1.2.3", ["beta.localhost"], "beta"),
        ("10.1.2.3", ["beta.localhost, alpha.localhost"], "alpha"),
        ("10.1.2.3", ["beta.localhost", "beta.localhost"], "alpha"),
        ("192.0.2.7", ["beta.localhost"], "alpha"),
    ],
)
async def test_a_forwarded_host_counts_only_from_a_trusted_proxy(
    peer: str, forwarded: list[str], expected: str
) -> None:
    headers = [("x-forwarded-host", value) for value in forwarded]
    async with browse(edge_app(settings=PROXIED), peer=peer) as client:
        seen = (await client.get("/where", headers=headers)).json()

    assert seen["tenant"] == expected


async def test_a_malformed_forwarded_host_is_refused() -> None:
    async with browse(edge_app(settings=PROXIED), peer="10.1.2.3") as client:
        answer = await client.get("/where", headers={"x-forwarded-host": "a@evil"})

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("peer", "chain", "expected"),
    [
        ("192.0.2.7", "203.0.113.9", "192.0.2.7"),
        ("10.1.2.3", "203.0.113.9", "203.0.113.9"),
        ("10.1.2.3", "1.1.1.1, 203.0.113.9, 10.9.9.9", "203.0.113.9"),
        ("10.1.2.3", "203.0.113.9:4711", "203.0.113.9"),
        ("10.1.2.3", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.1.2.3", "1.1.1.1, nonsense", "10.1.2.3"),
        ("10.1.2.3", "", "10.1.2.3"),
        ("::ffff:10.1.2.3", "203.0.113.9", "203.0.113.9"),
    ],
)
async def test_the_clients_address_is_the_nearest_that_is_not_our_proxy(peer: str, chain: str, expected: str) -> None:
    async with browse(edge_app(settings=PROXIED), peer=peer) as client:
        seen = (await client.get("/where", headers={"x-forwarded-for": chain})).json()

    assert seen["address"] == expected


@pytest.mark.parametrize("host", ["nobody.localhost", "192.0.2.1:9000", "a@evil"])
async def test_probes_are_answered_on_every_host(host: str) -> None:
    async with browse(edge_app()) as client:
        answer = await client.get("/healthz", headers={"host": host})

    assert answer.status_code == 200
    assert answer.json()["tenant"] is None


async def test_a_default_tenant_counts_in_single_clinic_mode_alone() -> None:
    lone = EdgeSettings(default_tenant="beta")
    for settings, expected in ((lone, None), (replace(lone, single_clinic=True), "beta")):
        async with browse(edge_app(settings=settings), "localhost") as client:
            assert (await client.get("/where")).json()["tenant"] == expected


async def test_in_production_local_names_reach_no_clinic() -> None:
    async with browse(edge_app(settings=EdgeSettings(is_production=True))) as client:
        assert (await client.get("/where")).status_code == 404


async def test_a_websocket_to_an_unknown_clinic_is_denied_before_it_opens() -> None:
    sent = await shake_hands(edge_app(), handshake({"host": "nobody.localhost"}))

    assert sent[0]["type"] == "websocket.http.response.start"
    assert sent[0]["status"] == 404
