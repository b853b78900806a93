"""Prescriptions: drafted from the catalogue, signed over every warning, then held, stopped or replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import in_transaction
from app.errors import Conflict, FieldError, InvalidState, NotFound, ValidationFailed
from app.services.care.orders import require_own_visit
from app.services.care.people import actor_id, doctor_or_actor
from app.services.care.warnings import Warned, warnings_for
from app.services.changes import Row, another_version, build, checked, row_of, storable
from app.services.counters import next_number
from app.services.pharmacy.dispensing import check_cancellable
from app.services.references import check_references
from app.services.states import advance, change_while, refused
from models import Medicine, Prescription
from models.prescription import CURRENT, AcknowledgedWarning, PrescriptionStatus
from models.values import now

_S = PrescriptionStatus
_OF_MEDICINE = ("name", "form", "strength", "atc_code", "ingredient_keys")


async def prescribe(values: Mapping[str, Any], *, replaces: ObjectId | None = None) -> Row:
    """Drafts a prescription; answers with its row. Nothing of it counts until it is signed.

    `values`: `patient_id, items` (`medicine_id, dose, frequency, quantity`, and maybe `route, as_needed, duration_days,
    refills, instructions`), and maybe `visit_id, doctor_id, note`. Raises NOT_FOUND or VALIDATION_FAILED at `input.…`.
    """
    await check_references(Prescription, values, at="input")
    await require_own_visit(values.get("visit_id"), values["patient_id"])
    items = await _items(values["items"])
    draft: Prescription = build(
        Prescription,
        {
            **values,
            "id": ObjectId(),
            "doctor_id": await doctor_or_actor(values.get("doctor_id")),
            "items": items,
            "medicine_ids": _medicine_ids(items),
            "replaces_id": replaces,
        },
    )
    await draft.insert()
    return row_of(draft)


async def _items(asked: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The items with what the catalogue says of their medicines, numbered from 1."""
    ids = [one["medicine_id"] for one in asked]
    wanted = [*_OF_MEDICINE, "archived_at"]
    rows = {row["_id"]: row for row in await Medicine.rows({"_id": {"$in": ids}}, projection=wanted)}
    missing = [
        FieldError(f"input.items.{at}.medicineId", "Not found.") for at, one in enumerate(ids) if one not in rows
    ]
    if missing:
        raise NotFound(fields=missing)
    archived = [at for at, one in enumerate(ids) if rows[one].get("archived_at") is not None]
    if archived:
        raise ValidationFailed(fields=[FieldError(f"input.items.{at}.medicineId", "is archived") for at in archived])
    return [
        {
            **one,
            **{name: rows[one["medicine_id"]].get(name) for name in _OF_MEDICINE},
            "number": number,
            "refills_left": one.get("refills", 0),
        }
        for number, one in enumerate(asked, 1)
    ]


def _medicine_ids(items: Sequence[Mapping[str, Any]]) -> list[ObjectId]:
    return list(dict.fromkeys(one["medicine_id"] for one in items))


async def change(prescription_id: ObjectId, version: int, changes: Mapping[str, Any]) -> Row:
    """Changes a draft: `items` (all of them), `note`, `doctor_id`; answers with its new row.

    Raises as `prescribe` does, INVALID_STATE once it is signed, CONFLICT.
    """
    values = dict(changes)
    if "items" in values:
        values["items"] = await _items(values["items"])
        values["medicine_ids"] = _medicine_ids(values["items"])
    if "doctor_id" in values:
        await doctor_or_actor(values["doctor_id"])
    return await change_while(Prescription, {_S.DRAFT}, prescription_id, version, checked(Prescription, values))


async def replace(prescription_id: ObjectId, version: int, changes: Mapping[str, Any]) -> Row:
    """Drafts what is to take the place of a signed prescription; answers with the draft's row.

    Whoever acts prescribes it; what `changes` (`items`, `note`) do not name is as it was. Raises NOT_FOUND at
    `input.id`, INVALID_STATE unless the old one is current, CONFLICT for another version or when it has its
    replacement already.
    """
    if "items" in changes:
        await _items(changes["items"])
    row = await _stored(prescription_id)
    if _S(row["status"]) not in CURRENT:
        raise refused(Prescription, _S(row["status"]))
    if row["version"] != version:
        raise another_version()
    asked = ("medicine_id", "dose", "route", "frequency", "as_needed", "duration_days", "quantity", "refills")
    kept: Row = {name: row.get(name) for name in ("patient_id", "visit_id", "note")}
    kept["items"] = [{name: item.get(name) for name in (*asked, "instructions")} for item in row["items"]]
    try:
        return await prescribe({**kept, **changes}, replaces=prescription_id)
    except DuplicateKeyError:
        raise Conflict(
            "This prescription has its replacement already.", [FieldError("input.id", "is replaced")]
        ) from None


