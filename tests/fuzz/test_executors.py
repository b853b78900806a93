"""Whatever is asked, by whomever, of whatever is stored: compiled operations are answered as graphql-core does.

Answers and entries in the audit are compared. A few hundred fixed examples here; `make fuzz` goes on at random.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from functools import partial
from random import Random

import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.clinics import Clinic, MakeClinic
from tests.fixtures.desks import OpenDesk
from tests.fixtures.mirror import Mirror
from tests.fixtures.servers import Servers, StillMoving
from tests.fuzz.changes import Changers, change
from tests.fuzz.conftest import fuzzing
from tests.fuzz.executors import QUERIES, WHO, Duel, allowed, duel_of

NAMES = {root.name for root in QUERIES}
CALLERS = [(side, who) for side in (0, 1) for who, often in WHO.items() for _ in range(often)]
seeds = st.integers(0, 2**64)


@pytest_asyncio.fixture(scope="module")
async def duel(servers: Servers, make_clinic: MakeClinic, mirror: Mirror) -> AsyncIterator[Duel]:
    """At the end: if everything fell back, or failed, nothing would have been compared."""
    before, duel = servers.counted, await duel_of(servers, make_clinic, mirror)
    yield duel
    counted, asked = servers.counted - before, sum(duel.seen.values())
    assert counted["compiled"] > sum(counted.values()) / 2, counted
    assert counted["completed: irregular"] > 5, counted
    assert duel.seen["ok"] > asked / 5, duel.seen
    assert {"VALIDATION_FAILED", "NOT_FOUND", "FORBIDDEN", "UNAUTHENTICATED", "INTERNAL"} <= duel.seen.keys()
    assert duel.moving.total() - duel.moving["auditLog"] < asked / 20, duel.moving


@given(seed=seeds, who=st.sampled_from(CALLERS))
@fuzzing(250)
async def test_any_query_is_answered_alike(duel: Duel, seed: int, who: tuple[int, str]) -> None:
    made = duel.made(Random(seed), who, allowed(who[1]))
    try:
        answer = await duel.callers[who].ask(made.text, **made.variables)
    except StillMoving:
        duel.moving.update(set(re.findall(r"\w+", made.text)) & NAMES)
        return
    duel.seen.update(answer.codes or ["ok"])


@pytest_asyncio.fixture(scope="module")
async def changers(servers: Servers, clinic_a: Clinic, open_desk: OpenDesk) -> AsyncIterator[Changers]:
    """At the end: they must have succeeded and failed."""
    desk = partial(open_desk, clinic_a, "admin")
    changers = Changers(servers.pair((await desk()).client), desk)
    yield changers
    assert changers.seen["ok"] > sum(changers.seen.values()) / 8, changers.seen
    assert {"VALIDATION_FAILED", "NOT_FOUND", "CONFLICT"} <= changers.seen.keys(), changers.seen


@given(seed=seeds)
@fuzzing(40)
async def test_any_change_is_made_and_answered_alike(changers: Changers, seed: int) -> None:
    made = change(Random(seed))
    ours, theirs = await changers.outcomes(made)
    if (ours.shape, ours.audit) != (theirs.shape, theirs.audit):
        raise AssertionError(f"{made.text}\n{made.variables}\ncompiled:\n{ours}\ngraphql-core:\n{theirs}")
    changers.seen.update(ours.answer.codes or ["ok"])
