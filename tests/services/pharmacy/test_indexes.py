"""Each list of the pharmacy is read in its order by an index of its own, among thousands of rows of other kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from bson import ObjectId

from app.services.pharmacy import lists
from app.tenancy.crossing import tenant_scope
from app.tenancy.scope import Database
from models.inventory import IN_STOCK
from models.values import now
from tests.fixtures.clinics import Clinic, MakeClinic

ONE = ObjectId()
ROWS = 400
Sort = Sequence[tuple[str, int]]
NAME: Sort = [("name_key", 1), ("_id", 1)]
LATEST: Sort = [("at", -1), ("_id", -1)]
HANDED_OUT: Sort = [("dispensed_at", -1), ("_id", -1)]
EXPIRY: Sort = [("order_day", 1), ("_id", 1)]


@pytest_asyncio.fixture(scope="module")
async def stocked(plain_database: Database, make_clinic: MakeClinic) -> Clinic:
    """A clinic with many of each; every fiftieth is of `ONE`, low, or still in stock."""
    clinic, moment = await make_clinic(), now()

    def of(turn: int) -> ObjectId:
        return ObjectId() if turn % 50 else ONE

    def row(turn: int, **values: Any) -> dict[str, Any]:
        return {"_id": ObjectId(), "tenant_id": clinic.tenant.id, **values}

    turns = range(ROWS)
    documents = {
        "inventory_items": [
            row(turn, name_key=f"n{turn}", low=turn % 50 == 0, kind=f"k{turn % 7}", medicine_id=of(turn),
                room_id=of(turn), stock=1)
            for turn in turns
        ],
        "stock_lots": [
            row(turn, item_id=of(turn), lot_key=f"l{turn}", order_day=f"2020-01-{turn % 28 + 1:02}",
                balance=0 if turn % 10 else 1)
            for turn in turns
        ],
        "stock_movements": [
            row(turn, at=moment - timedelta(minutes=turn), kind=f"k{turn % 7}",
                **{name: of(turn) for name in ("item_id", "lot_id", "patient_id", "prescription_id")})
            for turn in turns
        ],
        "dispensings": [
            row(turn, dispensed_at=moment - timedelta(minutes=turn),
                **{name: of(turn) for name in ("item_id", "patient_id", "prescription_id")})
            for turn in turns
        ],
    }  # fmt: skip
    for name, rows in documents.items():
        await plain_database[name].insert_many(rows)
    return clinic


LISTS: Sequence[tuple[str, Mapping[str, Any], Sort, str]] = (
    ("inventory_items", {"archived_at": None}, NAME, "name"),
    ("inventory_items", {"archived_at": None, "low": True}, NAME, "low_name"),
    ("inventory_items", {"archived_at": None, "medicine_id": ONE}, NAME, "medicine_id_name"),
    ("inventory_items", {"archived_at": None, "room_id": ONE}, NAME, "room_id_name"),
    ("stock_lots", {}, EXPIRY, "order_day"),
    ("stock_lots", {**IN_STOCK, "order_day": {"$lte": "2030-01-01"}}, EXPIRY, "in_stock"),
    ("stock_lots", {**IN_STOCK, "item_id": ONE, "order_day": {"$gte": "2020-01-01"}}, EXPIRY, "item_in_stock"),
    ("stock_lots", {"item_id": ONE}, [("order_day", -1), ("_id", -1)], "item_order_day"),
    ("stock_lots", {"lot_key": "l7"}, EXPIRY, "lot_order_day"),
    ("stock_movements", {}, LATEST, "at"),
    ("stock_movements", {"item_id": ONE}, LATEST, "item_id_at"),
    ("stock_movements", {"lot_id": ONE}, LATEST, "lot_id_at"),
    ("stock_movements", {"patient_id": ONE}, LATEST, "patient_id_at"),
    ("stock_movements", {"prescription_id": ONE}, LATEST, "prescription_id_at"),
    ("dispensings", {}, HANDED_OUT, "dispensed_at"),
    ("dispensings", {"patient_id": ONE}, HANDED_OUT, "patient_id_dispensed_at"),
    ("dispensings", {"prescription_id": ONE}, HANDED_OUT, "prescription_id_dispensed_at"),
    ("dispensings", {"item_id": ONE}, HANDED_OUT, "item_id_dispensed_at"),
)


@pytest.mark.parametrize(("collection", "where", "sort", "index"), LISTS, ids=[f"{one[0]} {one[3]}" for one in LISTS])
async def test_a_list_reads_its_own_index_in_order(
    plain_database: Database,
    stocked: Clinic,
    collection: str,
    where: Mapping[str, Any],
    sort: Sort,
    index: str,
) -> None:
    found = plain_database[collection].find({"$and": [{"tenant_id": stocked.tenant.id}, where]}).limit(21)
    plan = str((await found.sort(list(sort)).explain())["queryPlanner"]["winningPlan"])
    assert f"'indexName': '{index}'" in plan
    assert "'SORT'" not in plan


async def test_the_filters_are_those_of_the_lists(stocked: Clinic) -> None:
    async with tenant_scope(stocked.ref):
        assert lists.low() == {"low": True, "archived_at": None}
        assert lists.lots(item_id=ONE, lot=None, in_stock=True) == {**IN_STOCK, "item_id": ONE}
        assert lists.expiring(3).keys() == {"balance", "order_day"}
