"""A clinic to be ill-treated, beside one that must not notice."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest_asyncio
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings

from app.errors import ErrorCode
from tests.fixtures.clinics import Answer, Client, MakeClinic, Server
from tests.fixtures.mirror import BOOKKEEPING, Mirror, Side, side_of
from tests.fixtures.portal import Visit, Visitor
from tests.fixtures.twins import fingerprints

EXAMPLES = int(os.environ.get("EXAMPLES", "0"))
"""So many of each kind, at random; without it a few that are the same each time."""
EXPECTED = {code.value for code in ErrorCode} - {ErrorCode.INTERNAL, ErrorCode.UNAVAILABLE}


def fuzzing(few: int) -> hypothesis_settings:
    """`few` fixed examples in the whole suite, EXAMPLES random ones in `make fuzz`."""
    phases = (Phase.explicit, Phase.reuse, Phase.generate, *((Phase.shrink,) if EXAMPLES else ()))
    return hypothesis_settings(
        max_examples=EXAMPLES or few,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=phases,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


@dataclass(slots=True)
class Arena:
    """The ill-treated clinic, its people, and what must never be seen of the other one."""

    side: Side
    other: Side
    patient: Visitor
    foreign: frozenset[str]
    seen: Counter[str] = field(default_factory=Counter)
    """How often which code came, and how often an answer without errors."""

    async def client(self, who: str) -> Client:
        """Somebody with a session of their own for each request: what came before may have ended it."""
        server, host = self.side.server, self.side.clinic.host
        match who:
            case "nobody":
                return server.client(host)
            case "nobody on the root host":
                return server.client()
            case "the other clinic's admin":
                return server.client(host, (await self.other.client("admin")).token)
            case "the admin on the root host":
                return server.client(token=(await self.side.client("admin")).token)
            case "a patient":
                return self.patient.client
            case role:
                return await self.side.client(role)

    async def ask(self, who: str, query: str, given: Any = None) -> Answer:
        """Sends whatever JSON can say, and judges the answer by what holds for each."""
        client = await self.client(who)
        client.http.cookies.clear()
        headers = {"X-Polyclinic-Client": "fuzz", "Content-Type": "application/json"}
        if client.token:
            headers["Authorization"] = f"Bearer {client.token}"
        content = json.dumps({"query": query, "variables": given}).encode()
        answer = Answer(await client.http.post("/graphql", content=content, headers=headers))
        self.judge(answer, who, query, given)
        return answer

    def judge(self, answer: Answer, *asked: Any) -> None:
        self.seen.update(answer.codes or ["ok"])
        assert answer.status < 500, (asked, answer.response.text)
        for error in answer.errors:
            assert error["extensions"]["code"] in EXPECTED, (asked, answer.body)
            assert error["extensions"]["requestId"], (asked, answer.body)
        said = answer.response.text.lower()
        assert not [trace for trace in self.other.marker.traces if trace in said], (asked, said)
        assert not [one for one in self.foreign if one in said], (asked, said)


@pytest_asyncio.fixture(scope="module")
async def arena(server: Server, make_clinic: MakeClinic, mirror: Mirror, visit: Visit) -> AsyncIterator[Arena]:
    """The other clinic has not changed by a byte when the tests of a module are over."""
    side = await side_of(server, await make_clinic(), "f")
    for _ in range(2):
        await side.grow()
    patient = await visit(side.clinic)
    foreign = await mirror.ids_of(mirror.b) - {str(mirror.b.clinic.tenant.key)}
    before = await fingerprints(mirror.raw, mirror.b.clinic)
    yield Arena(side, mirror.b, patient, frozenset(foreign))
    after = await fingerprints(mirror.raw, mirror.b.clinic)
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert {name for name in changed if name.partition("/")[0] not in BOOKKEEPING} == set()
