"""One scope, one id, one log line and one boundary per request."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import structlog
from pymongo.errors import DuplicateKeyError, ExecutionTimeout, NetworkTimeout, ServerSelectionTimeoutError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.websockets import WebSocket

from app.errors import FieldError, RateLimited, SlotTaken, TenantWallBroken, ValidationFailed
from app.http.answers import json_response
from app.http.registry import RouteKind, RouteSpec
from app.http.state import request_state
from app.logging import configure_logging
from app.tenancy.scope import current_scope, open_scope
from tests.http.support import (
    PROXIED,
    EdgeSettings,
    browse,
    code_of,
    edge_app,
    handshake,
    served,
    shake_hands,
    talk,
)

CANARY = "Ada Lovelace 1815"


@pytest.fixture
def log() -> Iterator[io.BytesIO]:
    stream = io.BytesIO()
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    before = structlog.get_config()
    configure_logging(SimpleNamespace(log_level="info", environment="production"), stream)
    yield stream
    structlog.configure(**before)
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def requests_in(log: io.BytesIO) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [line for line in lines if line["event"] == "request"]


def failing(error: BaseException, kind: RouteKind = RouteKind.STAFF) -> RouteSpec:
    async def fail(request: Request) -> Response:
        patient = CANARY  # noqa: F841 - a local variable that no log may show
        raise error

    return RouteSpec("/fail", {"GET"}, kind, fail, "fail")


async def ask(error: BaseException) -> httpx.Response:
    async with browse(edge_app(failing(error))) as client:
        return await client.get("/fail")


async def test_every_answer_names_its_request_and_no_two_are_alike() -> None:
    async with browse(edge_app()) as client:
        first, second = await client.get("/where"), await client.get("/where")

    assert first.headers["x-request-id"] == first.json()["requestId"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]


@pytest.mark.parametrize(
    ("peer", "given", "believed"),
    [
        ("10.0.0.1", "abcdef-0123456789", True),
        ("10.0.0.1", "short", False),
        ("10.0.0.1", "x" * 65, False),
        ("10.0.0.1", "abcdefgh\tijkl", False),
        ("192.0.2.1", "abcdef-0123456789", False),
    ],
)
async def test_a_request_id_is_taken_over_from_our_proxy_alone(peer: str, given: str, believed: bool) -> None:
    async with browse(edge_app(settings=PROXIED), peer=peer) as client:
        answer = await client.get("/where", headers={"x-request-id": given})

    assert (answer.headers["x-request-id"] == given) is believed


async def test_an_expected_failure_keeps_its_code_status_and_fields() -> None:
    answer = await ask(ValidationFailed("No.", [FieldError("input.name", "is missing")]))

    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["extensions"]["fields"] == [{"path": "input.name", "message": "is missing"}]


async def test_failures_bring_the_headers_and_extensions_that_belong_to_them() -> None:
    limited, taken = await ask(RateLimited(60)), await ask(SlotTaken())

    assert (limited.status_code, limited.headers["retry-after"]) == (429, "60")
    assert limited.json()["errors"][0]["extensions"]["retryAfter"] == 60
    assert taken.json()["errors"][0]["extensions"]["alternatives"] == []


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(CANARY),
        DuplicateKeyError(f"dup key: {CANARY}"),
        TenantWallBroken("command find on patients"),
        BaseExceptionGroup("group", [TenantWallBroken("x"), ValueError(CANARY)]),
        RecursionError(),
    ],
)
async def test_the_unforeseen_is_internal_and_tells_nothing(error: BaseException, log: io.BytesIO) -> None:
    answer = await ask(error)

    assert (answer.status_code, code_of(answer)) == (500, "INTERNAL")
    assert answer.json()["errors"][0]["message"] == "Internal error."
    (line,) = requests_in(log)
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["error"] == type(error).__name__
    assert any("in failing.<locals>.fail" in frame for frame in line["stack"])
    assert CANARY not in answer.text + log.getvalue().decode()


@pytest.mark.parametrize(
    "error", [ServerSelectionTimeoutError(CANARY), NetworkTimeout(CANARY), ExecutionTimeout(CANARY)]
)
async def test_a_database_out_of_reach_is_unavailable_with_a_time_to_retry(error: Exception, log: io.BytesIO) -> None:
    answer = await ask(error)

    assert (answer.status_code, code_of(answer)) == (503, "UNAVAILABLE")
    assert int(answer.headers["retry-after"]) > 0
    assert CANARY not in answer.text + log.getvalue().decode()


@pytest.mark.parametrize("error", [asyncio.CancelledError(), BaseExceptionGroup("stop", [asyncio.CancelledError()])])
async def test_a_cancelled_request_stays_cancelled(error: BaseException, log: io.BytesIO) -> None:
    with pytest.raises((asyncio.CancelledError, BaseExceptionGroup)):
        await ask(error)

    assert [line["status"] for line in requests_in(log)] == [499]


async def test_the_line_says_who_where_and_how_long_as_known_at_the_end(log: io.BytesIO) -> None:
    async def signed_in(request: Request) -> Response:
        request_state(request.scope).user = "65f0"
        return json_response({"email": CANARY})

    spec = RouteSpec("/me/{name}", {"GET"}, RouteKind.STAFF, signed_in, "me")
    async with browse(edge_app(spec)) as client:
        answer = await client.get("/me/ada?name=lovelace", headers={"cookie": "session=abc.def"})

    (line,) = requests_in(log)
    expected = {
        "method": "GET",
        "path": "/me/{name}",
        "status": 200,
        "tenant": "alpha",
        "user": "65f0",
        "address": "127.0.0.1",
        "request_id": answer.headers["x-request-id"],
        "level": "info",
    }
    assert line.items() >= expected.items()
    assert line["ms"] >= 0
    for secret in (b"lovelace", b"/me/ada", b"abc.def", CANARY.encode()):
        assert secret not in log.getvalue()


async def test_secret_links_and_unknown_paths_are_logged_without_their_text(log: io.BytesIO) -> None:
    async with browse(edge_app()) as client:
        await client.get("/calendar/s3cr3t.ics")
        await client.get("/calendar/s3cr3t")
        await client.post("/graphql?token=s3cr3t", content=b"s3cr3t")

    assert [line["path"] for line in requests_in(log)] == ["/calendar/{token}.ics", "(none)", "/graphql"]
    assert b"s3cr3t" not in log.getvalue()


def test_an_answer_that_had_begun_is_cut_off_and_logged(log: io.BytesIO) -> None:
    async def broken(request: Request) -> Response:
        async def parts() -> Any:
            yield b"first"
            raise RuntimeError(CANARY)

        return StreamingResponse(parts())

    app = edge_app(RouteSpec("/stream", {"GET"}, RouteKind.STAFF, broken, "stream"))
    with served(app) as port, pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"http://127.0.0.1:{port}/stream")

    (line,) = requests_in(log)
    assert (line["status"], line["code"], line["level"]) == (200, "INTERNAL", "error")
    assert CANARY.encode() not in log.getvalue()


async def leak(request: Request) -> Response:
    """Sets its scope and never gives it back, as a lost `finally` would."""
    open_scope(current_scope()).__enter__()
    await request.body()
    return json_response({})


LEAK = RouteSpec("/leak", {"GET", "PUT"}, RouteKind.PUBLIC, leak, "leak")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_nothing_of_a_clinic_is_left_for_the_next_request_on_the_connection(http: str, loop: str) -> None:
    app = edge_app(LEAK, settings=EdgeSettings(max_body_bytes=1_000_000))
    with served(app, http, loop) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(3):
            left = client.put("/leak", headers={"host": "alpha.localhost"}, content=b"x" * 500_000)
            assert left.status_code == 200
            for path, host, expected in (
                ("/where", "localhost", None),
                ("/healthz", "alpha.localhost", None),
                ("/where", "beta.localhost", "beta"),
            ):
                assert client.get(path, headers={"host": host}).json()["tenant"] == expected


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_nothing_of_a_clinic_is_left_for_a_request_that_was_waiting_behind(http: str) -> None:
    first = b"GET /leak HTTP/1.1\r\nHost: alpha.localhost\r\n\r\n"
    second = b"GET /where HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with served(edge_app(LEAK), http) as port:
        answers = talk(port, first + second)

    assert answers.count(b"HTTP/1.1 200") == 2
    assert b'"tenant":null,"database":null' in answers


async def test_interleaved_requests_of_two_clinics_never_cross() -> None:
    async def slow(request: Request) -> Response:
        before = current_scope().tenant_id
        await asyncio.sleep(0)
        scope = current_scope()
        assert scope.tenant_id == before
        return json_response({"tenant": scope.tenant and scope.tenant.subdomain})

    app = edge_app(RouteSpec("/slow", {"GET"}, RouteKind.STAFF, slow, "slow"))
    async with browse(app) as client:
        hosts = ["alpha.localhost", "beta.localhost"] * 50
        answers = await asyncio.gather(*(client.get("/slow", headers={"host": host}) for host in hosts))

    assert [answer.json()["tenant"] for answer in answers] == ["alpha", "beta"] * 50


async def live(websocket: WebSocket) -> None:
    await websocket.accept()
    assert current_scope().tenant is not None
    raise RuntimeError(CANARY)


LIVE = RouteSpec("/live", {"WEBSOCKET"}, RouteKind.STAFF, live, "live")


async def test_a_websocket_has_scope_id_and_line_and_closes_on_failure(log: io.BytesIO) -> None:
    accepted, closed = await shake_hands(edge_app(LIVE), handshake({}))

    (line,) = requests_in(log)
    assert (b"x-request-id", line["request_id"].encode()) in accepted["headers"]
    assert closed["code"] == 1011
    assert (line["method"], line["path"], line["status"], line["tenant"]) == (
        "WEBSOCKET",
        "/live",
        101,
        "alpha",
    )
    assert CANARY.encode() not in log.getvalue()
