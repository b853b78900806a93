"""Refills: asked for by the patient or for them, and counted off the prescription when somebody approves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import in_transaction
from app.errors import Conflict, FieldError, InvalidState, NotFound, ValidationFailed
from app.services.care.people import actor_id
from app.services.changes import Row, build, checked, row_of
from app.services.states import advance, require_state
from app.tenancy.scope import current_scope
from models import Prescription, RefillRequest
from models.prescription import PrescriptionStatus, RefillStatus
from models.values import now


async def request(values: Mapping[str, Any], *, mine: ObjectId | None = None) -> Row:
    """Asks for more of a prescription; answers with the request's row.

    `values`: `prescription_id`, and maybe `item_numbers` (else all that have refills left), `note`. `mine` is the
    patient who asks for themselves. Raises NOT_FOUND or VALIDATION_FAILED at `input.…`, INVALID_STATE unless it is
    ACTIVE, CONFLICT while another request is open.
    """
    prescription = await _prescription(values["prescription_id"], mine)
    numbers = _numbers(prescription, values.get("item_numbers"))
    wanted: RefillRequest = build(
        RefillRequest,
        {
            "id": ObjectId(),
            "patient_id": prescription["patient_id"],
            "prescription_id": prescription["_id"],
            "doctor_id": prescription["doctor_id"],
            "item_numbers": numbers,
            "note": values.get("note"),
            "by_patient": mine is not None,
            "requested_by": actor_id() if mine is None else None,
        },
    )
    try:
        await wanted.insert()
    except DuplicateKeyError:
        taken = [FieldError("input.prescriptionId", "has an open request already")]
        raise Conflict("A refill was asked for already.", taken) from None
    return row_of(wanted)


async def _prescription(prescription_id: ObjectId, mine: ObjectId | None) -> Row:
    about = {"_id": prescription_id, **({"patient_id": mine} if mine is not None else {})}
    wanted = ["patient_id", "doctor_id", "status", "items.number", "items.refills_left"]
    rows = await Prescription.rows(about, projection=wanted, limit=1)
    if not rows or (mine is not None and rows[0]["status"] == PrescriptionStatus.DRAFT):
        raise NotFound.at("input.prescriptionId")
    require_state(Prescription, rows[0], PrescriptionStatus.ACTIVE, "Refills are for ACTIVE ones.")
    return rows[0]


def _numbers(prescription: Row, asked: Sequence[int] | None) -> list[int]:
    """The items that are wanted. Raises VALIDATION_FAILED where one has no refill left, or is none."""
    left = {item["number"] for item in prescription["items"] if item["refills_left"] > 0}
    wanted = sorted(set(asked)) if asked else sorted(left)
    if not wanted:
        raise InvalidState("No refills are left: a new prescription is needed.")
    if wrong := [at for at, one in enumerate(asked or ()) if one not in left]:
        raise ValidationFailed(fields=[FieldError(f"input.itemNumbers.{at}", "has no refill left") for at in wrong])
    return wanted


async def approve(request_id: ObjectId, version: int, answer: str | None) -> Row:
    """Grants the refill: each of its items has one less left, all or none. Answers with the request's new row.

    Raises NOT_FOUND at `input.id`, INVALID_STATE when it is decided, or when the prescription does not allow it.
    """
    values = _decided(answer)

    async def work(session: AsyncClientSession) -> Row:
        row = await advance(RefillRequest, request_id, version, RefillStatus.APPROVED, values=values, session=session)
        await _count_off(row["prescription_id"], row["item_numbers"], session)
        return row

    return await in_transaction(work)


async def _count_off(prescription_id: ObjectId, numbers: Sequence[int], session: AsyncClientSession) -> None:
    left = {f"items.{number - 1}.refills_left": {"$gte": 1} for number in numbers}
    less = {f"items.{number - 1}.refills_left": -1 for number in numbers}
    done = await Prescription.guarded().update_one(
        {"_id": prescription_id, "status": PrescriptionStatus.ACTIVE.value, **left},
        {"$inc": {**less, "version": 1}, "$set": {"updated_at": now()}},
        session=session,
    )
    if not done.matched_count:
        raise InvalidState("The prescription is not ACTIVE any more, or has no refill left.")


async def decline(request_id: ObjectId, version: int, answer: str) -> Row:
    """Refuses the refill; `answer` tells the patient why. Answers with the new row."""
    return await advance(RefillRequest, request_id, version, RefillStatus.DECLINED, values=_decided(answer))


async def withdraw(request_id: ObjectId, version: int, *, mine: ObjectId | None = None) -> Row:
    """The refill is not needed any more. `mine` is the patient, when they say so themselves. The new row."""
    state = {"patient_id": mine} if mine is not None else None
    if mine is not None and not await RefillRequest.rows({"_id": request_id, **(state or {})}, limit=1):
        raise NotFound.at("input.id")
    return await advance(RefillRequest, request_id, version, RefillStatus.CANCELLED, state=state)


def _decided(answer: str | None) -> Row:
    values = checked(RefillRequest, {"answer": answer})
    return {**values, "decided_at": now(), "decided_by": current_scope().signed_in.user_id}
