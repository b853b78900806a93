"""Every model with states: each illegal step is refused and changes nothing, each legal one is taken once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId

from app.errors import Conflict, InvalidState, NotFound
from app.services.states import noun
from app.tenancy.crossing import tenant_scope
from models.states import followers
from tests.contracts._states import STAGED, Way, made, row, states_of, tried, ways
from tests.fixtures.clinics import Clinic

each_model = pytest.mark.parametrize("model", STAGED, ids=lambda model: model.__name__)
each_way = pytest.mark.parametrize("way", list(ways(*STAGED)), ids=str)
legal = pytest.mark.parametrize("way", [way for way in ways(*STAGED) if way.legal], ids=str)
illegal = pytest.mark.parametrize("way", [way for way in ways(*STAGED) if not way.legal], ids=str)


@pytest_asyncio.fixture(autouse=True)
async def at_a(clinic_a: Clinic) -> AsyncIterator[None]:
    """Each test acts at clinic A."""
    async with tenant_scope(clinic_a.ref):
        yield


@pytest_asyncio.fixture
async def document(way: Way) -> AsyncIterator[dict[str, Any]]:
    """A document that stands where the step begins; gone afterwards."""
    found = await made(way.model, way.start)
    yield found
    await way.model.guarded().delete_one({"_id": found["_id"]})


# --- what a model says --------------------------------------------------------------------------------------------


@each_model
async def test_a_model_says_of_each_state_what_may_follow(model: Any) -> None:
    states = states_of(model)
    assert set(model.transitions) == set(states)
    assert all(after <= set(states) for after in model.transitions.values())


@each_model
async def test_no_state_stands_apart(model: Any) -> None:
    led_to = {after for following in model.transitions.values() for after in following}
    apart = [state.name for state in states_of(model) if state not in led_to and not model.transitions[state]]
    assert not apart, "nothing leads to these, and they lead nowhere"


# --- legal steps --------------------------------------------------------------------------------------------------


@legal
async def test_a_legal_step_is_taken_and_told(way: Way, document: dict[str, Any]) -> None:
    after = await tried(way, document["_id"], document["version"])
    assert isinstance(after, dict), after
    assert (after["status"], after["version"]) == (way.end.value, document["version"] + 1)
    assert [step["status"] for step in after["history"][len(document["history"]) :]] == [way.end.value]
    assert after == await row(way.model, document["_id"])


@legal
async def test_a_legal_step_from_an_older_version_is_a_conflict(way: Way, document: dict[str, Any]) -> None:
    for version in (document["version"] - 1, document["version"] + 1):
        refused = await tried(way, document["_id"], version)
        assert isinstance(refused, Conflict)
        assert [one.path for one in refused.fields] == ["input.version"]
    assert await row(way.model, document["_id"]) == document


@pytest.mark.parametrize("way", [next(way for way in ways(model) if way.legal) for model in STAGED], ids=str)
async def test_of_twenty_at_once_one_takes_the_step(way: Way, document: dict[str, Any]) -> None:
    answers = await asyncio.gather(*(tried(way, document["_id"], document["version"]) for _ in range(20)))
    assert sum(isinstance(one, dict) for one in answers) == 1
    assert all(isinstance(one, dict | InvalidState | Conflict) for one in answers)
    after = await row(way.model, document["_id"])
    assert after["version"] == document["version"] + 1
    assert len(after["history"]) == len(document["history"]) + 1


# --- illegal ones -------------------------------------------------------------------------------------------------


@illegal
async def test_an_illegal_step_is_refused_with_the_legal_ones_and_changes_nothing(
    way: Way, document: dict[str, Any]
) -> None:
    steps = ", ".join(followers(way.model.transitions, way.start)) or "nothing"
    for version in (document["version"], document["version"] + 1, None):
        refused = await tried(way, document["_id"], version)
        assert isinstance(refused, InvalidState)
        assert refused.message == f"The {noun(way.model)} is {way.start.name}. What may follow: {steps}."
    assert await row(way.model, document["_id"]) == document


@each_way
async def test_no_step_is_taken_with_another_clinics_document(
    way: Way, document: dict[str, Any], clinic_b: Clinic
) -> None:
    async with tenant_scope(clinic_b.ref):
        theirs = await tried(way, document["_id"], document["version"])
        nobodys = await tried(way, ObjectId(), document["version"])
    assert isinstance(theirs, NotFound)
    assert isinstance(nobodys, NotFound)
    assert (theirs.message, theirs.fields) == (nobodys.message, nobodys.fields)
    assert await row(way.model, document["_id"]) == document
