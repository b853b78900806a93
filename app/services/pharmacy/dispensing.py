"""Handing out: by a prescription, never more than it lets; over the counter; or for use at the clinic.

What expires first is handed out first, and nothing that is expired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_turn
from app.errors import FieldError, InvalidState, NotFound, ValidationFailed
from app.services.audit import record
from app.services.care.people import actor_id
from app.services.changes import Row, build, checked, row_of
from app.services.idempotency import mark_of, once
from app.services.pharmacy.stock import Change, chosen, move, new_act, stored_item, stored_lot, turn
from app.services.references import check_references
from app.services.states import require_state
from models import Dispensing, InventoryItem, Prescription
from models.appointment import RequestMark
from models.inventory import ItemKind, MovementKind
from models.prescription import PrescriptionStatus
from models.values import now


def granted(item: Mapping[str, Any]) -> int:
    """How much of a prescription's item may be handed out in all, as far as its refills are granted."""
    refills = int(item.get("refills") or 0) - int(item.get("refills_left") or 0)
    return int(item["quantity"]) * (1 + refills)


def remaining(item: Mapping[str, Any]) -> int:
    """How much of it may still be handed out, as far as its refills are granted; what came back counts again."""
    return max(0, granted(item) - int(item.get("dispensed") or 0))


async def dispense(values: Mapping[str, Any], *, key: str | None = None) -> Row:
    """Hands out of an item of an active prescription; answers with the dispensing's row.

    `values`: `prescription_id, item_number, quantity`, and maybe `item_id` (which of the stock's items, where several
    are of the medicine), `lot_id` (else what expires first), `take_refill` (counts a refill off, when what was granted
    is used up), `note`. Raises NOT_FOUND or VALIDATION_FAILED at `input.…`, INVALID_STATE for a prescription that is
    not ACTIVE or lets no more be handed out, OUT_OF_STOCK, IDEMPOTENCY_CONFLICT.
    """
    mark = mark_of("dispenseMedicine", key, values)

    async def work() -> Row:
        prescription = await _prescription(values["prescription_id"], None)
        await _require_known(values)
        _require_active(prescription)
        prescribed = _prescribed(prescription, values["item_number"])
        checked(Dispensing, {name: values[name] for name in ("quantity", "note") if name in values})
        item = await _stocked(prescribed, values.get("item_id"))
        return await in_turn(turn(item["_id"]), lambda session: _dispensed(values, item["_id"], mark, session))

    return await once(Dispensing, mark, work)


async def _prescription(prescription_id: ObjectId, session: AsyncClientSession | None) -> Row:
    rows: list[Row] = await Prescription.rows(
        {"_id": prescription_id}, projection=["patient_id", "status", "version", "items"], limit=1, session=session
    )
    if not rows:
        raise NotFound.at("input.prescriptionId")
    return rows[0]


async def _require_known(values: Mapping[str, Any]) -> None:
    if values.get("item_id") is not None:
        await stored_item(values["item_id"], at="input.itemId")
    if values.get("lot_id") is not None:
        await stored_lot(values["lot_id"], at="input.lotId")


def _require_active(prescription: Row) -> None:
    require_state(Prescription, prescription, PrescriptionStatus.ACTIVE, "Only ACTIVE ones are handed out.")


def _prescribed(prescription: Row, number: int) -> Row:
    for item in prescription["items"]:
        if item["number"] == number:
            return dict(item)
    raise ValidationFailed.at("input.itemNumber", "is no item of the prescription")


async def _stocked(prescribed: Row, item_id: ObjectId | None) -> Row:
    """The stock's item for a medicine that was prescribed: the named one, else the only one.

    Raises VALIDATION_FAILED at `input.itemId` when it is of something else, when there is none, or several.
    """
    if item_id is not None:
        item = await stored_item(item_id, at="input.itemId")
        if item.get("medicine_id") != prescribed["medicine_id"]:
            raise ValidationFailed.at("input.itemId", f"is not {prescribed['name']}, which was prescribed")
        return item
    kept = {"medicine_id": prescribed["medicine_id"], "archived_at": None}
    rows = await InventoryItem.rows(kept, sort=[("name_key", 1), ("_id", 1)], limit=2)
    if not rows:
        raise ValidationFailed.at("input.itemId", f"{prescribed['name']} is not kept in stock")
    if len(rows) > 1:
        raise ValidationFailed.at("input.itemId", "say which: several items of the stock are of this medicine")
    return rows[0]


async def _dispensed(
    values: Mapping[str, Any], item_id: ObjectId, mark: RequestMark | None, session: AsyncClientSession
) -> Row:
    prescription = await _prescription(values["prescription_id"], session)
    _require_active(prescription)
    number = values["item_number"]
    await _count(prescription, number, values["quantity"], session, refill=bool(values.get("take_refill")))
    told = {
        "patient_id": prescription["patient_id"],
        "prescription_id": prescription["_id"],
        "prescription_item": number,
    }
    return await _hand_out(item_id, values, told, mark, session)


