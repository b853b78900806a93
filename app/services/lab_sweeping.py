"""Picks up the reports that were stored and not handled, because a process died or something was out of reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta

from pymongo import UpdateOne

from app.services.inbox import WAITING, due
from app.services.lab_intake import handle
from app.tenancy.crossing import tenant_scope
from models import LabDelivery, LabMessage, LabResult, Tenant
from models.lab import MessageStatus
from models.values import now

GRACE = timedelta(seconds=30)
"""A delivery that is not settled after this was left behind."""
BATCH = 200
CONTENT_KEPT = timedelta(days=90)

_SETTLED = (MessageStatus.HANDLED.value, MessageStatus.DISCARDED.value)


async def retry_inbox() -> Mapping[str, int]:
    """Handles all that waits in the inbox of the clinic in scope; counts by `Outcome`."""
    done = Counter[str]()
    while handled := await retry_batch():
        done.update(handled)
    return dict(done)


async def retry_batch() -> Counter[str]:
    """Handles what has waited longest in the inbox of the clinic in scope, `BATCH` at most; counts by `Outcome`."""
    rows = await LabMessage.rows(due(), projection={"_id": 1}, sort=[("next_at", 1)], limit=BATCH)
    return Counter([(await handle(row["_id"])).value for row in rows])


async def purge_contents() -> Mapping[str, int]:
    """Drops the contents of messages that were settled long ago; the results, and the events' ids, stay."""
    gone = await LabMessage.guarded().update_many(
        {"status": {"$in": list(_SETTLED)}, "settled_at": {"$lt": now() - CONTENT_KEPT}, "report": {"$exists": True}},
        {"$unset": {"report": ""}},
    )
    return {"purged": gone.modified_count} if gone.modified_count else {}


async def mark_abnormal() -> int:
    """Has results of the clinic in scope that do not say whether a value is abnormal say it, `BATCH` at most; how many.

    They were stored before that was kept, and the values are sealed: no step of a migration can read them.
    """
    found = await LabResult.find({"abnormal": None}).limit(BATCH).to_list()
    changes = [UpdateOne({"_id": one.id, "abnormal": None}, {"$set": {"abnormal": one.abnormal}}) for one in found]
    if changes:
        await LabResult.guarded().bulk_write(changes, ordered=False)
    return len(changes)


async def sweep() -> Mapping[str, int]:
    """Handles what dead processes left behind, at the clinics where something was; counts by `Outcome`."""
    done = Counter[str]()
    left = {"settled": False, "received_at": {"$lte": now() - GRACE}}
    for clinic_id in await LabDelivery.guarded().distinct("clinic_id", left):
        tenant = await Tenant.get(clinic_id)
        waiting = False
        if tenant is not None and tenant.deletion_started_at is None:
            async with tenant_scope(tenant):
                done.update(await retry_inbox())
                waiting = bool(await LabMessage.rows({"status": WAITING}, projection={"_id": 1}, limit=1))
        if not waiting:
            await LabDelivery.guarded().update_many({**left, "clinic_id": clinic_id}, {"$set": {"settled": True}})
    return dict(done)
