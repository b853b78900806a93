"""The laws of the stock: whatever is done in whatever order, each balance is the sum of its movements and never below
zero, and what is handed out is what expires first."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from bson import ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import AppError, InvalidState, OutOfStock, ValidationFailed
from app.services.pharmacy import counting, dispensing, items, receiving, returning
from app.services.pharmacy.checks import differences
from app.services.pharmacy.stock import first_expiring
from app.tenancy.scope import Actor, Scope, open_scope
from models import InventoryItem, StockLot, StockMovement
from models.inventory import ItemKind
from models.values import now
from tests.fixtures.clinics import Clinic, MakeClinic

Row = dict[str, Any]
LOTS = range(4)
UNITS = st.integers(1, 12)

STEPS = st.one_of(
    st.tuples(st.just("receive"), st.sampled_from(LOTS), UNITS),
    st.tuples(st.just("hand_out"), st.just(0), st.integers(1, 25)),
    st.tuples(st.just("hand_out_of"), st.sampled_from(LOTS), UNITS),
    st.tuples(st.just("take_back"), st.integers(0, 5), UNITS),
    st.tuples(st.just("take_back_as_waste"), st.integers(0, 5), UNITS),
    st.tuples(st.just("count"), st.sampled_from(LOTS), st.integers(0, 20)),
    st.tuples(st.just("waste"), st.sampled_from(LOTS), UNITS),
    st.tuples(st.just("expire"), st.sampled_from(LOTS), st.just(0)),
    st.tuples(st.just("write_off"), st.sampled_from(LOTS), st.just(0)),
)


@pytest_asyncio.fixture(scope="session")
async def law_clinic(make_clinic: MakeClinic) -> Clinic:
    return await make_clinic()


@pytest_asyncio.fixture
async def acting(law_clinic: Clinic) -> AsyncIterator[Scope]:
    """Somebody acts at the clinic; the test itself opens the scope."""
    actor = Actor(user_id=ObjectId(), session_id="test", name="T. Ester", email="t@example.com")
    yield Scope(request_id="test", tenant=law_clinic.ref, actor=actor)


@dataclass
class Shelf:
    """One item, driven by the services, beside what a plain count of it says. Of each lot: its units, by its number."""

    item_id: ObjectId
    units: dict[int, int] = field(default_factory=dict)
    expired: set[int] = field(default_factory=set)
    out: list[Row] = field(default_factory=list)

    def day(self, lot: int) -> str:
        """Lots expire in the order of their numbers, which is not that in which they come."""
        return (now().date() + timedelta(days=30 + 10 * lot)).isoformat()

    async def lot_id(self, lot: int) -> ObjectId:
        rows = await StockLot.rows({"item_id": self.item_id, "lot": f"L{lot}"})
        found: ObjectId = rows[0]["_id"] if rows else ObjectId()
        return found

    async def receive(self, lot: int, units: int) -> None:
        line = {"item_id": self.item_id, "quantity": units, "lot": f"L{lot}", "expires_on": self.day(lot)}
        if lot in self.expired:
            return
        await receiving.receive({"lines": [line]})
        self.units[lot] = self.units.get(lot, 0) + units

    def usable(self) -> list[int]:
        return [lot for lot in sorted(self.units) if lot not in self.expired and self.units[lot]]

    async def hand_out(self, _: int, units: int) -> None:
        there = sum(self.units[lot] for lot in self.usable())
        values = {"item_id": self.item_id, "quantity": units}
        if there < units:
            with pytest.raises(OutOfStock) as refused:
                await dispensing.dispense_without_prescription(values)
            assert refused.value.available == there
            return
        made = await dispensing.dispense_without_prescription(values)
        taken = [(int(part["lot"][1:]), part["quantity"]) for part in made["lots"]]
        assert [lot for lot, _ in taken] == self.usable()[: len(taken)], "what expires first goes first"
        assert all(quantity == self.units[lot] for lot, quantity in taken[:-1]), "and goes as a whole"
        self._went(made, taken)

    async def hand_out_of(self, lot: int, units: int) -> None:
        values = {"item_id": self.item_id, "quantity": units, "lot_id": await self.lot_id(lot)}
        if lot not in self.units:
            return
        try:
            made = await dispensing.dispense_without_prescription(values)
        except (OutOfStock, InvalidState):
            assert lot in self.expired or self.units[lot] < units
            return
        assert lot not in self.expired
        self._went(made, [(lot, units)])

    def _went(self, made: Row, taken: list[tuple[int, int]]) -> None:
        for lot, quantity in taken:
            self.units[lot] -= quantity
        self.out.append(made)

    async def take_back(self, place: int, units: int, *, to_stock: bool = True) -> None:
        if place >= len(self.out):
            return
        before = self.out[place]
        values = {"dispensing_id": before["_id"], "quantity": units, "to_stock": to_stock, "reason": "Not needed"}
        try:
            after = await returning.give_back(values)
        except (InvalidState, ValidationFailed):
            return
        self.out[place] = after
        assert after["returned"] == before["returned"] + units <= after["quantity"]
        assert after["returned"] == sum(part["returned"] for part in after["lots"])
        for old, new in zip(before["lots"], after["lots"], strict=True):
            came = new["returned"] - old["returned"]
            lot = int(new["lot"][1:])
            assert not (came and to_stock and lot in self.expired)
            self.units[lot] += came if to_stock else 0

    async def take_back_as_waste(self, place: int, units: int) -> None:
        await self.take_back(place, units, to_stock=False)

    async def count(self, lot: int, counted: int) -> None:
        if lot in self.units:
            await counting.adjust({"lot_id": await self.lot_id(lot), "counted": counted, "reason": "Counted"})
            self.units[lot] = counted

    async def waste(self, lot: int, units: int) -> None:
        if lot not in self.units:
            return
        values = {"lot_id": await self.lot_id(lot), "quantity": units, "reason": "Broken"}
        if self.units[lot] < units:
            with pytest.raises(OutOfStock) as refused:
                await counting.waste(values)
            assert refused.value.available == self.units[lot]
            return
        await counting.waste(values)
        self.units[lot] -= units

    async def expire(self, lot: int, _: int) -> None:
        if lot in self.units:
            over = {"expires_on": f"2020-01-0{lot + 1}", "order_day": f"2020-01-0{lot + 1}"}
            await StockLot.guarded().update_one({"_id": await self.lot_id(lot)}, {"$set": over})
            self.expired.add(lot)

    async def write_off(self, lot: int, _: int) -> None:
        try:
            await counting.write_off_expired({"lot_ids": [await self.lot_id(lot)]})
        except AppError:
            assert lot not in self.expired or not self.units[lot]
            return
        assert lot in self.expired
        self.units[lot] = 0

    async def check(self) -> None:
        """What is stored, what the movements add up to and what was counted along are one and the same."""
        [item] = await InventoryItem.rows({"_id": self.item_id})
        lots = {row["_id"]: row for row in await StockLot.rows({"item_id": self.item_id})}
        moved = await StockMovement.rows({"item_id": self.item_id}, sort=[("_id", 1)])
        assert {int(row["lot"][1:]): row["balance"] for row in lots.values()} == self.units
        running = dict.fromkeys(lots, 0)
        for one in moved:
            running[one["lot_id"]] += one["quantity"]
            assert running[one["lot_id"]] == one["balance"] >= 0
        assert running == {id: row["balance"] for id, row in lots.items()}
        assert item["stock"] == sum(running.values())
        assert item["low"] is (item["stock"] < item["reorder_level"])


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=18))
async def test_any_sequence_of_acts_keeps_every_balance_the_sum_of_its_movements(
    acting: Scope, steps: list[tuple[str, int, int]]
) -> None:
    with open_scope(acting):
        kept = {"name": f"Law {uuid4().hex}", "kind": ItemKind.CONSUMABLE, "unit": "piece", "reorder_level": 5}
        shelf = Shelf((await items.create(kept))["_id"])
        for name, first, second in steps:
            await getattr(shelf, name)(first, second)
            await shelf.check()
        assert await differences() == []


@given(st.lists(st.integers(0, 20), max_size=8), st.integers(1, 100))
def test_lots_are_used_up_in_their_order(balances: list[int], wanted: int) -> None:
    lots: list[Row] = [{"_id": at, "balance": balance} for at, balance in enumerate(balances)]
    taken = first_expiring(lots, wanted)
    assert sum(units for _, units in taken) == min(wanted, sum(balances))
    assert all(0 < units <= lot["balance"] for lot, units in taken)
    places = [lot["_id"] for lot, _ in taken]
    assert places == sorted(places)
    if taken:
        used_up = [lot["_id"] for lot, units in taken if units == lot["balance"]]
        assert [at for at in range(places[-1]) if balances[at]] == [at for at in used_up if at < places[-1]]


item_of = st.fixed_dictionaries({"quantity": st.integers(1, 100), "refills": st.integers(0, 24)})


@given(item_of, st.data())
def test_no_more_is_to_be_had_than_was_prescribed(item: Row, data: st.DataObject) -> None:
    left = data.draw(st.integers(0, item["refills"]))
    most = item["quantity"] * (1 + item["refills"])
    handed_out = data.draw(st.integers(0, item["quantity"] * (1 + item["refills"] - left)))
    remaining = dispensing.remaining({**item, "refills_left": left, "dispensed": handed_out})
    assert remaining >= 0
    assert handed_out + remaining + left * item["quantity"] == most