async def _count(prescription: Row, number: int, quantity: int, session: AsyncClientSession, *, refill: bool) -> None:
    """Counts what is handed out to the prescription, and a refill off it where one is taken.

    Raises INVALID_STATE when all that was granted is handed out, VALIDATION_FAILED for more than is left of it.
    """
    prescribed = _prescribed(prescription, number)
    left = remaining(prescribed)
    takes = refill and quantity > left
    if takes and prescribed["refills_left"] < 1:
        raise InvalidState("No refills are left: a new prescription is needed.")
    left += prescribed["quantity"] if takes else 0
    if left == 0:
        refills = prescribed["refills_left"]
        raise InvalidState(
            f"All that was granted is handed out. Refills left: {refills}" + (" (takeRefill)." if refills else ".")
        )
    if quantity > left:
        raise ValidationFailed.at("input.quantity", f"is more than may still be handed out, {left}")
    await counted(prescription, number, quantity, session, refills=1 if takes else 0)


async def counted(
    prescription: Row, number: int, quantity: int, session: AsyncClientSession, *, refills: int = 0
) -> None:
    """Adds to what was handed out of an item, or takes off it, if the prescription is as its row says."""
    place = next(at for at, item in enumerate(prescription["items"]) if item["number"] == number)
    same = {"_id": prescription["_id"], "version": prescription["version"]}
    done = await Prescription.guarded().update_one(
        same,
        {
            "$inc": {f"items.{place}.dispensed": quantity, f"items.{place}.refills_left": -refills, "version": 1},
            "$set": {"updated_at": now()},
        },
        session=session,
    )
    if not done.matched_count:
        raise InvalidState("The prescription was changed in the meantime.")


async def dispense_without_prescription(values: Mapping[str, Any], *, key: str | None = None) -> Row:
    """Hands out what needs no prescription, to a patient or for use at the clinic; the dispensing's row.

    `values`: `item_id, quantity`, and maybe `patient_id, lot_id, note`. Raises NOT_FOUND or VALIDATION_FAILED at
    `input.…`, INVALID_STATE for a medicine that is not sold over the counter, OUT_OF_STOCK, IDEMPOTENCY_CONFLICT.
    """
    mark = mark_of("dispenseWithoutPrescription", key, values)

    async def work() -> Row:
        await check_references(Dispensing, values, at="input")
        if values.get("lot_id") is not None:
            await stored_lot(values["lot_id"], at="input.lotId")
        checked(Dispensing, {name: values[name] for name in ("quantity", "note") if name in values})
        item = await stored_item(values["item_id"], at="input.itemId")
        if item["kind"] == ItemKind.MEDICINE.value and not item["over_the_counter"]:
            raise InvalidState(f"{item['name']} is handed out by prescription alone.")
        told = {"patient_id": values.get("patient_id")}
        return await in_turn(turn(item["_id"]), lambda session: _hand_out(item["_id"], values, told, mark, session))

    return await once(Dispensing, mark, work)


async def _hand_out(
    item_id: ObjectId,
    values: Mapping[str, Any],
    told: Mapping[str, Any],
    mark: RequestMark | None,
    session: AsyncClientSession,
) -> Row:
    item = await stored_item(item_id, at="input.itemId", session=session)
    lots = await chosen(item, values["quantity"], values.get("lot_id"), session)
    made: Dispensing = build(
        Dispensing,
        {
            "id": ObjectId(),
            **told,
            "item_id": item_id,
            "name": item["name"],
            "unit": item["unit"],
            "quantity": values["quantity"],
            "lots": [
                {"lot_id": lot["_id"], "lot": lot.get("lot"), "expires_on": lot.get("expires_on"), "quantity": units}
                for lot, units in lots
            ],
            "note": values.get("note"),
            "dispensed_by": actor_id(),
            "requests": [mark] if mark else [],
        },
    )
    tells = {**told, "dispensing_id": made.id}
    changes = [Change(lot, -units, MovementKind.DISPENSED, tells) for lot, units in lots]
    await made.insert(session=session)
    await move(item_id, changes, session, act=new_act())
    await record("stock.dispense", subject=made, patients=_patients(told), session=session)
    return row_of(made)


def _patients(told: Mapping[str, Any]) -> Sequence[ObjectId]:
    patient = told.get("patient_id")
    return [] if patient is None else [patient]


async def check_cancellable(prescription_id: ObjectId) -> None:
    """Raises INVALID_STATE for a prescription of which something was handed out: it is stopped, not withdrawn."""
    handed_out = {"_id": prescription_id, "items.dispensed": {"$gt": 0}}
    if await Prescription.guarded().count_documents(handed_out, limit=1):
        raise InvalidState(
            "Something of it was handed out: stop it.", [FieldError("input.id", "was handed out in part")]
        )
