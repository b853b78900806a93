"""A replica set loses its primary under load: nothing that was acknowledged is lost, nothing is doubled, and the
service is back by itself. Measured figures stand in docs/operations.md; `--log-cli-level=info` shows those of a run."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from pymongo import AsyncMongoClient
from pymongo.read_concern import ReadConcern

from app.config import Settings
from app.db.mongod import free_port
from app.db.schema import apply_schema
from tests.failure.replica_set import Node, ReplicaSet, replica_set
from tests.fixtures.clinics import PASSWORD
from tests.fixtures.tills import usd
from tests.server_process import started, wait_for

pytestmark = pytest.mark.xdist_group("replica set")

log = logging.getLogger(__name__)

BACK_SECONDS = 30.0
BACK_FROM_SILENCE_SECONDS = 60.0
"""The secondary that is left must find out that whom it copies from is silent, before a majority has anything."""
ANSWER_SECONDS = 40.0
"""One operation ends within the time limit of 10 s; a request reads, announces, writes and tells."""
AT_ONCE = 8
INVOICE = "mutation($input: CreateInvoiceInput!) { createInvoice(input: $input) { id } }"
PATIENT = "mutation($input: CreatePatientInput!) { createPatient(input: $input) { id } }"


@pytest.fixture(scope="module")
def nodes() -> Iterator[ReplicaSet]:
    with replica_set() as made:
        yield made


@pytest_asyncio.fixture(scope="module")
async def there(settings: Settings, nodes: ReplicaSet) -> Settings:
    """The settings of servers on that replica set, with the time limit that is the default; the schema is there."""
    made = Settings(**{**settings.model_dump(), "mongodb_uri": nodes.uri})
    async with AsyncMongoClient[dict[str, Any]](made.mongodb_uri, tz_aware=True) as client:
        await apply_schema(client[made.mongodb_database])
    return made


@dataclass(slots=True)
class Load:
    """People at one clinic who go on until they are told to stop, and what each of them was told."""

    http: httpx.AsyncClient
    patient: str = ""
    invoices: dict[str, str] = field(default_factory=dict)
    """By the key of the request, the id that was answered."""
    patients: list[str] = field(default_factory=list)
    """Names of those whose making was acknowledged."""
    tried: list[str] = field(default_factory=list)
    """Names of all that were asked for, each once."""
    refusals: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    acknowledged: list[float] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def begin(self) -> None:
        self.tasks = [asyncio.create_task(self._invoice()) for _ in range(AT_ONCE)]
        self.tasks.append(asyncio.create_task(self._register()))

    async def end(self) -> None:
        self.stopping.set()
        await asyncio.gather(*self.tasks)

    async def more(self, count: int) -> None:
        """Returns when so many more were acknowledged."""
        wanted = len(self.acknowledged) + count
        async with asyncio.timeout(BACK_FROM_SILENCE_SECONDS + ANSWER_SECONDS):
            while len(self.acknowledged) < wanted:
                await asyncio.sleep(0.02)

    async def ask(self, query: str, **asked: Any) -> dict[str, Any] | None:
        """The data of an answer; None for one that it may be tried again."""
        began = time.monotonic()
        answer = await self.http.post("/graphql", json={"query": query, "variables": {"input": asked}})
        self.slowest = max(self.slowest, time.monotonic() - began)
        body = answer.json()
        if "errors" not in body:
            self.acknowledged.append(time.monotonic())
            data: dict[str, Any] = body["data"]
            return data
        self.refusals[body["errors"][0]["extensions"]["code"]] += 1
        assert answer.status_code == 503, body
        assert int(answer.headers["retry-after"]) > 0
        return None

    async def _invoice(self) -> None:
        line = {"description": "Visit", "unitPrice": usd("100.00")}
        while not self.stopping.is_set():
            key = uuid4().hex
            while (data := await self.ask(
                INVOICE, patientId=self.patient, lines=[line], idempotencyKey=key
            )) is None:  # fmt: skip
                await asyncio.sleep(0.2)
            self.invoices[key] = data["createInvoice"]["id"]

    async def _register(self) -> None:
        """What has no key is asked for once, whatever the answer."""
        while not self.stopping.is_set():
            name = f"F{uuid4().hex[:10]}"
            self.tried.append(name)
            if await self.ask(PATIENT, givenName="Ana", familyName=name) is not None:
                self.patients.append(name)
            else:
                await asyncio.sleep(0.2)


@pytest_asyncio.fixture(scope="module")
async def people(there: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """The admin of a clinic, at a server on the replica set that goes on through all that happens to it."""
    port, name = free_port(), f"f{uuid4().hex[:10]}"
    address = f"http://127.0.0.1:{port}"
    admin = {"name": "Ada Admin", "email": f"admin@{name}.example.com", "password": PASSWORD}
    with started(there, port, {}) as process:
        await asyncio.to_thread(wait_for, address, process)
        async with httpx.AsyncClient(base_url=address, timeout=60, headers={"X-Polyclinic-Client": "tests"}) as http:
            form = {"name": "Clinic", "subdomain": name, "admin": admin}
            opened = await http.post("/api/tenants/onboard", json=form, headers={"Host": there.root_domain})
            assert opened.status_code == 200, opened.text
            http.headers["Host"] = f"{name}.{there.root_domain}"
            login = "mutation($input: LoginInput!) { login(input: $input) { token } }"
            data = await Load(http).ask(login, email=admin["email"], password=PASSWORD)
            assert data is not None
            http.cookies.clear()
            http.headers["Authorization"] = f"Bearer {data['login']['token']}"
            yield http


@pytest_asyncio.fixture
async def load(people: httpx.AsyncClient, nodes: ReplicaSet) -> AsyncIterator[Load]:
    """The people at work."""
    await asyncio.to_thread(nodes.wait_until_whole)
    made = Load(people)
    data = await made.ask(PATIENT, givenName="Pia", familyName="Patient")
    assert data is not None
    made.patient = data["createPatient"]["id"]
    made.begin()
    yield made
    await made.end()


async def check(load: Load, there: Settings) -> None:
    """Nothing that was acknowledged is lost, and nothing is doubled."""
    async with AsyncMongoClient[dict[str, Any]](there.mongodb_uri, tz_aware=True) as client:
        stored = client[there.mongodb_database].with_options(read_concern=ReadConcern("majority"))
        invoices = {str(row["_id"]): row async for row in stored["invoices"].find({})}
        marks = Counter(mark["id"].rpartition(":")[2] for row in invoices.values() for mark in row["requests"])
        patients = Counter([row["family_name"] async for row in stored["patients"].find({})])
    assert set(load.invoices.values()) <= invoices.keys(), "an acknowledged invoice is lost"
    assert {key: marks[key] for key in load.invoices} == dict.fromkeys(load.invoices, 1), "an invoice is doubled"
    assert set(load.patients) <= patients.keys(), "an acknowledged patient is lost"
    assert [name for name in load.tried if patients[name] > 1] == [], "a patient is doubled"


async def harm(load: Load, nodes: ReplicaSet, act: Callable[[Node], None]) -> float:
    """Does it to the primary under load; how many seconds there was no service."""
    await load.more(60)
    primary = await asyncio.to_thread(nodes.primary)
    began = time.monotonic()
    act(primary)
    await load.more(10 * AT_ONCE)
    after = [one for one in load.acknowledged if one >= began - 1]
    away = max(later - one for one, later in pairwise(after))
    log.info("no service for %.1f s, slowest answer %.1f s, refused %s", away, load.slowest, dict(load.refusals))
    return away


async def test_the_primary_is_killed(load: Load, nodes: ReplicaSet, there: Settings) -> None:
    with nodes.mended():
        away = await harm(load, nodes, Node.kill)
        await load.end()
        await check(load, there)
    assert away < BACK_SECONDS
    assert load.slowest < ANSWER_SECONDS
    assert set(load.refusals) <= {"UNAVAILABLE"}
    await asyncio.to_thread(nodes.wait_until_whole)
    await check(load, there)


async def test_the_primary_hangs(load: Load, nodes: ReplicaSet, there: Settings) -> None:
    with nodes.mended():
        away = await harm(load, nodes, Node.pause)
        await load.end()
        await check(load, there)
    assert away < BACK_FROM_SILENCE_SECONDS
    assert load.slowest < ANSWER_SECONDS
    assert set(load.refusals) <= {"UNAVAILABLE"}
    await asyncio.to_thread(nodes.wait_until_whole)
    await check(load, there)
