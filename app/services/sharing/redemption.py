"""A patient becomes another clinic's too: by a code that works once, and the day of birth that the patient tells."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import InvalidState, NotFound
from app.services.audit import record
from app.services.changes import Row
from app.services.counters import next_number
from app.services.merging.redirects import survivor_of
from app.services.patients import possible_duplicates, require_not_erased
from app.services.rate_limits import Limit, network_of, take
from app.services.settings import clinic_settings
from app.services.sharing.codes import hash_of
from app.services.sharing.reach import require_shared_database
from app.tenancy.crossing import neighbour_scope
from app.tenancy.scope import current_scope
from models import Consent, Patient, PatientRecord, ReceivedShare, ShareCode, ShareRoute
from models.sharing import ShareCodeState
from models.values import now

BY_PERSON = Limit("share-redeem-person", 30, timedelta(minutes=15))
BY_CLINIC = Limit("share-redeem-clinic", 120, timedelta(minutes=15))
BY_NETWORK = Limit("share-redeem-network", 60, timedelta(minutes=15), platform=True)
TRIES = 5
"""So often may a code be tried, with whatever day of birth; then it is worth nothing."""
CHECKED = ("given_name", "family_name", "birth_date", "phone", "email")


class NoSuchCode(NotFound):
    """One answer for all codes that cannot be redeemed: wrong, expired, used, revoked, one's own, another birthday."""

    @classmethod
    def told(cls) -> NoSuchCode:
        text = "This code cannot be redeemed. Check code and day of birth, or ask for a new code."
        return cls(text, list(NotFound.at("input.code", text).fields))


class _Duplicates(Exception):
    """Ends the transaction: the clinic has patients who may be the same person, and must be asked first."""

    def __init__(self, rows: list[Row]) -> None:
        super().__init__()
        self.rows = rows


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What the receiving clinic learns. Without `share`, nothing happened: `duplicates` are its own patients who may
    be the same person. `already_here` tells that the patient was this clinic's before."""

    patient_id: ObjectId | None
    share: Row | None
    already_here: bool
    duplicates: list[Row]


def mark_of(share_id: ObjectId, tenant_id: ObjectId) -> str:
    """By what the giving clinic knows the receiving one again, without its id."""
    return hashlib.sha256(share_id.binary + tenant_id.binary).hexdigest()


async def redeem(code: str, birth_date: date, *, despite_duplicates: bool = False) -> Redeemed:
    """Redeems a share code at the clinic in scope: patient, record and share, all or none of it, for one caller only.

    When the clinic has a patient who may be the same person, nothing happens until `despite_duplicates` says to go
    on. Raises NOT_FOUND at `input.code`, in the same words whatever is wrong with it, INVALID_STATE for a patient whom
    this clinic has erased or for a clinic with a database of its own, and RATE_LIMITED.
    """
    require_shared_database()
    await _throttle()
    route = await _try(hash_of(code))
    code_here = await _next_code()

    async def work(session: AsyncClientSession) -> Redeemed:
        share, patient = await _given(route, birth_date, session)
        return await _taken(route, share, patient, code_here, despite_duplicates, session)

    try:
        return await in_transaction(work)
    except _Duplicates as found:
        return Redeemed(None, None, False, found.rows)


async def _throttle() -> None:
    scope = current_scope()
    await take(BY_PERSON, str(scope.signed_in.user_id))
    await take(BY_CLINIC, "all")
    if scope.address:
        await take(BY_NETWORK, network_of(scope.address))


async def _try(hashed: str) -> Row:
    """The route of a code that is still worth something, with this try counted. One of this clinic's own is none."""
    wanted = {
        "code_hash": hashed,
        "expires_at": {"$gt": now()},
        "tries": {"$lt": TRIES},
        "giver_id": {"$ne": current_scope().tenant_id},
    }
    found = await ShareRoute.guarded().find_one_and_update(
        wanted, {"$inc": {"tries": 1}}, return_document=ReturnDocument.AFTER
    )
    if found is None:
        raise NoSuchCode.told()
    return found


async def _next_code() -> str:
    settings = await clinic_settings()
    return f"{settings.patient_code_prefix}-{await next_number('patient_code'):06d}"


# --- at the giving clinic ---------------------------------------------------------------------------------------------


