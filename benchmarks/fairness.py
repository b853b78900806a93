"""How long one clinic's requests take beside another that floods the process: `python -m benchmarks.fairness`.

Prints the median and the 99th percentile of clinic B's requests, one after the other: alone, and beside clinic A with
so many requests in flight all the time, with the gates and without (places for everybody). Server, flood and measure
are a process each.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import quantiles
from typing import Any

import httpx
from pydantic import SecretStr
from pymongo import AsyncMongoClient

from app.auth.sessions import open_session
from app.config import Settings
from app.db.documents import init_documents
from app.db.mongod import embedded_mongod, free_port
from app.db.schema import apply_schema
from app.services.audit_chain import use_audit_keys
from app.services.onboarding import onboard, read_form
from app.services.tenant_keys import use_tenant_keys
from app.tenancy.crossing import tenant_scope
from app.tenancy.directory import ref_of
from app.tenancy.scope import Scope, open_scope
from models import ALL_DOCUMENTS, Room, User
from tests.processes import answers

IN_FLIGHT = 200
REQUESTS = 60
FLOOD_SECONDS = 60.0
PLENTY = ("cost_per_clinic", "cost_per_person", "cost_per_address")
QUERY = {"query": "{ rooms(first: 100) { edges { node { id name version } } totalCount } }"}
LOUD = {
    "query": "{ " + " ".join(f"r{n}: rooms(first: 100) {{ edges {{ node {{ id name }} }} }}" for n in range(5)) + " }"
}
"""Dear enough that the server is what holds the flood up, and not the client that makes it."""
EVERYBODY = "1000"


async def open_clinic(settings: Settings, name: str) -> str:
    """A clinic with rooms; the token of its admin's session."""
    admin = {"name": "Ada Admin", "email": f"ada@{name}.example.com", "password": secrets.token_urlsafe(16)}
    form = read_form({"name": name.title(), "subdomain": name, "settings": {"timezone": "UTC"}, "admin": admin})
    with open_scope(Scope(request_id="bench")):
        opened = await onboard(form)
        async with tenant_scope(opened.tenant):
            for number in range(100):
                await Room(name=f"Room {number}", name_key=f"room {number}").insert()
        user = await User.find_one({"email": admin["email"]})
        assert user is not None
        session = await open_session(user, settings, clinic=ref_of(opened.tenant), address="", device="bench")
    return session.token


@contextmanager
def served(settings: Settings, **changes: str) -> Iterator[int]:
    """The application in a process of its own; its port."""
    port = free_port()
    secret = {
        name.upper(): getattr(settings, name).get_secret_value()
        for name in ("session_secret", "audit_secret", "encryption_key")
    }
    plenty = {name.upper(): str(10**12) for name in PLENTY}
    chosen = {"MONGODB_URI": settings.mongodb_uri, "ROOT_DOMAIN": "localhost", "ENVIRONMENT": "test", "PORT": str(port)}
    env = {
        **os.environ,
        **secret,
        **plenty,
        **chosen,
        "LOG_LEVEL": "error",
        "OUTBOX_SECONDS": "0",
        "WORKERS": "1",
        **changes,
    }
    server = subprocess.Popen([sys.executable, "-m", "scripts.serve"], env=env)
    try:
        while not answers(f"mongodb://127.0.0.1:{port}/"):
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait(20)


def client(port: int, clinic: str, token: str) -> httpx.AsyncClient:
    headers = {"host": f"{clinic}.localhost", "authorization": f"Bearer {token}", "x-polyclinic-client": "bench"}
    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, limits=limits, timeout=60)


def flood(port: int, token: str, seconds: float, begun: Event) -> None:
    """A process of its own that keeps so many requests in flight; tells when the first of them were answered."""

    async def one(asking: httpx.AsyncClient, ends: float) -> None:
        while time.monotonic() < ends:
            with suppress(httpx.TransportError):
                await asking.post("/graphql", json=LOUD)
                begun.set()

    async def run() -> None:
        ends = time.monotonic() + seconds
        async with client(port, "alpha", token) as asking:
            await asyncio.gather(*(one(asking, ends) for _ in range(IN_FLIGHT)))

    asyncio.run(run())


async def waits(asking: httpx.AsyncClient) -> list[float]:
    """Milliseconds of each request, of those that end before the flood does."""
    times: list[float] = []
    ends = time.monotonic() + FLOOD_SECONDS - 5
    while len(times) < REQUESTS and (time.monotonic() < ends or len(times) < 2):
        started = time.perf_counter()
        answer = await asking.post("/graphql", json=QUERY)
        times.append((time.perf_counter() - started) * 1_000)
        assert answer.status_code == 200, answer.text
    return times


def told(label: str, times: list[float]) -> None:
    points = quantiles(times, n=100)
    print(f"{label:22} p50 {points[49]:8.1f} ms   p99 {points[98]:8.1f} ms   of {len(times)}", flush=True)


def beside(port: int, tokens: dict[str, str], label: str) -> None:
    asyncio.run(calm(port, tokens["beta"]))
    processes = get_context("spawn")
    begun = processes.Event()
    flooding = processes.Process(target=flood, args=(port, tokens["alpha"], FLOOD_SECONDS, begun))
    flooding.start()
    assert begun.wait(60)
    told(label, asyncio.run(calm(port, tokens["beta"])))
    flooding.terminate()
    flooding.join(30)


async def calm(port: int, token: str) -> list[float]:
    async with client(port, "beta", token) as asking:
        return await waits(asking)


async def prepare(settings: Settings) -> dict[str, str]:
    """A database with two clinics; the tokens of their admins."""
    use_audit_keys(settings)
    async with AsyncMongoClient[dict[str, Any]](settings.mongodb_uri, tz_aware=True) as raw:
        await apply_schema(raw[settings.mongodb_database])
        await init_documents(raw[settings.mongodb_database], ALL_DOCUMENTS)
        keys = use_tenant_keys(settings)
        try:
            return {name: await open_clinic(settings, name) for name in ("alpha", "beta")}
        finally:
            await keys.close()


def run(uri: str) -> None:
    given: dict[str, Any] = {
        name: SecretStr(secrets.token_urlsafe(48)) for name in ("session_secret", "audit_secret", "encryption_key")
    }
    settings = Settings(environment="test", mongodb_uri=uri, root_domain="localhost", **given)
    tokens = asyncio.run(prepare(settings))
    with served(settings) as port:
        asyncio.run(calm(port, tokens["beta"]))
        told("B alone", asyncio.run(calm(port, tokens["beta"])))
        beside(port, tokens, "B beside A, gates")
    with served(settings, GRAPHQL_CONCURRENCY=EVERYBODY, GRAPHQL_QUEUE=EVERYBODY) as port:
        beside(port, tokens, "B beside A, no gates")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, embedded_mongod(Path(folder), cache_gb=0.5, keep=False) as uri:
        run(uri)


if __name__ == "__main__":
    main()
