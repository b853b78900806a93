"""What a request may weigh."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from app.http.registry import RouteKind, RouteSpec
from tests.http.support import JSON, browse, code_of, echo, edge_app, served, talk

LIMIT = 2_000
HEAD = b"POST /graphql HTTP/1.1\r\nHost: alpha.localhost\r\nContent-Type: application/json\r\n"


def body_of(size: int) -> bytes:
    return b'{"a":"' + b"x" * (size - 8) + b'"}'


async def test_a_body_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    async with browse(edge_app()) as client:
        fits = await client.post("/graphql", content=body_of(LIMIT), headers=JSON)
        bursts = await client.post("/graphql", content=body_of(LIMIT + 1), headers=JSON)

    assert fits.status_code == 200
    assert (bursts.status_code, code_of(bursts)) == (413, "VALIDATION_FAILED")


async def test_a_body_of_undeclared_length_is_cut_while_it_is_read() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 1_000_000:
            sent += 500
            yield b"x" * 500

    async with browse(edge_app()) as client:
        answer = await client.post("/graphql", content=endless(), headers=JSON)

    assert answer.status_code == 413
    assert sent <= LIMIT + 500


@pytest.mark.parametrize("http", ["httptools", "h11"])
def test_a_chunked_flood_is_cut_on_the_wire(http: str) -> None:
    chunk = b"1f4\r\n" + b"x" * 500 + b"\r\n"
    with served(edge_app(), http) as port:
        answer = talk(port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 2_000)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


def test_a_declared_flood_is_refused_before_its_body_comes() -> None:
    with served(edge_app()) as port:
        answer = talk(port, HEAD + b"Content-Length: 50000000\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_route_may_have_a_limit_of_its_own() -> None:
    spec = RouteSpec("/api/big", {"POST"}, RouteKind.STAFF, echo, "big", max_body_bytes=10_000)
    async with browse(edge_app(spec)) as client:
        assert (await client.post("/api/big", content=body_of(9_000), headers=JSON)).status_code == 200
        assert (await client.post("/api/big", content=body_of(10_001), headers=JSON)).status_code == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "\xb3", "1, 1", "9" * 30])
async def test_a_malformed_length_is_a_bad_request(length: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", length.encode("latin-1"))]
    async with browse(edge_app()) as client:
        answer = await client.post("/graphql", content=b"{}", headers=headers)

    assert answer.status_code == 400


async def test_too_many_and_too_long_headers_are_refused() -> None:
    async with browse(edge_app()) as client:
        many = await client.get("/where", headers={f"x-{number}": "1" for number in range(101)})
        long = await client.get("/where", headers={"x-long": "x" * 40_000})

    assert (many.status_code, long.status_code) == (431, 431)
