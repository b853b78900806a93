"""Share codes: what a patient carries from the clinic that has their consent to the one that is to see them."""

from __future__ import annotations

import hashlib
import io
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.db.transactions import in_transaction
from app.errors import Conflict, InvalidState, NotFound, ValidationFailed
from app.late import late
from app.services.audit import record
from app.services.changes import Row, another_version, build, row_of
from app.services.patients import require_not_erased
from app.services.rate_limits import Limit, take
from app.services.sharing.consents import covering
from app.services.sharing.reach import require_shared_database
from app.tenancy.scope import current_scope
from models import Patient, ShareCode, ShareRoute
from models.consent import ShareCategory, SharePurpose
from models.sharing import ShareCodeState
from models.values import now

if TYPE_CHECKING:
    import segno
else:
    segno = late("segno")

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""No two of these look alike: without I, L, O, 0 and 1."""
GROUPS, GROUP = 4, 4
VALID = timedelta(minutes=15)
ISSUED = Limit("share-code-issued", 60, timedelta(hours=1))


@dataclass(frozen=True, slots=True)
class IssuedCode:
    """A code that was just made, shown this once; `row` is what the clinic keeps of it."""

    code: str
    row: Row

    @property
    def qr_svg(self) -> str:
        """The code as a QR code: a standalone SVG image."""
        drawn = io.BytesIO()
        segno.make(self.code, error="m", micro=False).save(drawn, kind="svg", scale=6, xmldecl=False)
        return drawn.getvalue().decode().strip()


def hash_of(typed: str) -> str:
    """What is stored of a code, however it is typed: in any case, with any blanks and dashes."""
    plain = "".join(char for char in typed.upper() if char.isalnum())
    return hashlib.sha256(f"share-code:{plain}".encode()).hexdigest()


def _new_code() -> str:
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(GROUP)) for _ in range(GROUPS))


async def issue(
    patient_id: ObjectId,
    *,
    categories: Sequence[ShareCategory],
    purpose: SharePurpose,
    until: datetime | None = None,
    consent_id: ObjectId | None = None,
) -> IssuedCode:
    """Makes a one-time code for a patient, under a live consent of theirs that covers it all.

    Demographics are part of every share. `until` ends the other clinic's access; without it the consent does. Raises
    NOT_FOUND for ids that lead nowhere, INVALID_STATE without such a consent or without a day of birth, which the
    patient must tell when the code is redeemed, and for an erased patient, and VALIDATION_FAILED for an `until` that
    goes beyond the consent.
    """
    born = await Patient.rows({"_id": patient_id}, projection={"birth_date": 1}, limit=1)
    if not born:
        raise NotFound.at("input.patientId")
    await require_not_erased(patient_id)
    require_shared_database()
    wanted = {*categories, ShareCategory.DEMOGRAPHICS}
    consent = await covering(patient_id, consent_id, wanted, purpose)
    if born[0].get("birth_date") is None:
        raise InvalidState("The patient's day of birth is needed: it is asked for when the code is redeemed.")
    moment, ends = now(), until or consent["valid_until"]
    if not moment < ends <= consent["valid_until"]:
        raise ValidationFailed.at("input.until", "must be in the future, and not after the end of the consent")
    await take(ISSUED, str(current_scope().signed_in.user_id))
    share: ShareCode = build(
        ShareCode,
        {
            "id": ObjectId(),
            "patient_id": patient_id,
            "consent_id": consent["_id"],
            "categories": [one for one in ShareCategory if one in wanted],
            "purpose": purpose,
            "until": ends,
            "expires_at": min(moment + VALID, ends),
            "created_by": current_scope().signed_in.user_id,
        },
    )
    return await _store(share)


async def _store(share: ShareCode) -> IssuedCode:
    code = _new_code()
    route = ShareRoute(
        id=secrets.token_urlsafe(24),
        giver_id=current_scope().tenant_id,
        share_code_id=share.key,
        code_hash=hash_of(code),
        expires_at=share.expires_at,
    )

    async def work(session: AsyncClientSession) -> None:
        await share.insert(session=session)
        await route.insert(session=session)
        await record("share_code.issue", subject=share, patients=[share.patient_id], session=session)

    await in_transaction(work)
    return IssuedCode(code, row_of(share))


async def revoke(share_id: ObjectId, version: int) -> Row:
    """Ends a share: a code that is open can no longer be redeemed, one that was redeemed opens nothing any more.

    The patient stays the other clinic's. Raises NOT_FOUND at `input.id`, CONFLICT at `input.version`, or
    INVALID_STATE when it was revoked before.
    """

    async def work(session: AsyncClientSession) -> Row:
        live = {"state": {"$ne": ShareCodeState.REVOKED.value}}
        try:
            done = await ShareCode.change(
                share_id, version, {"state": ShareCodeState.REVOKED.value}, filter=live, session=session
            )
        except NotFound:
            raise NotFound.at("input.id") from None
        except Conflict:
            if await ShareCode.rows({"_id": share_id, "version": version}, limit=1, session=session):
                raise InvalidState("The share was revoked already.") from None
            raise another_version() from None
        own = {"giver_id": current_scope().tenant_id, "share_code_id": share_id}
        await ShareRoute.guarded().delete_many(own, session=session)
        await record("share_code.revoke", subject=done, patients=[done.patient_id], session=session)
        return row_of(done)

    return await in_transaction(work)
