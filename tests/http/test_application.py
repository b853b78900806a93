"""The whole application over HTTP: what hosts, headers and broken bodies get."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any

import httpx
import pytest

from app.logging import configure_logging
from models import Tenant
from tests.fixtures.clinics import Clinic, MakeClinic, Server

CLINIC = {"query": "{ clinic { subdomain name } }"}
JSON = {"Content-Type": "application/json", "X-Polyclinic-Client": "tests"}


async def post(server: Server, host: str, content: Any = None, **options: Any) -> httpx.Response:
    client = server.client(host).http
    if content is None:
        return await client.post("/graphql", json=CLINIC, **options)
    return await client.post("/graphql", content=content, headers=JSON, **options)


async def test_the_host_decides_the_clinic(server: Server, clinic_a: Clinic, clinic_b: Clinic) -> None:
    for clinic in (clinic_a, clinic_b):
        answer = await post(server, clinic.host)
        assert answer.json()["data"]["clinic"]["subdomain"] == clinic.tenant.subdomain


async def test_the_root_host_has_no_clinic(server: Server) -> None:
    assert (await post(server, "polyclinic.test")).json()["data"] == {"clinic": None}
    assert (await post(server, "www.polyclinic.test")).json()["data"] == {"clinic": None}


@pytest.mark.parametrize("spelling", ["{}", "{}.", "{}:8000"])
async def test_ports_dots_and_case_do_not_change_the_clinic(server: Server, clinic_a: Clinic, spelling: str) -> None:
    for host in (spelling.format(clinic_a.host), spelling.format(clinic_a.host.upper())):
        answer = await server.client().http.post("/graphql", json=CLINIC, headers={"Host": host})
        assert answer.json()["data"]["clinic"]["subdomain"] == clinic_a.tenant.subdomain


@pytest.mark.parametrize("host", ["a@evil.example", "x y.polyclinic.test", "..polyclinic.test", "-.test:99999", ""])
async def test_a_malformed_host_is_400(server: Server, host: str) -> None:
    answer = await server.client().http.post("/graphql", json=CLINIC, headers={"Host": host})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["extensions"]["code"] == "VALIDATION_FAILED"


async def test_unknown_inactive_suspended_and_nested_clinics_look_the_same(
    server: Server, make_clinic: MakeClinic, clinic_a: Clinic
) -> None:
    hosts = ["nobody-has-this.polyclinic.test", f"deep.{clinic_a.host}", "elsewhere.example.org"]
    for status in ("inactive", "suspended"):
        clinic = await make_clinic()
        await Tenant.find_one({"_id": clinic.tenant.id}).update({"$set": {"status": status}})
        hosts.append(clinic.host)
    await asyncio.sleep(0.2)

    bodies = set()
    for host in hosts:
        answer = await post(server, host)
        assert answer.status_code == 404
        error = answer.json()["errors"][0]
        assert error["extensions"].pop("requestId")
        bodies.add(str(error))
        page = await server.client(host).http.get("/", headers={"Accept": "text/html"})
        assert (page.status_code, "Clinic not found" in page.text) == (404, True)

    assert len(bodies) == 1
    assert "TENANT_NOT_FOUND" in bodies.pop()


@pytest.mark.parametrize(
    "name", ["x-tenant-id", "x-clinic-id", "x-tenant-slug", "x-forwarded-host", "forwarded", "x-host", "X-Tenant-ID"]
)
async def test_no_header_can_name_another_clinic(server: Server, clinic_a: Clinic, clinic_b: Clinic, name: str) -> None:
    for value in (str(clinic_b.tenant.id), clinic_b.tenant.subdomain, clinic_b.host, f"host={clinic_b.host}"):
        answer = await post(server, clinic_a.host, headers={name: value})
        assert answer.json()["data"]["clinic"]["subdomain"] == clinic_a.tenant.subdomain


async def test_a_trusted_proxy_names_the_host(server: Server, clinic_a: Clinic, clinic_b: Clinic) -> None:
    behind = server.variant(trusted_proxies="127.0.0.0/8")

    answer = await post(behind, clinic_a.host, headers={"X-Forwarded-Host": clinic_b.host})

    assert answer.json()["data"]["clinic"]["subdomain"] == clinic_b.tenant.subdomain


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="broken"),
        pytest.param(b'"a string"', id="a string"),
        pytest.param(b"[1]", id="an array"),
        pytest.param(b'{"query": "\xff\xfe"}', id="bad UTF-8"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, id="100,000 levels"),
        pytest.param(b'{"query":' * 100_000 + b"1" + b"}" * 100_000, id="100,000 objects"),
        pytest.param(b'{"query": 5}', id="query a number"),
        pytest.param(b'{"query": ""}', id="query empty"),
        pytest.param(b'{"variables": {}}', id="no query"),
        pytest.param(b'{"query": "{ viewer { id } }", "variables": [1]}', id="variables a list"),
        pytest.param(b'{"query": "{ viewer { id } }", "operationName": 1}', id="name a number"),
        pytest.param(b'{"query": "{ viewer { id } }", "operationName": "Other"}', id="name of none"),
        pytest.param(b'{"query": "{ viewer { id "}', id="syntax"),
        pytest.param(b'{"query": "{ vieweer { id } }"}', id="unknown field"),
        pytest.param(b'{"query": "{ __schema { types { name } } }"}', id="introspection"),
    ],
)
async def test_a_bad_body_is_400_with_a_code_and_nothing_else(server: Server, clinic_a: Clinic, body: bytes) -> None:
    answer = await post(server, clinic_a.host, body)

    assert answer.status_code == 400
    assert "data" not in answer.json()
    for error in answer.json()["errors"]:
        assert error["extensions"]["code"] == "VALIDATION_FAILED"
        assert error["extensions"]["requestId"] == answer.headers["x-request-id"]
        assert "Did you mean" not in error["message"]


async def test_a_body_over_the_limit_is_413(server: Server, clinic_a: Clinic) -> None:
    async def endless() -> Any:
        for _ in range(64):
            yield b" " * 65_536

    declared = await post(server, clinic_a.host, b" " * 2_000_000)
    streamed = await post(server, clinic_a.host, endless())

    assert declared.status_code == streamed.status_code == 413


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "text/plain, application/json"]
)
async def test_a_form_cannot_post(server: Server, clinic_a: Clinic, content_type: str) -> None:
    answer = await server.client(clinic_a.host).http.post(
        "/graphql", content=b"{}", headers={"Content-Type": content_type}
    )

    assert answer.status_code == 415


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://{b}", "null", "http://polyclinic.test", "https://{a}"]
)
async def test_a_cookie_from_another_origin_is_refused(
    server: Server, clinic_a: Clinic, clinic_b: Clinic, origin: str
) -> None:
    signed_in = await server.sign_in(clinic_a)
    headers = {
        "Origin": origin.format(a=clinic_a.host, b=clinic_b.host),
        "X-Polyclinic-Client": "x",
        "Cookie": f"session={signed_in.token}",
    }

    answer = await server.client(clinic_a.host).http.post("/graphql", json=CLINIC, headers=headers)

    assert answer.status_code == 403


async def test_every_answer_carries_the_security_headers(server: Server, clinic_a: Clinic) -> None:
    answers = [
        await post(server, clinic_a.host),
        await post(server, "nobody.polyclinic.test"),
        await post(server, clinic_a.host, b"{"),
        await server.client(clinic_a.host).http.get("/nowhere"),
        await server.client(clinic_a.host).http.get("/graphql"),
        await server.client().http.get("/healthz"),
    ]

    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-request-id"]


async def test_readiness_tells_database_and_schema(server: Server) -> None:
    answer = await server.client("any.host.at.all").http.get("/readyz")

    assert answer.json() == {"status": "ok", "checks": {"database": "ok", "schema": "ok", "migrations": "ok"}}


async def test_the_log_names_tenant_user_and_request_but_no_data(server: Server, clinic_a: Clinic) -> None:
    client = await server.sign_in(clinic_a)
    stream = BytesIO()
    configure_logging(server.settings, stream)
    answer = await client.gql(
        "mutation($input: CreatePatientInput!) { createPatient(input: $input) { id } }",
        input={"givenName": "Quetzal", "familyName": "Verysecret"},
    )

    configure_logging(server.settings)
    logged = stream.getvalue().decode()
    assert f'"tenant":"{clinic_a.tenant.subdomain}"' in logged
    assert '"user":"' in logged
    assert answer.response.headers["x-request-id"] in logged
    assert "Quetzal" not in logged
    assert "Verysecret" not in logged


async def test_in_production_the_query_page_is_off(server: Server, clinic_a: Clinic) -> None:
    assert (await server.client(clinic_a.host).http.get("/graphql", headers={"Accept": "text/html"})).status_code == 404


async def test_in_development_the_query_page_is_on(server: Server, clinic_a: Clinic) -> None:
    client = server.variant(graphql_ide=True, introspection=True).client(clinic_a.host).http

    page = await client.get("/graphql", headers={"Accept": "text/html"})
    home = await client.get("/")

    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert (home.status_code, home.headers["location"]) == (303, "/graphql")
