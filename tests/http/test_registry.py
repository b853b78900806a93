"""A route that nobody declared must not be served."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.websockets import WebSocket

from app.http.registry import RouteError, RouteKind, RouteSpec, RouteTable, assert_all_declared, build_routes
from tests.http.support import SPECS, browse, code_of, edge_app


async def page(request: Request) -> Response:
    return Response(b"")


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()


def spec(path: str, *methods: str, name: str = "page") -> RouteSpec:
    return RouteSpec(path, methods, RouteKind.PUBLIC, page, name)


def test_declared_routes_pass() -> None:
    specs = [*SPECS, RouteSpec("/live", {"WEBSOCKET"}, RouteKind.STAFF, socket, "live")]

    assert_all_declared(Starlette(routes=build_routes(specs)), specs)


@pytest.mark.parametrize(
    "stray",
    [
        Route("/stray", page),
        Route("/where", page, methods=["DELETE"]),
        Route("/where", page, methods=["GET"]),
        Mount("/static", app=Starlette()),
    ],
    ids=["path", "method", "other endpoint", "mount"],
)
def test_an_undeclared_route_stops_the_start(stray: Route | Mount) -> None:
    app = Starlette(routes=[*build_routes(SPECS), stray])

    with pytest.raises(RouteError, match=stray.path):
        assert_all_declared(app, SPECS)


def test_a_declared_route_that_is_not_served_stops_the_start() -> None:
    with pytest.raises(RouteError, match="/healthz"):
        assert_all_declared(Starlette(routes=build_routes(SPECS[:-1])), SPECS)


def test_contradicting_declarations_are_refused() -> None:
    with pytest.raises(RouteError, match="GET /a"):
        build_routes([spec("/a", "GET"), spec("/a", "GET", name="other")])
    with pytest.raises(RouteError, match="name"):
        build_routes([spec("/a", "GET"), spec("/b", "GET")])
    for methods in ((), ("TRACE",), ("GET", "WEBSOCKET")):
        with pytest.raises(RouteError):
            spec("/a", *methods)


def test_the_table_finds_declarations_by_path_and_method() -> None:
    table = RouteTable([spec("/a/{id}", "GET"), spec("/a/new", "POST", name="new")])

    assert table.match("/a/7", "POST") == ("/a/{id}", None)
    assert table.match("/a/new", "POST")[0] == "/a/new"
    template, found = table.match("/a/new", "GET")
    assert (template, found and found.path) == ("/a/new", "/a/{id}")
    assert [found.name for found in table.at("/a/new")] == ["new", "page"]
    assert table.allowed("/a/new") == ["GET", "HEAD", "POST"]
    assert table.match("/b", "GET") == (None, None)


async def test_an_unknown_path_is_not_found_as_json_or_as_a_page() -> None:
    async with browse(edge_app()) as client:
        data = await client.get("/nowhere")
        rest = await client.get("/api/nowhere")
        page = await client.get("/nowhere", headers={"accept": "text/html"})

    assert (data.status_code, code_of(data)) == (404, "NOT_FOUND")
    assert rest.json()["error"]["code"] == "NOT_FOUND"
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")


async def test_a_trailing_slash_is_another_path_and_never_a_redirect() -> None:
    async with browse(edge_app()) as client:
        assert (await client.get("/where/")).status_code == 404


async def test_a_method_that_a_path_lacks_is_told_with_those_it_has() -> None:
    async with browse(edge_app(RouteSpec("/where", {"PUT"}, RouteKind.PUBLIC, page, "put"))) as client:
        answer = await client.delete("/where", headers={"accept": "text/html"})

    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, PUT")
    assert code_of(answer) == "VALIDATION_FAILED"
