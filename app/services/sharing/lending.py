"""The one way to another clinic's records: a capability that is judged there, live, at each use.

A capability is either a share that the clinic in scope has redeemed, behind which the patient's consent stands, or an
emergency that somebody has declared. Nothing else opens another clinic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from bson import ObjectId

from app.services.changes import Row
from app.services.sharing.redemption import is_live, mark_of
from app.services.sharing.served import SERVED, read
from app.services.sharing.whose import whose
from app.tenancy.crossing import neighbour_scope
from app.tenancy.scope import current_scope
from models import BreakGlass, Consent, ShareCode, ShareRoute
from models.consent import ShareCategory
from models.sharing import BreakGlassSide
from models.values import now


class Basis(StrEnum):
    """On the strength of what another clinic's records are shown."""

    CONSENT = "consent"
    EMERGENCY = "emergency"


@dataclass(frozen=True, slots=True)
class SharedBy:
    """A capability: what this clinic received by redeeming a code. `route` leads to the clinic that gave it.

    `patient_id` is the patient as that clinic knows them: one of its ids that was merged here still counts there.
    """

    patient_id: ObjectId
    route: str


@dataclass(frozen=True, slots=True)
class Emergency:
    """A capability: what somebody here opened by breaking the glass, at the clinic `giver_id`."""

    patient_id: ObjectId
    event: str
    giver_id: ObjectId
    until: datetime


Capability = SharedBy | Emergency


@dataclass(frozen=True, slots=True)
class _Opened:
    """What a capability opens at this instant: which categories, and until when at the latest."""

    basis: Basis
    categories: frozenset[ShareCategory]
    until: datetime


async def lent(capability: Capability, wanted: Iterable[ShareCategory]) -> Row | None:
    """The other clinic's records of that very patient, in those of the `wanted` categories that the capability opens.

    `clinic_name, basis, until, records`; None when it opens nothing, for whatever reason. What was revoked or ended
    while it was read is not shown. Reading is audited at both clinics, by the guard at each.
    """
    asked = frozenset(wanted) & SERVED.keys()
    giver_id, share_id = await _target(capability)
    if giver_id is None:
        return None
    receiver = current_scope().tenant_id
    async with neighbour_scope(giver_id, action="patient.read_across") as giver:
        if giver is None or giver.tenant is None:
            return None
        opened = await _opened(capability, share_id, receiver)
        if opened is None or not (allowed := opened.categories & asked):
            return None
        records = await read(await whose(capability.patient_id), sorted(allowed))
        still = await _opened(capability, share_id, receiver)
        if still is None or not allowed <= still.categories:
            return None
        return {"clinic_name": giver.tenant.name, "basis": opened.basis, "until": opened.until, "records": records}


async def _target(capability: Capability) -> tuple[ObjectId | None, ObjectId | None]:
    if isinstance(capability, Emergency):
        return capability.giver_id, None
    routes = await ShareRoute.rows({"_id": capability.route, "code_hash": None}, limit=1)
    return (routes[0]["giver_id"], routes[0]["share_code_id"]) if routes else (None, None)


async def _opened(capability: Capability, share_id: ObjectId | None, receiver: ObjectId) -> _Opened | None:
    """What the giving clinic, in whose scope this runs, lets the capability open now."""
    if isinstance(capability, Emergency):
        return await _by_emergency(capability)
    return await _by_consent(capability, share_id, receiver)


async def _by_consent(capability: SharedBy, share_id: ObjectId | None, receiver: ObjectId) -> _Opened | None:
    moment = now()
    known = {"$or": [{"patient_id": capability.patient_id}, {"known_as": str(capability.patient_id)}]}
    mine: dict[str, Any] = {"_id": share_id, **known}
    shares = await ShareCode.rows(mine, limit=1)
    if (
        not shares
        or not is_live(shares[0], moment)
        or shares[0]["receiver_mark"] != mark_of(shares[0]["_id"], receiver)
    ):
        return None
    consents = await Consent.rows(
        {"_id": shares[0]["consent_id"], "patient_id": shares[0]["patient_id"], **Consent.live(moment)}, limit=1
    )
    if not consents:
        return None
    both = set(shares[0]["categories"]) & set(consents[0]["categories"])
    until = min(shares[0]["until"], consents[0]["valid_until"])
    return _Opened(Basis.CONSENT, frozenset(map(ShareCategory, both)), until)


async def _by_emergency(capability: Emergency) -> _Opened | None:
    rows = await BreakGlass.rows(
        {
            "event": capability.event,
            "patient_id": capability.patient_id,
            "side": BreakGlassSide.OPENED_ELSEWHERE.value,
            **live_emergency(),
        },
        limit=1,
    )
    if not rows or capability.until <= now():
        return None
    return _Opened(Basis.EMERGENCY, frozenset(map(ShareCategory, rows[0]["categories"])), rows[0]["ends_at"])


def live_emergency() -> dict[str, Any]:
    """Filter: emergency access that has not ended."""
    return {"ended_at": None, "ends_at": {"$gt": now()}}
