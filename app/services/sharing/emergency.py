"""Breaking the glass: a clinician opens other clinics' records of a patient here, for an hour at most, under review."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from bson import ObjectId
from pydantic import BaseModel
from pymongo.asynchronous.client_session import AsyncClientSession

from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import Conflict, Forbidden, InvalidState, NotFound
from app.services.audit import record
from app.services.changes import Row, another_version, build, checked, row_of
from app.services.merging.redirects import survivor_by_code
from app.services.rate_limits import Limit, take
from app.services.sharing.lending import live_emergency
from app.services.sharing.notices import tell_admins
from app.tenancy.crossing import neighbour_scope, other_clinics
from app.tenancy.scope import current_scope
from models import BreakGlass, Patient, PatientRecord
from models.consent import ShareCategory, Wording
from models.sharing import BreakGlassSide, ReviewOutcome
from models.values import now

LASTS = timedelta(minutes=60)
BROKEN = Limit("break-glass", 5, timedelta(hours=1))
"""One person at one clinic: enough for a night in the emergency room, too few to read through a list of patients."""


async def patient_by_code(code: str) -> ObjectId:
    """The patient of a code of this clinic, be it one from before a merge. Raises NOT_FOUND at `input.patientCode`."""
    typed = code.strip().upper()
    rows = await PatientRecord.rows({"code": typed}, projection={"patient_id": 1}, limit=1)
    found = rows[0]["patient_id"] if rows else await survivor_by_code(typed)
    if found is None:
        raise NotFound.at("input.patientCode")
    return ObjectId(found)


async def break_glass(patient_id: ObjectId, values: Mapping[str, Any], settings: Settings) -> Row:
    """Opens other clinics' records of a patient of this clinic to the person in scope; answers with the row here.

    `values` are `reason, note, categories`. Whether any other clinic has the patient is not told. Each that has gets
    the same entry for its own review, and its admins a mail, in the same transaction. Raises NOT_FOUND at
    `input.patientId`, VALIDATION_FAILED, and RATE_LIMITED.
    """
    scope = current_scope()
    actor, tenant = scope.signed_in, scope.tenant
    assert tenant is not None  # noqa: S101 - the permission is a clinic's
    if not await Patient.rows({"_id": patient_id}, projection={"_id": 1}, limit=1):
        raise NotFound.at("input.patientId")
    moment = now()
    about = {
        **values,
        "patient_id": patient_id,
        "event": secrets.token_urlsafe(24),
        "user_id": actor.user_id,
        "person_name": actor.name[:200],
        "clinic_name": tenant.name[:200],
        "opened_at": moment,
        "ends_at": moment + LASTS,
    }
    opened: BreakGlass = build(BreakGlass, about)
    await take(BROKEN, str(actor.user_id))

    async def work(session: AsyncClientSession) -> None:
        for clinic in await other_clinics(patient_id, session=session):
            async with neighbour_scope(clinic, action="patient.break_glass", session=session) as giver:
                if giver is not None:
                    copy: BreakGlass = build(BreakGlass, {**about, "side": BreakGlassSide.OPENED_ELSEWHERE})
                    await copy.insert(session=session)
                    await record("glass.broken_elsewhere", subject=copy, patients=[patient_id], session=session)
                    await tell_admins(settings, session)
        await opened.insert(session=session)
        await record("glass.break", subject=opened, patients=[patient_id], session=session)

    opened.id = opened.id or ObjectId()  # type: ignore[assignment]
    await in_transaction(work)
    return row_of(opened)


async def end(glass_id: ObjectId) -> Row:
    """Ends emergency access before its time, at each clinic that it opened, whoever here opened it.

    Raises NOT_FOUND at `input.id`, or INVALID_STATE when it has ended, or was opened at another clinic: that one's
    access ends when it is reviewed.
    """
    here = {"side": BreakGlassSide.OPENED_HERE.value, **live_emergency()}

    async def work(session: AsyncClientSession) -> Row:
        moment = now()
        try:
            done = await BreakGlass.change(glass_id, None, {"ended_at": moment}, filter=here, session=session)
        except NotFound:
            raise NotFound.at("input.id") from None
        except Conflict:
            raise InvalidState("This access has ended, or is not this clinic's to end.") from None
        for clinic in await other_clinics(done.patient_id, session=session):
            async with neighbour_scope(clinic, action="patient.break_glass_end", session=session) as giver:
                if giver is not None:
                    await BreakGlass.guarded().update_one(
                        {"event": done.event, "ended_at": None}, {"$set": {"ended_at": moment}}, session=session
                    )
        await record("glass.end", subject=done, patients=[done.patient_id], session=session)
        return row_of(done)

    return await in_transaction(work)


class _Finding(BaseModel):
    outcome: ReviewOutcome
    note: Wording


async def review(glass_id: ObjectId, version: int, outcome: ReviewOutcome, note: str) -> Row:
    """Writes what a reviewer found, once; access that is still open ends with it.

    Raises NOT_FOUND at `input.id`, FORBIDDEN for the one who broke the glass, INVALID_STATE when it was reviewed,
    CONFLICT at `input.version`.
    """
    actor = current_scope().signed_in
    found = checked(_Finding, {"outcome": outcome, "note": note})
    written = {
        "outcome": found["outcome"],
        "review_note": found["note"],
        "reviewed_at": now(),
        "reviewed_by": actor.user_id,
    }

    async def work(session: AsyncClientSession) -> Row:
        rows = await BreakGlass.rows({"_id": glass_id}, limit=1, session=session)
        if not rows:
            raise NotFound.at("input.id")
        _may_review(rows[0], version, actor.user_id)
        if rows[0]["ended_at"] is None and rows[0]["ends_at"] > now():
            written["ended_at"] = now()
        try:
            done = await BreakGlass.change(glass_id, version, written, filter={"reviewed_at": None}, session=session)
        except Conflict:
            raise another_version() from None
        await record("glass.review", subject=done, patients=[done.patient_id], session=session)
        return row_of(done)

    return await in_transaction(work)


def _may_review(row: Row, version: int, reviewer: ObjectId) -> None:
    if row["user_id"] == reviewer:
        raise Forbidden("Somebody else must review this: it was you who broke the glass.")
    if row["reviewed_at"] is not None:
        raise InvalidState("It was reviewed already.")
    if row["version"] != version:
        raise another_version()


def named(categories: list[ShareCategory] | None) -> list[ShareCategory]:
    """The categories of an emergency: all of them, unless some are named."""
    return list(categories) if categories else list(ShareCategory)
