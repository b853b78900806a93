"""Whether every balance is the sum of its movements: recomputed from scratch and compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.tenancy.kinds import TENANT_FIELD
from models import InventoryItem, StockLot, StockMovement

Stages = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Documents that hold a sum, and those that it is the sum of: `stages` of an aggregation on the first give a group
    `_id: {id, owner}, sum` for each whose sum is another, where `sum` is by how much."""

    model: Any
    problem: str
    stages: Stages


def comparisons() -> Iterator[Comparison]:
    """One reading of each collection, however many documents: sums and parts are added up with opposite signs."""
    lots = _signed("$_id", "$balance")
    movements = _signed("$lot_id", {"$multiply": ["$quantity", -1]})
    yield Comparison(StockLot, "balance is not the sum of its movements", _united(lots, StockMovement, movements))
    items = _signed("$_id", "$stock")
    balances = _signed("$item_id", {"$multiply": ["$balance", -1]})
    yield Comparison(InventoryItem, "stock is not the sum of its lots", _united(items, StockLot, balances))


def _signed(id: str, units: Any) -> Mapping[str, Any]:
    return {"$project": {"_id": 0, "id": id, "owner": f"${TENANT_FIELD}", "units": units}}


def _united(sums: Mapping[str, Any], parts: Any, signed: Mapping[str, Any]) -> Stages:
    grouped = {"_id": {"id": "$id", "owner": "$owner"}, "sum": {"$sum": "$units"}}
    joined = {"coll": parts.guarded_name(), "pipeline": [signed]}
    return [sums, {"$unionWith": joined}, {"$group": grouped}, {"$match": {"sum": {"$ne": 0}}}]


async def differences() -> list[str]:
    """What does not add up at the clinic in scope, one sentence each; nothing when all does."""
    found: list[str] = []
    for one in comparisons():
        groups = await (await one.model.guarded().aggregate(list(one.stages))).to_list()
        name = one.model.guarded_name()
        found += [f"{name}/{group['_id']['id']}: {one.problem} (by {group['sum']})" for group in groups]
    return sorted(found)
