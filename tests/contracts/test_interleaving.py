"""Two clinics at the same moment in one process: 200 requests through each other, and not a byte crosses over."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import httpx
import pytest
import pytest_asyncio

from app.config import Settings
from app.services.placement.provisioning import Goal
from app.tenancy.crossing import tenant_scope
from models import Patient, Room
from tests.contracts._schema import RootField, id_places, root_fields
from tests.contracts._values import collection_of, marked, variables
from tests.fixtures.clinics import OWN, MakeClinic, Server
from tests.fixtures.mirror import CLINICAL, Mirror, Side, side_of
from tests.fixtures.servers import Servers
from tests.server_process import server_process

REQUESTS = 200
CONNECTIONS = 8
"""So few that requests of both clinics must follow each other on each connection."""

NOT_TWICE = frozenset({"createInventoryItem", "createSubscriptionOrder"})
"""There is one item of a medicine's name; and an order is made at PayPal."""
READS = [
    root
    for root in root_fields()
    if not root.is_mutation and root.permission is not None and root.name != "patientMergePreview"  # asks for two
]
WRITES = [
    root
    for root in root_fields()
    if root.name.startswith("create") and root.permission is not None and not any(p.required for p in id_places(root))
    if root.name not in NOT_TWICE
]
PUBLIC = next(root for root in root_fields() if root.name == "clinic")
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Job:
    """One request: of a clinic's admin, or (`side` None) of nobody on the host that is no clinic's."""

    root: RootField
    side: Side | None
    given: dict[str, Any]

    async def send(self, http: httpx.AsyncClient) -> httpx.Response:
        host = self.side.clinic.host if self.side else "polyclinic.test"
        headers = {"Host": host, "X-Polyclinic-Client": "tests"}
        if self.side:
            headers["Authorization"] = f"Bearer {self.side.admin.token}"
        body = {"query": self.root.fully, "variables": self.given}
        return await http.post("/graphql", json=body, headers=headers)


def job(root: RootField, side: Side) -> Job:
    """A request with the clinic's own ids, whose texts all bear the clinic's mark."""
    given = variables(root, lambda place: str(side.latest[collection_of(place)]))
    return Job(root, side, marked(given, f"{side.marker.text}-{next(_numbers)}"))


def jobs(sides: Sequence[Side], many: int) -> list[Job]:
    """Reads and writes of both clinics and calls of nobody, in an order that is the same on each run."""
    chance = random.Random(2024)
    made = [job(chance.choice(WRITES if number % 3 == 0 else READS), sides[number % 2]) for number in range(many)]
    made += [Job(PUBLIC, None, {}) for _ in range(many // 10)]
    chance.shuffle(made)
    return made


@pytest_asyncio.fixture
async def pair(server: Server, make_clinic: MakeClinic) -> tuple[Side, Side]:
    """Two clinics of this test's own, with documents under their marks; one has a database of its own."""
    one, other = [await side_of(server, await make_clinic(goal), name) for name, goal in (("x", Goal()), ("y", OWN))]
    for side in (one, other):
        await side.grow()
    return one, other


async def nothing_crosses(
    http: httpx.AsyncClient, pair: tuple[Side, Side], mirror: Mirror, many: int = REQUESTS
) -> None:
    """Sends everything at once, and looks at each answer and at all that is stored afterwards."""
    sent = jobs(pair, many)
    before = {(side.marker, model): await mirror.count_of(model, side) for side in pair for model in CLINICAL}
    answers = await asyncio.gather(*(one.send(http) for one in sent))
    ids = {side.marker: await mirror.ids_of(side) for side in pair}
    for one, answer in zip(sent, answers, strict=True):
        _belongs(one, answer, pair, ids)
    for side, other in (pair, pair[::-1]):
        await _stored_apart(side, other)
    after = {(side.marker, model): await mirror.count_of(model, side) for side in pair for model in CLINICAL}
    made = sum(one.root.is_mutation for one in sent)
    grown = [key for key in after if after[key] > before[key]]
    assert sum(after[key] - before[key] for key in grown) >= made, "each write is stored, where it was sent"


def _belongs(one: Job, answer: httpx.Response, pair: tuple[Side, Side], ids: dict[Any, set[str]]) -> None:
    """The answer is one's own: it worked, and nothing in it is another clinic's."""
    assert "errors" not in answer.json(), (one, answer.text)
    for other in pair:
        if other is not one.side:
            assert other.marker.text not in answer.text, one
            assert not [id for id in ids[other.marker] if id in answer.text], one
    if one.side is None:
        assert answer.json()["data"] == {"clinic": None}
    elif one.root.is_mutation and one.side.marker.text in str(one.given):
        assert one.side.marker.text in answer.text


async def _stored_apart(side: Side, other: Side) -> None:
    async with tenant_scope(side.clinic.ref):
        for model in CLINICAL:
            assert other.marker.text not in str(await model.rows())
        assert await Room.rows({"name": {"$gte": side.marker.text}}), "the rooms that were made are here"
        assert await Patient.rows()


# --- in this process --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("executor", "many"), [("compiled", REQUESTS), ("reference", REQUESTS // 4)])
async def test_interleaved_requests_of_two_clinics_stay_apart(
    executor: str, many: int, servers: Servers, pair: tuple[Side, Side], mirror: Mirror
) -> None:
    """Fewer where nothing is compiled: all at once must be answered within the time that a request may take."""
    asked: Server = getattr(servers, executor)
    transport = httpx.ASGITransport(asked.app, raise_app_exceptions=False, client=("127.0.0.9", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://polyclinic.test") as http:
        await nothing_crosses(http, pair, mirror, many)


# --- over sockets that are kept alive ---------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def served(server: Server, settings: Settings) -> AsyncIterator[str]:
    """The application in a process of its own, as it runs in production: uvicorn on uvloop, on this database."""
    budgets = {
        name.upper(): str(getattr(settings, name)) for name in type(settings).model_fields if name.startswith("cost_")
    }
    with server_process(settings, TIME_LIMIT_MS=str(settings.time_limit_ms), **budgets) as address:
        yield address


async def test_connections_that_both_clinics_use_carry_nothing_over(
    served: str, pair: tuple[Side, Side], mirror: Mirror
) -> None:
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with httpx.AsyncClient(base_url=served, limits=limits, timeout=60) as http:
        await nothing_crosses(http, pair, mirror)


async def test_a_request_without_a_clinic_does_not_run_as_the_one_before_it(
    served: str, pair: tuple[Side, Side]
) -> None:
    """One connection, one after the other: what a request leaves behind would show in the next."""
    ask = partial(job, next(root for root in READS if root.name == "patients"))
    async with httpx.AsyncClient(base_url=served, limits=httpx.Limits(max_connections=1)) as http:
        for side, other in (pair, pair[::-1]):
            mine = await ask(side).send(http)
            nobody = await Job(PUBLIC, None, {}).send(http)
            theirs = await ask(other).send(http)
            assert side.marker.text in mine.text
            assert nobody.json()["data"] == {"clinic": None}
            assert side.marker.text not in theirs.text
            assert other.marker.text in theirs.text
