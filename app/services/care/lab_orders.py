"""Orders to laboratories: from the order over the sample to results, whose review and release the order follows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import InvalidState, NotFound
from app.services.care.orders import place
from app.services.care.people import actor_id, refuse_future
from app.services.changes import Row, build, checked, row_of
from app.services.states import advance
from models import LabOrder, LabResult
from models.lab import LabResultStatus, LabStep
from models.lab_order import LabOrderStatus
from models.values import now

_S = LabOrderStatus
_AFTER_RESULTS = (_S.RESULTED, _S.REVIEWED, _S.RELEASED)
"""The states that follow those of the results, in order."""


async def order(values: Mapping[str, Any]) -> Row:
    """Orders panels for a patient; answers with the order's row. The laboratory reports by its `number`."""
    return await place(LabOrder, values, series="LO")


async def collect(order_id: ObjectId, version: int, specimen: str | None, collected_at: datetime | None) -> Row:
    """The sample is taken. Answers with the new row."""
    refuse_future(collected_at, at="input.collectedAt")
    values: Row = {"collected_at": collected_at or now(), "collected_by": actor_id()}
    if specimen is not None:
        values |= checked(LabOrder, {"specimen": specimen})
    return await advance(LabOrder, order_id, version, _S.COLLECTED, values=values)


async def cancel(order_id: ObjectId, version: int, reason: str) -> Row:
    """It is not needed any more. Answers with the new row."""
    return await advance(LabOrder, order_id, version, _S.CANCELLED, reason=reason)


async def order_of(number: str | None, session: AsyncClientSession) -> Row | None:
    """The order of that number: its id, patient, doctor and state."""
    if number is None:
        return None
    wanted = ["patient_id", "doctor_id", "status"]
    rows = await LabOrder.rows({"number": number.upper()}, projection=wanted, limit=1, session=session)
    return rows[0] if rows else None


async def follow(order_id: ObjectId, session: AsyncClientSession) -> None:
    """Brings an order to where its results stand, within the transaction that has just changed one of them.

    Nothing is released before all is. It writes before it reads, so of two transactions that change results of one
    order the later sees what the earlier did.
    """
    row = await LabOrder.guarded().find_one_and_update(
        {"_id": order_id},
        {"$set": {"updated_at": now()}},
        projection={"status": 1},
        return_document=ReturnDocument.AFTER,
        session=session,
    )
    current = {"lab_order_id": order_id, "current": True}
    results = await LabResult.rows(current, projection=["status"], session=session)
    if row is None or not results or row["status"] == _S.CANCELLED:
        return
    wanted = min(_AFTER_RESULTS.index(_S(one["status"])) for one in results)
    status = _S(row["status"])
    if status in _AFTER_RESULTS and _AFTER_RESULTS.index(status) <= wanted:
        steps = _AFTER_RESULTS[_AFTER_RESULTS.index(status) + 1 : wanted + 1]
    else:  # it had none yet, or one came that was not looked at
        steps = _AFTER_RESULTS[: wanted + 1]
    for step in steps:
        await advance(LabOrder, order_id, None, step, session=session)


async def record_result(values: Mapping[str, Any]) -> Row:
    """Enters by hand what was found for an order, in the clinic's own laboratory; answers with the result's row.

    `values`: `lab_order_id, observations`, and maybe `panel` (else the order's first), `performed_at`, `comment`.
    Raises NOT_FOUND at `input.labOrderId`, INVALID_STATE for an order that was cancelled, VALIDATION_FAILED.
    """
    refuse_future(values.get("performed_at"), at="input.performedAt")
    wanted = ["patient_id", "doctor_id", "number", "panels", "status"]
    rows = await LabOrder.rows({"_id": values["lab_order_id"]}, projection=wanted, limit=1)
    if not rows:
        raise NotFound.at("input.labOrderId")
    found = rows[0]
    if found["status"] == _S.CANCELLED:
        raise InvalidState("The lab order is CANCELLED. What may follow: nothing.")
    moment = now()
    result: LabResult = build(
        LabResult,
        {
            "panel": found["panels"][0],
            "performed_at": moment,
            **values,
            "id": ObjectId(),
            "patient_id": found["patient_id"],
            "doctor_id": found["doctor_id"],
            "accession": found["number"],
            "order_number": found["number"],
            "reported_at": moment,
            "history": [LabStep(by=actor_id(), action="entered", status=LabResultStatus.RESULTED)],
        },
    )

    async def work(session: AsyncClientSession) -> None:
        await result.insert(session=session)
        await follow(values["lab_order_id"], session)

    await in_transaction(work)
    return row_of(result)
