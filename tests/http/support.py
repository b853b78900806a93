"""Small applications behind the real edge, and ways to talk to them: in process, and over a socket."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, cast

import httpx
import uvicorn
from bson import ObjectId
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from app.http.answers import json_response
from app.http.body import read_json
from app.http.edge import build_app
from app.http.registry import RouteKind, RouteSpec
from app.tenancy.scope import Database, TenantId, TenantRef, current_scope

SESSION_COOKIE = "session"
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class EdgeSettings:
    """The settings that the edge reads, as they are in development."""

    is_production: bool = False
    root_domain: str = "polyclinic.test"
    preview_domain: str | None = "preview.test"
    single_clinic: bool = False
    default_tenant: str | None = None
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    max_body_bytes: int = 2_000


PROXIED = EdgeSettings(trusted_proxies=(ip_network("127.0.0.1"), ip_network("10.0.0.0/8")))


@dataclass
class FakeDirectory:
    """Knows the active clinics alpha and beta; gamma is suspended, which looks like any other name."""

    active: tuple[str, ...] = ("alpha", "beta")
    asked: list[str] = field(default_factory=list)

    async def by_subdomain(self, subdomain: str) -> TenantRef | None:
        self.asked.append(subdomain)
        if subdomain not in self.active:
            return None
        return TenantRef(TenantId(ObjectId()), subdomain, subdomain.title())

    async def database_for(self, tenant: TenantRef) -> Database:
        return cast(Database, f"database of {tenant.subdomain}")


async def where(request: Request) -> Response:
    """Shows what the innermost layer sees of the request."""
    scope = current_scope()
    return json_response(
        {
            "tenant": scope.tenant.subdomain if scope.tenant else None,
            "database": None if scope.database is None else str(scope.database),
            "address": scope.address,
            "requestId": scope.request_id,
            "headers": sorted(request.headers.keys()),
            "host": request.headers.get("host"),
        }
    )


async def echo(request: Request) -> Response:
    return json_response(await read_json(request))


SPECS: tuple[RouteSpec, ...] = (
    RouteSpec("/graphql", {"POST"}, RouteKind.STAFF, echo, "graphql"),
    RouteSpec("/where", {"GET"}, RouteKind.STAFF, where, "where"),
    RouteSpec("/api/tenants/onboard", {"POST"}, RouteKind.PUBLIC, echo, "onboard"),
    RouteSpec("/calendar/{token}.ics", {"GET"}, RouteKind.PUBLIC, where, "calendar"),
    RouteSpec("/healthz", {"GET"}, RouteKind.OPERATOR, where, "healthz"),
)


def edge_app(
    *extra: RouteSpec,
    settings: EdgeSettings | None = None,
    directory: FakeDirectory | None = None,
    specs: Sequence[RouteSpec] = SPECS,
    **options: Any,
) -> Starlette:
    return build_app(
        [*specs, *extra],
        settings=settings or EdgeSettings(),
        directory=directory or FakeDirectory(),
        session_cookies=[SESSION_COOKIE],
        **options,
    )


@asynccontextmanager
async def browse(
    app: Starlette, host: str = "alpha.localhost:8000", *, peer: str = "127.0.0.1", scheme: str = "http"
) -> AsyncIterator[httpx.AsyncClient]:
    """A client on that host whose socket ends at `peer`."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=True, client=(peer, 50_000))
    async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://{host}") as client:
        yield client


def code_of(answer: httpx.Response) -> str:
    body = answer.json()
    error = body["error"] if "error" in body else body["errors"][0]["extensions"]
    return cast(str, error["code"])


@contextmanager
def served(app: Starlette, http: str = "httptools", loop: str = "asyncio") -> Iterator[int]:
    """A real server on a free loopback port, for what only a socket can show."""
    options: dict[str, Any] = {"http": http, "loop": loop, "ws": "none"}
    config = uvicorn.Config(app, log_config=None, proxy_headers=False, **options)
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def talk(port: int, *parts: bytes) -> bytes:
    """Sends the parts, then reads until the server closes or falls silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:  # the server has answered and gone
                break
        return _read_to_end(connection)


def _read_to_end(connection: socket.socket) -> bytes:
    received = b""
    try:
        while chunk := connection.recv(65_536):
            received += chunk
    except ConnectionResetError:
        return received
    return received


def handshake(headers: Mapping[str, str], path: str = "/live") -> dict[str, Any]:
    """The ASGI scope of a websocket handshake on alpha.localhost:8000."""
    given = {"host": "alpha.localhost:8000", **headers}
    return {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
    }


async def shake_hands(app: Starlette, scope: dict[str, Any]) -> list[dict[str, Any]]:
    """What the application sends in answer to a handshake by a client that then leaves."""
    incoming: Iterator[dict[str, Any]] = iter(
        [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]
    )
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return next(incoming)

    async def send(message: Any) -> None:
        sent.append(dict(message))

    await app(scope, receive, send)
    return sent
