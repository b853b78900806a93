"""What laboratories found: from report to result, newer reports over older ones, review and release."""

from __future__ import annotations

from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import Conflict, InvalidState, NotFound
from app.services.audit import record
from app.services.care.lab_orders import follow, order_of
from app.services.changes import Row, another_version, build, storable
from app.tenancy.scope import current_scope
from models import LabMessage, LabResult
from models.lab import NEXT, LabResultStatus, LabStep, QuarantineReason
from models.values import now

_CONTENT = ("observations", "comment", "panel", "order_number", "performed_at", "reported_at")


class Refused(Exception):
    """A report that no machine may file, and why."""

    def __init__(self, reason: QuarantineReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


async def file_report(
    message: LabMessage, *, patient_id: ObjectId, by_hand: bool, session: AsyncClientSession
) -> LabResult | None:
    """Stores a message's report as a result of the patient, within a transaction; None when it is known word for word.

    In whatever order the reports on one sample come, the newest is current in the end and the others are superseded.
    A result that names an order of the clinic's belongs to it, and the order follows. Raises `Refused` when this
    version is known with another content and, unless a person says so (`by_hand`), when the sample or the order is
    another patient's. Raises the driver's `DuplicateKeyError` when another report on the same sample
    came at this very moment: then try again.
    """
    made = _result(message, patient_id)
    if (order := await _order_for(made, by_hand=by_hand, session=session)) is not None:
        made.lab_order_id, made.doctor_id = order["_id"], order["doctor_id"]
    sample = {"connection_id": made.connection_id, "accession": made.accession}
    known = await LabResult.find(sample, session=session).to_list()
    same = next((one for one in known if one.report_version == made.report_version), None)
    if same is not None:
        if same.patient_id == patient_id and _content(same) == _content(made):
            return None
        raise Refused(QuarantineReason.VERSION_TAKEN)
    current = next((one for one in known if one.current), None)
    if current is not None and current.patient_id != patient_id and not by_hand:
        raise Refused(QuarantineReason.OTHER_PATIENT)
    if current is not None and current.report_version > made.report_version:
        made.current, made.superseded_at = False, now()
    elif current is not None:
        await _supersede(current, session, mistaken=current.patient_id != patient_id)
    await made.insert(session=session)
    for order_id in {one.lab_order_id for one in (made, current) if one is not None}:
        if order_id is not None:
            await follow(order_id, session)
    return made


async def _order_for(made: LabResult, *, by_hand: bool, session: AsyncClientSession) -> Row | None:
    """The clinic's order that a result names, if it is one. Raises `Refused` when it is another patient's."""
    found = await order_of(made.order_number, session)
    if found is None or found["patient_id"] == made.patient_id:
        return found
    if by_hand:
        return None
    raise Refused(QuarantineReason.ORDER_DIFFERS)


def _result(message: LabMessage, patient_id: ObjectId) -> LabResult:
    report = message.report
    if report is None:
        raise InvalidState("The content of the message is gone.")
    values: dict[str, Any] = {name: getattr(report, name) for name in (*_CONTENT, "accession")}
    made: LabResult = build(
        LabResult,
        {
            **values,
            "id": ObjectId(),
            "patient_id": patient_id,
            "connection_id": message.connection_id,
            "lab_message_id": message.id,
            "report_version": report.version,
            "received_at": message.received_at,
            "history": [LabStep(by=_actor_id(), action="received", status=LabResultStatus.RESULTED)],
        },
        at="",
    )
    return made


def _content(result: LabResult) -> dict[str, Any]:
    return result.model_dump(include=set(_CONTENT))


async def _supersede(older: LabResult, session: AsyncClientSession, *, mistaken: bool) -> None:
    """Takes the place of the present report from one. Its version grows, so whoever is about to release it fails.

    One that turned out to be about somebody else (`mistaken`) is no longer released either: its patient must not go on
    reading another's values.
    """
    status = LabResultStatus.RESULTED if mistaken else older.status
    values = {"current": False, "superseded_at": now(), "status": status.value}
    step = LabStep(by=_actor_id(), action="withdrawn" if mistaken else "superseded", status=status)
    await LabResult.guarded().update_one({"_id": older.key, "current": True}, _step_to(values, step), session=session)


def _step_to(values: dict[str, Any], step: LabStep) -> dict[str, Any]:
    return {
        "$set": {**values, "updated_at": now()},
        "$inc": {"version": 1},
        "$push": {"history": storable(step)},
    }


def _actor_id() -> Any:
    actor = current_scope().actor
    return actor.user_id if actor is not None else None


# --- steps --------------------------------------------------------------------------------------------------------


async def review(result_id: ObjectId, version: int) -> None:
    """Somebody has looked at the result. Raises INVALID_STATE unless it is RESULTED and the newest report."""
    await _advance(result_id, version, LabResultStatus.RESULTED, "reviewed")


async def release(result_id: ObjectId, version: int) -> None:
    """The patient may see it from now on. Raises INVALID_STATE unless it is REVIEWED and the newest report."""
    await _advance(result_id, version, LabResultStatus.REVIEWED, "released")


async def _advance(result_id: ObjectId, version: int, before: LabResultStatus, action: str) -> None:
    after = NEXT[before]
    assert after is not None  # noqa: S101 - the callers above name states that something follows
    asked = {"_id": result_id, "version": version, "status": before.value, "current": True}
    update = _step_to({"status": after.value}, LabStep(by=_actor_id(), action=action, status=after))

    async def work(session: AsyncClientSession) -> None:
        done = await LabResult.guarded().update_one(asked, update, session=session)
        if not done.matched_count:
            raise Conflict
        found = await LabResult.get(result_id, session=session)
        patients = [found.patient_id] if found else []
        if found is not None and found.lab_order_id is not None:
            await follow(found.lab_order_id, session)
        await record(f"lab_result.{action}", subject=found, patients=patients, session=session)

    try:
        await in_transaction(work)
    except Conflict:
        raise await _why_not(result_id, before) from None


async def _why_not(result_id: ObjectId, before: LabResultStatus) -> Exception:
    """What stood in the way of a step from `before`."""
    rows = await LabResult.rows({"_id": result_id}, projection={"status": 1, "current": 1}, limit=1)
    if not rows:
        return NotFound.at("input.id")
    if not rows[0]["current"]:
        return InvalidState("A newer report has superseded this result. What may follow: nothing.")
    status = LabResultStatus(rows[0]["status"])
    if status is before:
        return another_version()
    following = NEXT[status]
    return InvalidState(f"The result is {status.name}. What may follow: {following.name if following else 'nothing'}.")
