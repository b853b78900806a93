"""What was still on its way to a duplicate when it was merged goes to the survivor too, and back with the rest.

Whoever looks for the duplicate after the merge finds no such patient here. A request that had looked before, and
inserts after the commit, meets nothing that would stop it: what it stored is moved right after the commit, and by the
job `follow-merges` until no such request can be under way any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.db.transactions import in_transaction
from app.services.merging.moving import about, movable, move_all, moved_by, packed
from app.services.merging.obstacles import collisions, own_claims, times_claimed
from app.services.merging.redirects import LIVE
from models import Appointment, PatientMerge
from models.base import TenantDocument
from models.values import now

SETTLED = timedelta(minutes=5)
"""Requests that began before a merge have ended after this time."""


async def follow_all() -> Mapping[str, int]:
    """Follows every merge of the clinic in scope that is not settled."""
    followed = 0
    for row in await PatientMerge.rows({**LIVE, "settled_at": None}, projection=["merged_at"]):
        followed += await follow(row["_id"])
        if row["merged_at"] < now() - SETTLED:
            await _settle(row["_id"])
    return {"followed": followed}


async def follow(merge_id: ObjectId) -> int:
    """Moves what came to the duplicate meanwhile; how many documents. One that cannot pass yet, because the survivor
    has such a one already, stays for the next time."""
    rows = await PatientMerge.rows({"_id": merge_id, **LIVE}, projection=["former_id"], limit=1)
    done = 0
    for row in rows:
        for model in movable():
            if await model.rows(about(model, ObjectId(row["former_id"])), projection=["_id"], limit=1):
                done += await _follow_kind(model, merge_id)
    return done


async def _follow_kind(model: type[TenantDocument], merge_id: ObjectId) -> int:
    try:
        return await in_transaction(partial(_moved_along, model, merge_id))
    except DuplicateKeyError:
        return 0


async def _moved_along(model: type[TenantDocument], merge_id: ObjectId, session: AsyncClientSession) -> int:
    rows = await PatientMerge.rows({"_id": merge_id, **LIVE}, limit=1, session=session)
    if not rows:
        return 0
    former, present = ObjectId(rows[0]["former_id"]), rows[0]["patient_id"]
    if model is Appointment:
        await _yield_times(rows[0], former, present, session)
    ids = await move_all(model, former, present, session)
    if ids:
        for row in [rows[0], *await _later(rows[0], session)]:
            await _add(row, model.guarded_name(), ids, session)
    return len(ids)


async def _yield_times(
    merge: Mapping[str, Any], former: ObjectId, present: ObjectId, session: AsyncClientSession
) -> None:
    """An appointment at a time at which the survivor is booked too stays, for doctor and room; the patient's time is
    the survivor's other one's, until the merge is undone."""
    occupying = {**about(Appointment, former), "claims": {"$gt": ""}}
    rows = await Appointment.rows(occupying, projection=["claims"], session=session)
    for row, _ in collisions(rows, await times_claimed(present, session)):
        own = own_claims(row, former)
        left = [claim for claim in row["claims"] if claim not in own]
        await Appointment.guarded().update_one(
            {"_id": row["_id"], "patient_id": former}, {"$set": {"claims": left}}, session=session
        )
        await PatientMerge.guarded().update_one(
            {"_id": merge["_id"], "patient_id": present},
            {"$push": {"dropped": {"appointment_id": row["_id"], "claims": own}}},
            session=session,
        )


async def _later(row: Mapping[str, Any], session: AsyncClientSession) -> list[dict[str, Any]]:
    """The merges by which this one went on to the present survivor: what comes late must go back by each of them."""
    newer = {"patient_id": row["patient_id"], "merged_at": {"$gt": row["merged_at"]}, **LIVE}
    rows = await PatientMerge.rows(newer, session=session)
    name = PatientMerge.guarded_name()
    return [one for one in rows if row["_id"] in moved_by(one).get(name, ())]


async def _add(row: Mapping[str, Any], name: str, ids: list[ObjectId], session: AsyncClientSession) -> None:
    known = row["moved"].get(name, b"")
    await PatientMerge.guarded().update_one(
        {"_id": row["_id"], "patient_id": row["patient_id"]},
        {"$set": {f"moved.{name}": known + packed(ids), "settled_at": None}},
        session=session,
    )


async def _settle(merge_id: ObjectId) -> None:
    """Notes that nothing is on its way any more, unless something is left that could not pass."""
    rows = await PatientMerge.rows({"_id": merge_id, **LIVE}, projection=["former_id"], limit=1)
    for row in rows:
        former = ObjectId(row["former_id"])
        left = [model for model in movable() if await model.rows(about(model, former), projection=["_id"], limit=1)]
        if not left:
            await PatientMerge.guarded().update_one({"_id": merge_id}, {"$set": {"settled_at": now()}})