async def _given(route: Row, birth_date: date, session: AsyncClientSession) -> tuple[Row, Row]:
    """The giving clinic's side: the code is used up, its consent still holds, and the patient is shared."""
    scope = current_scope()
    tenant = scope.tenant
    assert tenant is not None  # noqa: S101 - whoever redeems is at a clinic
    async with neighbour_scope(route["giver_id"], action="patient.share", session=session) as giver:
        if giver is None:
            raise NoSuchCode.told()
        share = await _used(route["share_code_id"], tenant.id, tenant.name, session)
        await _consented(share, tenant.subdomain, session)
        patient = await _born(share["patient_id"], birth_date, session)
        await Patient.guarded().grant(share["patient_id"], tenant.id, session=session)
        document = ShareCode.model_validate(share)
        await record("share_code.redeemed", subject=document, patients=[document.patient_id], session=session)
        assert giver.tenant is not None  # noqa: S101 - a scope of a clinic
        return {**share, "giver_name": giver.tenant.name}, patient


async def _used(share_id: ObjectId, receiver: ObjectId, name: str, session: AsyncClientSession) -> Row:
    moment = now()
    row = await ShareCode.guarded().find_one_and_update(
        {"_id": share_id, "state": ShareCodeState.OPEN.value, "expires_at": {"$gt": moment}},
        {
            "$set": {
                "state": ShareCodeState.USED.value,
                "used_at": moment,
                "updated_at": moment,
                "receiver_name": name[:200],
                "receiver_mark": mark_of(share_id, receiver),
            },
            "$inc": {"version": 1},
        },
        return_document=ReturnDocument.AFTER,
        session=session,
    )
    if row is None:
        raise NoSuchCode.told()
    return row


async def _consented(share: Row, subdomain: str, session: AsyncClientSession) -> None:
    """Counts the redemption in the consent itself: one that is revoked at the same moment collides with this."""
    live = {"_id": share["consent_id"], "receiver": {"$in": [None, subdomain]}, **Consent.live(now())}
    done = await Consent.guarded().update_one(live, {"$inc": {"redemptions": 1}}, session=session)
    if not done.matched_count:
        raise NoSuchCode.told()


async def _born(patient_id: ObjectId, birth_date: date, session: AsyncClientSession) -> Row:
    wanted = dict.fromkeys(CHECKED, 1)
    rows = await Patient.rows({"_id": patient_id}, projection=wanted, limit=1, session=session)
    if not rows or rows[0].get("birth_date") != birth_date.isoformat():
        raise NoSuchCode.told()
    return rows[0]


# --- at the receiving clinic ------------------------------------------------------------------------------------------


async def _taken(
    route: Row, share: Row, patient: Row, code: str, despite: bool, session: AsyncClientSession
) -> Redeemed:
    """This clinic's side: a record with a code of its own, and what it was told that it may see."""
    patient_id: ObjectId = share["patient_id"]
    here = await PatientRecord.rows({"patient_id": patient_id}, projection={"_id": 1}, limit=1, session=session)
    if here:
        await require_not_erased(patient_id)
    elif await survivor_of(patient_id) is not None:
        raise InvalidState("This patient was merged into another one here. Undo that first, by unmergePatients.")
    same = [] if here else await _alike(patient)
    if same and not despite:
        raise _Duplicates(same)
    if not here:
        await PatientRecord.model_validate({"patient_id": patient_id, "code": code}).insert(session=session)
    received = ReceivedShare.model_validate(
        {
            "patient_id": patient_id,
            "route": route["_id"],
            **{name: share[name] for name in ("giver_name", "categories", "purpose", "until")},
            "received_by": current_scope().signed_in.user_id,
        }
    )
    await received.insert(session=session)
    await ShareRoute.guarded().update_one(
        {"_id": route["_id"]}, {"$unset": {"code_hash": "", "expires_at": ""}}, session=session
    )
    await record("patient.receive", subject=received, patients=[patient_id], session=session)
    told: dict[str, Any] = {name: share[name] for name in ("giver_name", "categories", "purpose", "until")}
    return Redeemed(patient_id, told, bool(here), same)


async def _alike(patient: Row) -> list[Row]:
    """This clinic's other patients who may be the same person."""
    described = {name: patient[name] for name in CHECKED if patient.get(name) is not None}
    if "birth_date" in described:
        described["birth_date"] = date.fromisoformat(described["birth_date"])
    found = await possible_duplicates(described, {"_id": 1})
    return [row for row in found if row["_id"] != patient["_id"]]


def is_live(share: Row, moment: datetime) -> bool:
    """Whether a redeemed code still gives access, as far as the code itself says."""
    return bool(share["state"] == ShareCodeState.USED.value and share["until"] > moment)
