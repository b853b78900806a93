"""Patients' consents: recorded with the form that was signed, judged live, and revoked at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import Conflict, InvalidState, NotFound, ValidationFailed
from app.services.audit import record
from app.services.changes import Row, another_version, build, checked, row_of
from app.services.references import check_references
from app.tenancy.scope import current_scope
from models import Consent, ConsentTemplate, Patient, Tenant
from models.consent import ConsentState, RevokedBy, ShareCategory, SharePurpose
from models.tenant import Language, TenantStatus
from models.values import now

Sort = list[tuple[str, int]]
NEWEST: Sort = [("created_at", -1), ("_id", -1)]


def state_of(row: Mapping[str, Any], moment: datetime | None = None) -> ConsentState:
    """Where a consent stands at that instant (now, unless another is given)."""
    at = moment or now()
    if row["revoked_at"] is not None:
        return ConsentState.REVOKED
    if at < row["valid_from"]:
        return ConsentState.NOT_YET
    return ConsentState.LIVE if at < row["valid_until"] else ConsentState.EXPIRED


def in_state(state: ConsentState | None) -> dict[str, Any]:
    """The filter of a list: consents that stand so at this instant."""
    moment = now()
    if state is ConsentState.LIVE:
        return Consent.live(moment)
    if state is ConsentState.REVOKED:
        return {"revoked_at": {"$ne": None}}
    if state is ConsentState.EXPIRED:
        return {"revoked_at": None, "valid_until": {"$lte": moment}}
    return {} if state is None else {"revoked_at": None, "valid_from": {"$gt": moment}}


async def record_consent(values: Mapping[str, Any]) -> Row:
    """Stores what the patient agreed to; categories, purpose and length are the form's unless `values` narrow them.

    Raises NOT_FOUND where ids lead nowhere, VALIDATION_FAILED for categories that the form does not name, an unknown
    receiver or a period that is none, and INVALID_STATE for a form that is out of use.
    """
    await check_references(Consent, values, at="input")
    form = await ConsentTemplate.get(values["consent_template_id"])
    patient = (await Patient.rows({"_id": values["patient_id"]}, limit=1))[:1]
    if form is None or not patient:
        raise NotFound
    if form.archived_at is not None:
        raise InvalidState("The form is out of use. Take its present edition.")
    consent = _made(form, patient[0], values)
    await _known_receiver(consent.receiver)
    if consent.valid_until <= now():
        raise ValidationFailed.at("input.validUntil", "must be in the future")

    async def work(session: AsyncClientSession) -> None:
        await consent.insert(session=session)
        await record("consent.record", subject=consent, patients=[consent.patient_id], session=session)

    await in_transaction(work)
    return row_of(consent)


def _made(form: ConsentTemplate, patient: Row, values: Mapping[str, Any]) -> Consent:
    named = set(values.get("categories") or form.categories)
    if not named <= set(form.categories):
        raise ValidationFailed.at("input.categories", "must be among those of the form")
    if values.get("language") is Language.ES and form.es is None:
        raise ValidationFailed.at("input.language", "The form has no Spanish text.")
    begins = values.get("valid_from") or now()
    made: Consent = build(
        Consent,
        {
            **values,
            "edition": form.edition,
            "patient_name": f"{patient['given_name']} {patient['family_name']}"[:200],
            "categories": list(named),
            "purpose": form.purpose,
            "valid_from": begins,
            "valid_until": values.get("valid_until") or begins + timedelta(days=form.valid_days),
            "recorded_by": actor.user_id if (actor := current_scope().actor) else None,
        },
    )
    return made


async def _known_receiver(subdomain: str | None) -> None:
    """Whether a clinic answers under a name is no secret: everybody can ask its host."""
    if subdomain is None:
        return
    found = await Tenant.rows({"subdomain": subdomain, "status": TenantStatus.ACTIVE.value}, projection={"_id": 1})
    if not found or found[0]["_id"] == current_scope().tenant_id:
        raise ValidationFailed.at("input.receiver", "is not the subdomain of another clinic")


async def revoke_consent(
    consent_id: ObjectId,
    version: int | None = None,
    *,
    by: RevokedBy,
    reason: str | None = None,
    patient_id: ObjectId | None = None,
) -> Row:
    """Takes a consent back: from this instant on it opens nothing, in any process. Answers with the row.

    With `patient_id`, only one of that patient's; without `version`, whichever it has. Raises NOT_FOUND at
    `input.id`, CONFLICT at `input.version`, or INVALID_STATE when it was revoked before.
    """
    why = checked(Consent, {"revoke_reason": reason})
    own = {} if patient_id is None else {"patient_id": patient_id}

    async def work(session: AsyncClientSession) -> Row:
        values = {**why, "revoked_at": now(), "revoked_by": by.value}
        try:
            done = await Consent.change(
                consent_id, version, values, filter={"revoked_at": None, **own}, session=session
            )
        except NotFound:
            raise NotFound.at("input.id") from None
        except Conflict:
            raise await _why_not(consent_id, version, own, session) from None
        await record("consent.revoke", subject=done, patients=[done.patient_id], session=session)
        return row_of(done)

    return await in_transaction(work)


async def _why_not(
    consent_id: ObjectId, version: int | None, own: Mapping[str, Any], session: AsyncClientSession
) -> Exception:
    rows = await Consent.rows({"_id": consent_id, **own}, session=session, limit=1)
    if not rows:
        return NotFound.at("input.id")
    if version is not None and rows[0]["version"] != version:
        return another_version()
    return InvalidState("The consent was revoked already.")


async def covering(
    patient_id: ObjectId,
    consent_id: ObjectId | None,
    categories: Iterable[ShareCategory],
    purpose: SharePurpose,
) -> Row:
    """The live consent that covers all of it: the one that is named, or the one that lasts longest.

    Raises NOT_FOUND at `input.consentId`, or INVALID_STATE when none does.
    """
    wanted: dict[str, Any] = {"patient_id": patient_id}
    if consent_id is not None:
        wanted["_id"] = consent_id
        if not await Consent.rows(wanted, projection={"_id": 1}, limit=1):
            raise NotFound.at("input.consentId")
    covers = {"categories": {"$all": [one.value for one in categories]}, "purpose": purpose.value}
    rows = await Consent.rows({**wanted, **covers, **Consent.live(now())}, sort=[("valid_until", -1)], limit=1)
    if not rows:
        raise InvalidState("No consent of the patient that is in force covers this. Record one first.")
    return rows[0]
