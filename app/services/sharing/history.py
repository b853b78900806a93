"""What the clinic in scope may see of a patient's records at other clinics, by category."""

from __future__ import annotations

from collections.abc import Sequence

from bson import ObjectId

from app.services.changes import Row
from app.services.merging.redirects import present_id
from app.services.sharing.lending import Capability, Emergency, SharedBy, lent, live_emergency
from app.tenancy.crossing import other_clinics
from app.tenancy.scope import current_scope
from models import BreakGlass, ReceivedShare
from models.consent import ShareCategory
from models.sharing import BreakGlassSide
from models.values import now

MOST_SHARES = 50
"""So many shares of one patient are followed, the latest."""


async def shared_history(patient_id: ObjectId, categories: Sequence[ShareCategory]) -> list[Row]:
    """Records of other clinics (see `lent`), one entry per share or emergency that opens any; the latest first.

    Raises NOT_FOUND at `patientId` for a patient whom this clinic has not; the id of one who was merged is the
    survivor's.
    """
    present = await present_id(patient_id)
    found = [await lent(one, categories) for one in await _capabilities(present)]
    return [one for one in found if one is not None]


async def _capabilities(patient_id: ObjectId) -> list[Capability]:
    shares = await ReceivedShare.rows(
        {"patient_id": patient_id, "until": {"$gt": now()}},
        projection={"route": 1, "known_as": 1},
        sort=[("received_at", -1), ("_id", -1)],
        limit=MOST_SHARES,
    )
    given = [SharedBy(ObjectId(row.get("known_as") or patient_id), row["route"]) for row in shares]
    return [*given, *await _emergencies(patient_id)]


async def _emergencies(patient_id: ObjectId) -> list[Emergency]:
    """Those of the person who asks, and of nobody else here."""
    actor = current_scope().actor
    if actor is None:
        return []
    rows = await BreakGlass.rows(
        {
            "patient_id": patient_id,
            "user_id": actor.user_id,
            "side": BreakGlassSide.OPENED_HERE.value,
            **live_emergency(),
        },
        projection={"event": 1, "ends_at": 1},
        sort=[("opened_at", -1), ("_id", -1)],
        limit=1,
    )
    return [
        Emergency(patient_id, row["event"], clinic, row["ends_at"])
        for row in rows
        for clinic in await other_clinics(patient_id)
    ]
