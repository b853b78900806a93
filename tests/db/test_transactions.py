"""Transactions: all or nothing, one clinic each, bounded."""

from __future__ import annotations

import asyncio

import pytest
from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure

from app.db import transactions
from app.db.transactions import in_transaction, in_turn
from app.errors import TenantGuardRefused, Unavailable
from app.tenancy import spanning
from app.tenancy.crossing import tenant_scope
from tests.fixtures.documents import Badge, Gadget, Person
from tests.fixtures.guard import Clinics


async def test_all_of_it_happens(clinics: Clinics) -> None:
    async def work(session: AsyncClientSession) -> str:
        await Gadget(label="one").insert(session=session)
        await Person(name="two").insert(session=session)
        return "done"

    with clinics.at_a():
        assert await in_transaction(work) == "done"
        assert await Gadget.count() == 4
        assert await Person.count() == 4


async def test_a_failure_leaves_nothing(clinics: Clinics) -> None:
    async def work(session: AsyncClientSession) -> None:
        await Gadget(label="one").insert(session=session)
        raise KeyError("on purpose")

    with clinics.at_a():
        with pytest.raises(KeyError):
            await in_transaction(work)
        assert await Gadget.count() == 3


async def test_a_transaction_serves_one_clinic(clinics: Clinics) -> None:
    async def work(session: AsyncClientSession) -> None:
        with clinics.at_a():
            await Gadget(label="a's").insert(session=session)
        with clinics.at_b():
            await Gadget(label="b's").insert(session=session)

    with pytest.raises(TenantGuardRefused):
        await in_transaction(work)
    assert await clinics.raw(Gadget).count_documents({"label": {"$in": ["a's", "b's"]}}) == 0


async def test_a_session_that_only_read_for_one_clinic_is_refused_to_another(clinics: Clinics) -> None:
    async with clinics.client.start_session() as session:
        with clinics.at_a():
            await Gadget.find_one({}, session=session)
        with clinics.at_b(), pytest.raises(TenantGuardRefused):
            await Gadget.find_one({}, session=session)


async def test_onboarding_writes_the_platform_and_the_new_clinic_together(clinics: Clinics) -> None:
    async def work(session: AsyncClientSession) -> None:
        await Badge(code="new clinic").insert(session=session)
        async with tenant_scope(clinics.b):
            await Gadget(label="first").insert(session=session)
        await Badge(code="its owner").insert(session=session)

    await in_transaction(work)
    assert await Badge.count() == 2
    assert await clinics.raw(Gadget).count_documents({"label": "first", "tenant_id": clinics.b.id}) == 1


async def test_colliding_transactions_are_tried_again(clinics: Clinics) -> None:
    with clinics.at_a():
        counter = await Gadget(label="counter").insert()

        async def work(session: AsyncClientSession) -> None:
            row = await Gadget.guarded().find_one({"_id": counter.id}, session=session)
            assert row is not None
            await Gadget.guarded().update_one({"_id": counter.id}, {"$set": {"size": row["size"] + 1}}, session=session)

        await asyncio.gather(*(in_transaction(work) for _ in range(4)))
        again = await Gadget.get(counter.id)
    assert again is not None
    assert again.size == 4


async def test_tries_are_bounded(clinics: Clinics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spanning, "MAX_TRIES", 2)
    tries = 0

    async def work(session: AsyncClientSession) -> None:
        nonlocal tries
        tries += 1
        raise OperationFailure("busy", 112, {"errorLabels": ["TransientTransactionError"]})

    with pytest.raises(Unavailable):
        await in_transaction(work)
    assert tries == 2


async def test_a_snapshot_does_not_move(clinics: Clinics) -> None:
    async def work(session: AsyncClientSession) -> tuple[int, int]:
        first = await Gadget.find({}, session=session).count()
        await clinics.raw(Gadget).insert_one({"_id": ObjectId(), "label": "x", "tenant_id": clinics.a.id})
        return first, await Gadget.find({}, session=session).count()

    with clinics.at_a():
        assert await in_transaction(work) == (3, 3)


async def test_many_who_want_one_document_take_turns(clinics: Clinics) -> None:
    with clinics.at_a():
        gadget = await Gadget(label="0").insert()

        async def work(session: AsyncClientSession) -> None:
            [row] = await Gadget.rows({"_id": gadget.id}, session=session)
            following = str(int(row["label"]) + 1)
            await Gadget.guarded().update_one({"_id": gadget.id}, {"$set": {"label": following}}, session=session)

        await asyncio.gather(*(in_turn(gadget.id, work) for _ in range(40)))
        [row] = await Gadget.rows({"_id": gadget.id})
        assert row["label"] == "40"


async def test_a_turn_that_does_not_come_is_not_waited_for_for_ever(
    clinics: Clinics, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, begun = asyncio.Event(), asyncio.Event()

    async def slow(_: AsyncClientSession) -> None:
        begun.set()
        await go_on.wait()

    async def quick(_: AsyncClientSession) -> str:
        return "done"

    with clinics.at_a():
        first = asyncio.create_task(in_turn("one", slow))
        await begun.wait()
        monkeypatch.setattr(transactions, "MAX_SECONDS", 0.05)
        with pytest.raises(Unavailable):
            await in_turn("one", quick)
        monkeypatch.undo()
        assert await in_turn("another", quick) == "done"
    with clinics.at_b():
        assert await in_turn("one", quick) == "done"
    go_on.set()
    await first
