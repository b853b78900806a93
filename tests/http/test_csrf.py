"""What another site can make a signed-in browser send is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from starlette.websockets import WebSocket

from app.http.registry import RouteKind, RouteSpec
from tests.http.support import (
    JSON,
    PROXIED,
    SESSION_COOKIE,
    EdgeSettings,
    browse,
    code_of,
    echo,
    edge_app,
    handshake,
    shake_hands,
)

COOKIE = {"cookie": f"{SESSION_COOKIE}=abc"}
OWN = {"origin": "http://alpha.localhost:8000"}
CLIENT = {"x-polyclinic-client": "cli"}
BEARER = {"authorization": "Bearer abc"}


async def post(headers: dict[str, str], path: str = "/graphql", *, settings: EdgeSettings | None = None) -> int:
    upload = RouteSpec("/api/documents", {"POST"}, RouteKind.STAFF, echo, "documents", uploads=True)
    async with browse(edge_app(upload, settings=settings)) as client:
        return (await client.post(path, content=b"{}", headers=headers)).status_code


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
    ],
)
async def test_json_from_the_own_origin_passes(content_type: str) -> None:
    assert await post({**COOKIE, **OWN, "content-type": content_type}) == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/plain, application/json",
        "text/plain; application/json",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        "application/json; boundary=x",
        "application/json;",
        "application/jsonx",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ],
)
@pytest.mark.parametrize("who", [COOKIE, {}, BEARER], ids=["cookie", "nobody", "bearer"])
async def test_every_other_content_type_is_refused_even_without_a_session(
    content_type: str, who: dict[str, str]
) -> None:
    assert await post({**who, **OWN, "content-type": content_type}) == 415


@pytest.mark.parametrize(
    "origin",
    [
        "http://beta.localhost:8000",
        "http://localhost:8000",
        "http://alpha.localhost",
        "http://alpha.localhost:8001",
        "https://alpha.localhost:8000",
        "http://alpha.localhost:8000.evil.com",
        "http://alpha.localhost:8000/",
        "http://x@alpha.localhost:8000",
        "http://b.alpha.localhost:8000",
        "ftp://alpha.localhost:8000",
        "alpha.localhost:8000",
        "null",
        "",
    ],
)
async def test_a_siblings_or_strangers_origin_is_refused_with_a_session_cookie(origin: str) -> None:
    assert await post({**COOKIE, **JSON, **CLIENT, "origin": origin}) == 403


async def test_two_origins_are_refused() -> None:
    headers = [*COOKIE.items(), *JSON.items(), *OWN.items(), *OWN.items()]
    async with browse(edge_app()) as client:
        answer = await client.post("/graphql", content=b"{}", headers=headers)

    assert (answer.status_code, code_of(answer)) == (403, "FORBIDDEN")


async def test_no_origin_needs_the_client_header() -> None:
    assert await post({**COOKIE, **JSON}) == 403
    assert await post({**COOKIE, **JSON, "x-polyclinic-client": " "}) == 403
    assert await post({**COOKIE, **JSON, **CLIENT}) == 200


async def test_the_cookie_is_found_among_others_and_in_a_second_header() -> None:
    hidden = [("cookie", "a=1; b=2"), ("cookie", f"c=3;{SESSION_COOKIE}=abc"), *JSON.items()]
    async with browse(edge_app()) as client:
        answer = await client.post("/graphql", content=b"{}", headers=hidden)

    assert answer.status_code == 403


async def test_api_clients_without_a_cookie_need_no_origin() -> None:
    assert await post({**JSON}) == 200
    assert await post({**JSON, **BEARER}) == 200
    assert await post({**JSON, "cookie": "theme=dark"}) == 200


async def test_cookie_and_bearer_together_are_refused_whatever_the_method() -> None:
    assert await post({**COOKIE, **JSON, **OWN, **BEARER}) == 400
    async with browse(edge_app()) as client:
        answer = await client.get("/where", headers={**COOKIE, **BEARER})

    assert (answer.status_code, code_of(answer)) == (400, "VALIDATION_FAILED")


async def test_reading_needs_nothing() -> None:
    async with browse(edge_app()) as client:
        answer = await client.get("/where", headers={**COOKIE, "origin": "http://evil.example"})

    assert answer.status_code == 200


async def test_routes_without_cookie_sign_in_are_exempt() -> None:
    headers = {**COOKIE, "origin": "https://elsewhere.example", "content-type": "text/plain"}

    assert await post(headers, "/api/tenants/onboard") == 200


async def test_uploads_take_multipart_from_the_own_origin_alone() -> None:
    multipart = {**COOKIE, "content-type": "multipart/form-data; boundary=abc"}

    assert await post({**multipart, **OWN}, "/api/documents") == 200
    assert await post({**multipart, "origin": "http://beta.localhost:8000"}, "/api/documents") == 403


async def test_preflights_of_strangers_get_no_permission() -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    async with browse(edge_app()) as client:
        answer = await client.options("/graphql", headers=asked)

    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(
    ("origin", "status"), [("https://alpha.polyclinic.test", 200), ("http://alpha.polyclinic.test", 403)]
)
async def test_in_production_the_own_origin_is_https_wherever_tls_ends(origin: str, status: int) -> None:
    app = edge_app(settings=EdgeSettings(is_production=True))
    async with browse(app, "alpha.polyclinic.test") as client:
        answer = await client.post("/graphql", content=b"{}", headers={**COOKIE, **JSON, "origin": origin})

    assert answer.status_code == status


async def test_behind_our_proxy_the_origin_is_the_one_that_the_proxy_saw() -> None:
    forwarded = {"x-forwarded-proto": "https", "x-forwarded-host": "beta.polyclinic.test"}
    headers = {**COOKIE, **JSON, **forwarded, "origin": "https://beta.polyclinic.test:443"}

    assert await post(headers, settings=PROXIED) == 200
    assert await post(headers, settings=replace(PROXIED, trusted_proxies=())) == 403


async def hello(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.close()


@pytest.mark.parametrize(
    ("headers", "opens"),
    [
        ({**COOKIE, **OWN}, True),
        ({**COOKIE, "origin": "http://beta.localhost:8000"}, False),
        (COOKIE, False),
        ({"origin": "http://evil.example"}, True),
    ],
)
async def test_a_foreign_page_cannot_open_a_websocket_with_the_session(headers: dict[str, str], opens: bool) -> None:
    app = edge_app(RouteSpec("/live", {"WEBSOCKET"}, RouteKind.STAFF, hello, "live"))
    first, *_ = await shake_hands(app, handshake(headers))

    assert (first["type"] == "websocket.accept") is opens
    assert opens or first["status"] == 403
