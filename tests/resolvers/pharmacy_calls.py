"""How tests speak to the pharmacy of a clinic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from bson import ObjectId

from app.services.pharmacy.checks import differences
from app.tenancy.crossing import tenant_scope
from models import StockLot
from models.values import now
from tests.fixtures.clinics import Answer, Client, Clinic
from tests.resolvers.care_calls import Row, item, medicine, only, prescribed, rx_signed
from tests.resolvers.patient_calls import register

ITEM = """{ id version name kind unit place reorderLevel overTheCounter stock low archivedAt
    medicine { id } room { id } }"""
LOT = "{ id lot expiresOn expired daysLeft balance unitCost { amount currency } item { id } }"
MOVEMENT = """{ id kind quantity balance lot expiresOn reason reference act unitCost { amount currency } by { name }
    item { id stock low } stockLot { id balance } dispensing { id } reverses { id kind } }"""
DISPENSING = """{ id version name unit quantity returned prescriptionItem note dispensedBy { name }
    lots { lot expiresOn quantity returned } item { id stock } patient { id }
    prescription { id version items { number dispensed remaining refillsLeft } }
    movements { edges { node { kind quantity lot balance } } } }"""

INPUTS: Mapping[str, tuple[str, str]] = {
    "createInventoryItem": ("CreateInventoryItemInput", ITEM),
    "updateInventoryItem": ("UpdateInventoryItemInput", ITEM),
    "archiveInventoryItem": ("ArchiveInput", ITEM),
    "restoreInventoryItem": ("ArchiveInput", ITEM),
    "receiveStock": ("ReceiveStockInput", MOVEMENT),
    "adjustStock": ("AdjustStockInput", MOVEMENT),
    "wasteStock": ("WasteStockInput", MOVEMENT),
    "transferStock": ("TransferStockInput", MOVEMENT),
    "writeOffExpired": ("WriteOffExpiredInput", MOVEMENT),
    "dispenseMedicine": ("DispenseMedicineInput", DISPENSING),
    "dispenseWithoutPrescription": ("DispenseWithoutPrescriptionInput", DISPENSING),
    "returnDispensed": ("ReturnDispensedInput", DISPENSING),
}


def day(days: int) -> str:
    """So many days from today, as the clinics of the tests, whose day may be another one, would not mistake."""
    return (now().date() + timedelta(days=days)).isoformat()


LATER, SOON, LONG_AGO = day(400), day(20), "2020-01-31"


@dataclass(frozen=True, slots=True)
class Pharmacy:
    """Somebody who works in the pharmacy of a clinic."""

    client: Client
    clinic: Clinic

    async def tried(self, act: str, /, **values: Any) -> Answer:
        """A mutation by its name."""
        kind, fields = INPUTS[act]
        return await self.client.gql(f"mutation($input: {kind}!) {{ {act}(input: $input) {fields} }}", input=values)

    async def done(self, act: str, /, **values: Any) -> Any:
        """The answer of a mutation that must succeed."""
        return only(await self.tried(act, **values))

    async def kept(self, name: str | None = None, **values: Any) -> Row:
        """A new item: a supply of its own name unless the values say otherwise."""
        usual = {"name": name or f"Item {uuid4().hex[:10]}", "kind": "CONSUMABLE", "unit": "piece"}
        found: Row = await self.done("createInventoryItem", **{**usual, **values})
        return found

    async def medicine(self, **values: Any) -> Row:
        """A new item of a new medicine."""
        medicine_id = await medicine(self.clinic, f"Med {uuid4().hex[:10]}")
        found: Row = await self.done("createInventoryItem", medicineId=medicine_id, **{"unit": "tablet", **values})
        return found

    async def received(self, item: Row, quantity: int, lot: str | None = None, until: str = LATER) -> Row:
        """A lot that was delivered, as the movement tells it."""
        line = {"itemId": item["id"], "quantity": quantity, "lot": lot, "expiresOn": until}
        [moved] = await self.done("receiveStock", lines=[line])
        return dict(moved)

    async def aged(self, lot_id: str, until: str = LONG_AGO) -> None:
        """Lets the time of a lot pass: nobody receives what is expired."""

        async with tenant_scope(self.clinic.ref):
            passed = {"$set": {"expires_on": until, "order_day": until}}
            await StockLot.guarded().update_one({"_id": ObjectId(lot_id)}, passed)

    async def item(self, id: str) -> Row:
        found: Row = only(await self.client.gql(f"query($id: ID!) {{ inventoryItem(id: $id) {ITEM} }}", id=id))
        return found

    async def lots(self, **filter: Any) -> list[Row]:
        text = f"query($filter: StockLotFilter) {{ stockLots(filter: $filter) {{ edges {{ node {LOT} }} }} }}"
        return [edge["node"] for edge in only(await self.client.gql(text, filter=filter))["edges"]]

    async def movements(self, **filter: Any) -> list[Row]:
        """The latest first."""
        text = f"""query($filter: StockMovementFilter) {{
            stockMovements(first: 100, filter: $filter) {{ edges {{ node {MOVEMENT} }} }} }}"""
        return [edge["node"] for edge in only(await self.client.gql(text, filter=filter))["edges"]]

    async def prescription(self, doctor: Client, stocked: Row, **values: Any) -> Row:
        """A signed prescription of 20 units of an item's medicine, for a new patient."""
        patient = (await register(doctor))["id"]
        line = item(stocked["medicine"]["id"], **values)
        return await rx_signed(doctor, await prescribed(doctor, patient, line))

    async def adds_up(self) -> bool:
        """Whether every balance of the clinic is the sum of its movements."""
        async with tenant_scope(self.clinic.ref):
            return await differences() == []