async def _stored(prescription_id: ObjectId) -> Row:
    rows: list[Row] = await Prescription.rows({"_id": prescription_id}, limit=1)
    if not rows:
        raise NotFound.at("input.id")
    return rows[0]


async def sign(prescription_id: ObjectId, version: int, acknowledged: Sequence[Mapping[str, Any]]) -> Row:
    """Whoever acts answers for that version of the draft: it gets its number, and counts. Answers with its new row.

    `acknowledged` names (`key`) each warning that stands, with the `reason` to go on. The prescription that this one
    replaces is stopped in the same step. Raises VALIDATION_FAILED at `input.acknowledgements`, NOT_FOUND at `input.id`,
    INVALID_STATE, CONFLICT.
    """
    row = await _stored(prescription_id)
    if _S(row["status"]) is not _S.DRAFT:
        raise refused(Prescription, _S(row["status"]))
    if row["version"] != version:
        raise another_version()
    replaced = row.get("replaces_id")
    found = await warnings_for(row["patient_id"], row["items"], besides=[prescription_id, replaced])
    warnings = _gone_over(found, acknowledged)
    number = f"RX-{await next_number('prescription'):06d}"
    values = {
        "number": number,
        "signed_at": now(),
        "signed_by": actor_id(),
        "warnings": [storable(one) for one in warnings],
    }

    async def work(session: AsyncClientSession) -> Row:
        if replaced is not None:
            await _stop_replaced(replaced, number, session)
        return await advance(Prescription, prescription_id, version, _S.ACTIVE, values=values, session=session)

    return await in_transaction(work)


def _gone_over(found: Sequence[Warned], acknowledged: Sequence[Mapping[str, Any]]) -> list[AcknowledgedWarning]:
    """The warnings with the reasons why they were gone over. Raises VALIDATION_FAILED when one has none."""
    wrong: list[FieldError] = []
    reasons: dict[str, Any] = {}
    known = {one.key for one in found}
    for at, one in enumerate(acknowledged):
        path = f"input.acknowledgements.{at}"
        if one["key"] not in known:
            wrong.append(FieldError(f"{path}.key", "is no warning of this prescription"))
        reasons[one["key"]] = checked(AcknowledgedWarning, {"reason": one["reason"]}, at=path)["reason"]
    missing = [one for one in found if one.key not in reasons]
    wrong += [FieldError("input.acknowledgements", f"{one.key} is not acknowledged: {one.text}") for one in missing]
    if wrong:
        raise ValidationFailed("Each warning must be acknowledged with a reason.", wrong)
    return [
        AcknowledgedWarning(
            key=one.key,
            kind=one.kind,
            item_number=one.item_number,
            text=one.text,
            severe=one.severe,
            reason=reasons[one.key],
            by=actor_id(),
        )
        for one in found
    ]


async def _stop_replaced(prescription_id: ObjectId, number: str, session: AsyncClientSession) -> None:
    try:
        await advance(Prescription, prescription_id, None, _S.STOPPED, reason=f"Replaced by {number}.", session=session)
    except InvalidState:
        raise InvalidState("What it was to replace is over already: prescribe anew.") from None


async def step(prescription_id: ObjectId, version: int, to: PrescriptionStatus, reason: str | None = None) -> Row:
    """Takes a step that changes nothing but the state; answers with the new row. A draft is resumed by nobody, and
    what was handed out in part is stopped, not cancelled."""
    state: Row | None = {"number": {"$ne": None}} if to is _S.ACTIVE else None
    if to is _S.CANCELLED:
        await check_cancellable(prescription_id)
        state = {"items": {"$not": {"$elemMatch": {"dispensed": {"$gt": 0}}}}}
    if to is _S.ACTIVE and _S((await _stored(prescription_id))["status"]) is _S.DRAFT:
        raise InvalidState("The prescription is DRAFT. What may follow: ACTIVE (by signPrescription), CANCELLED.")
    return await advance(Prescription, prescription_id, version, to, reason=reason, state=state)
