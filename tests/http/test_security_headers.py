"""No answer leaves without its protection."""

from __future__ import annotations

import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from app.http.registry import RouteKind, RouteSpec
from tests.http.support import JSON, EdgeSettings, browse, edge_app, handshake, shake_hands

EXPECTED = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "strict-origin-when-cross-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}


async def page(request: Request) -> Response:
    return HTMLResponse("<p>hello</p>")


async def picture(request: Request) -> Response:
    return Response(b"", headers={"cache-control": "private, max-age=60", "x-frame-options": "ALLOWALL"})


async def fail(request: Request) -> Response:
    raise RuntimeError


EXTRA = (
    RouteSpec("/page", {"GET"}, RouteKind.BROWSER, page, "page"),
    RouteSpec("/picture", {"GET"}, RouteKind.BROWSER, picture, "picture"),
    RouteSpec("/fail", {"GET"}, RouteKind.BROWSER, fail, "fail"),
)


@pytest.mark.parametrize(
    ("method", "path", "host", "status"),
    [
        ("GET", "/where", "alpha.localhost", 200),
        ("GET", "/nowhere", "alpha.localhost", 404),
        ("GET", "/where", "nobody.localhost", 404),
        ("GET", "/where", "a@evil", 400),
        ("DELETE", "/where", "alpha.localhost", 405),
        ("POST", "/graphql", "alpha.localhost", 413),
        ("GET", "/fail", "alpha.localhost", 500),
    ],
)
async def test_data_errors_and_refusals_carry_every_header(method: str, path: str, host: str, status: int) -> None:
    content = b"x" * 5_000 if status == 413 else None
    async with browse(edge_app(*EXTRA)) as client:
        answer = await client.request(method, path, headers={**JSON, "host": host}, content=content)

    assert answer.status_code == status
    assert dict(answer.headers).items() >= EXPECTED.items()
    assert "strict-transport-security" not in answer.headers


async def test_hsts_is_for_production_where_hosts_have_certificates() -> None:
    app = edge_app(*EXTRA, settings=EdgeSettings(is_production=True))
    async with browse(app, "alpha.polyclinic.test") as client:
        answer = await client.get("/where")

    assert answer.headers["strict-transport-security"].startswith("max-age=63072000")


async def test_pages_may_load_their_own_files_but_no_inline_code() -> None:
    async with browse(edge_app(*EXTRA)) as client:
        policy = (await client.get("/page")).headers["content-security-policy"]

    assert policy.startswith("default-src 'self'")
    assert "unsafe" not in policy


async def test_a_handler_decides_about_its_cache_but_not_about_frames() -> None:
    async with browse(edge_app(*EXTRA)) as client:
        answer = await client.get("/picture")

    assert answer.headers["cache-control"] == "private, max-age=60"
    assert answer.headers["x-frame-options"] == "DENY"


async def test_a_denied_websocket_carries_them_too() -> None:
    first, *_ = await shake_hands(edge_app(*EXTRA), handshake({"host": "nobody.localhost"}))

    assert (b"x-frame-options", b"DENY") in first["headers"]
