"""Referrals: written, sent, answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bson import ObjectId

from app.errors import InvalidState
from app.services.care.orders import place
from app.services.care.people import actor_id
from app.services.changes import Row, checked
from app.services.references import check_references
from app.services.states import advance, change_while
from models import Referral
from models.referral import ReferralStatus
from models.values import now

_S = ReferralStatus


async def write(values: Mapping[str, Any]) -> Row:
    """Drafts a referral of a patient; answers with its row."""
    return await place(Referral, values)


async def change(referral_id: ObjectId, version: int, changes: Mapping[str, Any]) -> Row:
    """Changes a draft; answers with its new row. Raises INVALID_STATE once it is sent."""
    values = checked(Referral, changes)
    await check_references(Referral, values, at="input")
    return await change_while(Referral, {_S.DRAFT}, referral_id, version, values)


async def send(referral_id: ObjectId, version: int) -> Row:
    """The patient has it: from now on it does not change. Answers with the new row.

    Raises INVALID_STATE for one that says neither to whom nor to which field of medicine.
    """
    rows = await Referral.rows({"_id": referral_id}, projection=["recipient", "specialization_id"], limit=1)
    if rows and not (rows[0].get("recipient") or rows[0].get("specialization_id")):
        raise InvalidState("Say first to whom, or to which field of medicine, the patient is sent.")
    values = {"sent_at": now(), "sent_by": actor_id()}
    return await advance(Referral, referral_id, version, _S.SENT, values=values)


async def answered(referral_id: ObjectId, version: int, to: ReferralStatus, answer: str | None) -> Row:
    """What the other side says: that it takes the patient, does not, or what it found (`to`). The new row."""
    values: Row = {"answered_at": now()}
    if answer is not None:
        values |= checked(Referral, {"answer": answer})
    return await advance(Referral, referral_id, version, to, values=values)


async def cancel(referral_id: ObjectId, version: int, reason: str) -> Row:
    """The patient is not sent. Answers with the new row."""
    return await advance(Referral, referral_id, version, _S.CANCELLED, reason=reason)
