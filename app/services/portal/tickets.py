"""QR codes that sign a patient in: one link, good once, for five minutes, at the clinic that made it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from bson import ObjectId
from pymongo.asynchronous.client_session import AsyncClientSession

from app.auth.links import digest, new_secret
from app.config import Settings
from app.db.transactions import in_transaction
from app.late import late
from app.services.audit import record
from app.services.mailing import front_url
from app.services.portal.accounts import require_enabled
from app.services.rate_limits import Limit, take
from app.tenancy.scope import current_scope
from models import PortalTicket
from models.values import now

if TYPE_CHECKING:
    import segno
else:
    segno = late("segno")

LASTS = timedelta(minutes=5)
PAGE = "portal/sign-in"
MADE = Limit("portal-ticket", 30, timedelta(hours=1))
_SCALE = 6
"""Pixels of one module."""


@dataclass(frozen=True, slots=True)
class QrSignIn:
    """A ticket as link and as QR code of it; the images are data URIs."""

    link: str
    svg: str
    png: str
    expires_at: datetime


async def create(patient_id: ObjectId, settings: Settings) -> QrSignIn:
    """Makes the patient's only ticket; an earlier one is void. Raises NOT_FOUND, INVALID_STATE, RATE_LIMITED.

    What the link carries stands behind its `#`, so no server, proxy or `Referer` ever sees it.
    """
    await take(MADE, str(patient_id))
    secret = new_secret()
    ticket = PortalTicket(patient_id=patient_id, digest=digest(secret), expires_at=now() + LASTS)

    async def work(session: AsyncClientSession) -> None:
        await require_enabled(patient_id, session)
        await PortalTicket.guarded().delete_many({"patient_id": patient_id}, session=session)
        await ticket.insert(session=session)
        await record("portal.create_qr", patients=[patient_id], session=session)

    await in_transaction(work)
    link = front_url(settings, current_scope().tenant, PAGE, secret)
    drawn = segno.make_qr(link, error="m")
    return QrSignIn(link, drawn.svg_data_uri(scale=_SCALE), drawn.png_data_uri(scale=_SCALE), ticket.expires_at)


async def redeem(secret: str) -> ObjectId | None:
    """Uses a ticket up, in one atomic step; whose it was, or None for one that is unknown, used or too old."""
    row = await PortalTicket.guarded().find_one_and_delete({"digest": digest(secret), "expires_at": {"$gt": now()}})
    return row["patient_id"] if row else None
