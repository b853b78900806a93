"""What knowing who asks and telling it costs: CPU of sign-in check, scope, permission and audit in a signed-in request.

`python -m benchmarks.trust`. The whole application answers the same GraphQL request in two builds, interleaved: as it
is, and without them (the person is put into the scope as if known, nothing is noted). Both speak to one mongod
(MONGODB_URI, else a local one that is thrown away). The figures are medians of rounds, in microseconds of this
process's CPU per request, on the loop that serves (uvloop); the database's own work is not in them.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from secrets import token_urlsafe
from statistics import median
from time import process_time
from typing import Any

import httpx
import uvloop
from pydantic import SecretStr
from pymongo import AsyncMongoClient
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from app.config import Settings
from app.db.mongod import embedded_mongod
from app.db.schema import apply_schema
from app.http.identity import Identity
from app.http.request_context import RequestContext
from app.main import create_app
from app.permissions import Permission
from app.services.onboarding import onboard, read_form
from app.tenancy.scope import Actor, Scope, current_scope, open_scope
from app.tenancy.trail import Trail
from models import User

ROUNDS = 11
REPEATS = 150
PASSWORD = "a bench of long standing 42"
QUERY = "query($id: ID!) { patient(id: $id) { name birthDate phone } }"
CREATE = 'mutation { createPatient(input: {givenName: "Ana", familyName: "Bench", phone: "+12125550100"}) { id } }'
LOGIN = "mutation($input: LoginInput!) { login(input: $input) { token } }"


class Known:
    """Stands where the session is checked: whoever asks is the one person of the benchmark."""

    actor: Actor

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        with open_scope(replace(current_scope(), actor=Known.actor)):
            await self.app(scope, receive, send)


class Blind(Trail):
    """A trail that notes nothing."""

    def note(self, *_: Any, **__: Any) -> None:
        """Nothing."""

    @property
    def untold(self) -> bool:
        return False


async def _nothing(*_: Any) -> None:
    """Stores nothing."""


def without_trust(settings: Settings) -> Starlette:
    """The application with the person known beforehand and nothing told."""
    app = create_app(settings)

    def changed(layer: Middleware) -> Middleware:
        cls: object = layer.cls
        if cls is Identity:
            return Middleware(Known)
        if cls is RequestContext:
            blind: Callable[[str], Trail] = lambda action: Blind(action, announce=_nothing, write=_nothing)  # noqa: E731
            options: dict[str, Any] = {**layer.kwargs, "new_trail": blind}
            return Middleware(RequestContext, **options)
        return layer

    app.user_middleware = [changed(layer) for layer in app.user_middleware]
    return app


def client(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, client=("127.0.0.9", 4711)),
        base_url="http://bench.localhost",
        headers={"X-Polyclinic-Client": "bench"},
    )


async def ask(http: httpx.AsyncClient, query: str, **variables: Any) -> dict[str, Any]:
    http.cookies.clear()
    answer: dict[str, Any] = (await http.post("/graphql", json={"query": query, "variables": variables})).json()
    assert "errors" not in answer, answer
    data: dict[str, Any] = answer["data"]
    return data


async def cpu(request: Callable[[], Awaitable[Any]], *, at_once: int) -> float:
    """Microseconds of CPU per request, `at_once` side by side."""
    start = process_time()
    for _ in range(REPEATS // at_once):
        await asyncio.gather(*(request() for _ in range(at_once)))
    return (process_time() - start) / (REPEATS // at_once * at_once) * 1e6


async def compare(whole: httpx.AsyncClient, bare: httpx.AsyncClient, patient: str, at_once: int) -> None:
    def asked(http: httpx.AsyncClient) -> Callable[[], Awaitable[Any]]:
        return lambda: ask(http, QUERY, id=patient)

    await cpu(asked(whole), at_once=at_once)
    await cpu(asked(bare), at_once=at_once)
    rounds = [
        (await cpu(asked(bare), at_once=at_once), await cpu(asked(whole), at_once=at_once)) for _ in range(ROUNDS)
    ]
    before, after = (median(column) for column in zip(*rounds, strict=True))
    extra = median(second - first for first, second in rounds)
    verdict = "within" if extra < 1_000 else "OVER"
    print(
        f"{at_once:3} at once   without {before:7.0f} µs   with {after:7.0f} µs   "
        f"+{extra:5.0f} µs of CPU per request ({verdict} the 1,000 µs allowed)"
    )


async def run(uri: str) -> None:
    name = f"bench_trust_{os.getpid()}"
    settings = Settings(
        environment="test",
        mongodb_uri=uri,
        mongodb_database=name,
        session_secret=SecretStr(token_urlsafe(48)),
        audit_secret=SecretStr(token_urlsafe(48)),
        encryption_key=SecretStr(token_urlsafe(48)),
        root_domain="localhost",
        log_level="error",
        outbox_seconds=0,
    )
    app, bare = create_app(settings), without_trust(settings)
    async with AsyncMongoClient[dict[str, Any]](uri) as admin, app.router.lifespan_context(app):
        await apply_schema(admin[settings.mongodb_database])
        try:
            await _measure(app, bare)
        finally:
            await bare.state.client.close()
            await admin.drop_database(name)


async def _measure(app: Starlette, bare: Starlette) -> None:
    email = "ada@bench.example.com"
    form = {"name": "Bench", "subdomain": "bench", "admin": {"name": "Ada", "email": email, "password": PASSWORD}}
    with open_scope(Scope(request_id="bench")):
        await onboard(read_form({**form, "admin": {**form["admin"], "name": "Ada Admin"}}))  # type: ignore[dict-item]
    user = await User.find_one({"email": email})
    assert user is not None
    Known.actor = Actor(user.key, "bench", user.name, user.email, role="admin", permissions=frozenset(Permission))
    async with client(app) as whole, client(bare) as plain:
        token = (await ask(whole, LOGIN, input={"email": email, "password": PASSWORD}))["login"]["token"]
        whole.headers["Authorization"] = f"Bearer {token}"
        patient = (await ask(whole, CREATE))["createPatient"]["id"]
        for at_once in (1, 10, 32):
            await compare(whole, plain, patient, at_once)


def main() -> None:
    if uri := os.environ.get("MONGODB_URI"):
        uvloop.run(run(uri))
        return
    with tempfile.TemporaryDirectory() as folder, embedded_mongod(Path(folder), cache_gb=0.5, keep=False) as uri:
        uvloop.run(run(uri))


if __name__ == "__main__":
    main()
