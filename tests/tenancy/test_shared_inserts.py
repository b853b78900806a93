"""Inserts that share a command: each is announced, sealed, judged and answered as if it were alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any

import pytest
from bson import ObjectId
from bson.errors import InvalidDocument
from pymongo.errors import BulkWriteError, DuplicateKeyError, WriteError

from app.errors import TenantGuardRefused, TenantScopeRequired
from app.tenancy.operations import failures_of
from tests.fixtures.documents import Gadget
from tests.fixtures.guard import Clinics


def gadget(number: int, **more: Any) -> dict[str, Any]:
    return {"_id": ObjectId(), "label": f"shared {number}", "size": number, **more}


async def at_once(work: Iterable[Awaitable[None]]) -> list[BaseException | None]:
    return await asyncio.gather(*work, return_exceptions=True)


def inserts_in(clinics: Clinics) -> list[int]:
    """How many documents each insert brought."""
    return [len(event.command["documents"]) for event, _ in clinics.seen if event.command_name == "insert"]


async def test_inserts_that_run_side_by_side_share_commands(clinics: Clinics) -> None:
    with clinics.at_a():
        clinics.seen.clear()
        outcomes = await at_once(Gadget.guarded().insert_shared(gadget(number)) for number in range(40))
    assert outcomes == [None] * 40
    assert sum(inserts_in(clinics)) == 40
    assert len(inserts_in(clinics)) < 10
    stored = [row for row in await clinics.stored(Gadget, clinics.a) if row["label"].startswith("shared")]
    assert sorted(row["size"] for row in stored) == list(range(40))


async def test_each_meets_what_it_would_have_met_alone(clinics: Clinics) -> None:
    there = ObjectId()
    with clinics.at_a():
        guarded = Gadget.guarded()
        await guarded.insert_shared(gadget(0, _id=there))
        outcomes = await at_once(
            guarded.insert_shared(gadget(number, **({"_id": there} if number % 3 == 0 else {}))) for number in range(30)
        )
    assert [type(one) for one in outcomes[::3]] == [DuplicateKeyError] * 10
    failed = outcomes[0]
    assert isinstance(failed, DuplicateKeyError)
    assert (failed.details or {})["keyPattern"] == {"_id": 1}
    assert [one for number, one in enumerate(outcomes) if number % 3] == [None] * 20


async def test_of_two_that_exclude_each_other_in_one_command_one_is_stored(clinics: Clinics) -> None:
    same = ObjectId()
    with clinics.at_a():
        outcomes = await at_once(Gadget.guarded().insert_shared(gadget(number, _id=same)) for number in range(5))
    assert outcomes.count(None) == 1
    assert sum(isinstance(one, DuplicateKeyError) for one in outcomes) == 4


async def test_two_clinics_never_share_a_command(clinics: Clinics) -> None:
    async def one(number: int) -> None:
        with clinics.at(clinics.a if number % 2 else clinics.b):
            await Gadget.guarded().insert_shared(gadget(number))

    clinics.seen.clear()
    assert await at_once(one(number) for number in range(20)) == [None] * 20
    for event, _ in clinics.seen:
        if event.command_name == "insert":
            assert len({document["tenant_id"] for document in event.command["documents"]}) == 1
    for tenant, odd in ((clinics.a, 1), (clinics.b, 0)):
        rows = [row for row in await clinics.stored(Gadget, tenant) if row["label"].startswith("shared")]
        assert {row["size"] % 2 for row in rows} == {odd}
        assert len(rows) == 10


async def test_what_is_no_document_of_the_clinic_is_refused(clinics: Clinics) -> None:
    with clinics.at_a(), pytest.raises(TenantGuardRefused):
        await Gadget.guarded().insert_shared(gadget(1, tenant_id=clinics.b.id))
    with pytest.raises(TenantScopeRequired):
        await Gadget.guarded().insert_shared(gadget(1))


async def test_what_cannot_be_sent_is_nobody_elses_failure(clinics: Clinics) -> None:
    with clinics.at_a():
        outcomes = await at_once(
            Gadget.guarded().insert_shared(gadget(number, odd=object() if number == 3 else None)) for number in range(9)
        )
    assert isinstance(outcomes.pop(3), InvalidDocument)
    assert outcomes == [None] * 8


async def test_whoever_leaves_before_their_command_begins_stores_nothing_and_hinders_nobody(clinics: Clinics) -> None:
    with clinics.at_a():
        first, second, third = (
            asyncio.ensure_future(Gadget.guarded().insert_shared(gadget(number))) for number in range(3)
        )
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(first, third)
    sizes = {row["size"] for row in await clinics.stored(Gadget, clinics.a) if row["label"].startswith("shared")}
    assert sizes == {0, 2}


def test_what_may_not_be_stored_for_good_is_everybodys_failure() -> None:
    error = BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64, "errmsg": "waiting timed out"}]})
    with pytest.raises(BulkWriteError):
        failures_of(error)


def test_a_document_that_the_database_refuses_is_told_so() -> None:
    error = BulkWriteError({"writeErrors": [{"index": 2, "code": 121, "errmsg": "failed validation"}]})
    [(at, failure)] = failures_of(error).items()
    assert (at, type(failure), failure.code) == (2, WriteError, 121)
