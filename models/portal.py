"""What lets patients into their portal at one clinic: the account, the sessions, and the secrets that open one."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from models.base import TenantDocument, Versioned
from models.references import Reference
from models.values import Email, Phone, now


class PortalChannel(StrEnum):
    """The way in which a patient's one-time codes are sent."""

    EMAIL = "email"
    SMS = "sms"


class SignInMethod(StrEnum):
    """What a patient's session was opened with."""

    CODE = "code"
    DESK_CODE = "desk_code"
    QR = "qr"


class PortalAccount(Versioned, TenantDocument):
    """Whether a patient may use the portal of this clinic, and how their sign-ins go."""

    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    enabled: bool = True
    channel: PortalChannel = PortalChannel.EMAIL
    email: Email | None = None
    """With `phone`: where codes go. A clinic that shares the patient changes their contact data too, but must not lead
    this clinic's codes elsewhere: what it changes counts here once somebody here agrees."""
    phone: Phone | None = None
    last_sign_in_at: datetime | None = None
    failed_tries: int = 0
    """Wrong codes since the last sign-in."""
    turn: int = 0
    """Grows with each act that must not happen beside another of the same patient: two at once collide here."""

    class Settings:
        name = "portal_accounts"
        indexes = (IndexModel([("tenant_id", ASCENDING), ("patient_id", ASCENDING)], name="patient", unique=True),)


class PortalSession(TenantDocument):
    """One sign-in of a patient on one device, good at this clinic alone. The token only names it."""

    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    method: SignInMethod
    created_at: datetime = Field(default_factory=now)
    last_seen_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None
    address: str = ""
    device: str = ""

    class Settings:
        name = "portal_sessions"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)],
                name="patient",
            ),
        )


class OneTimeCode(TenantDocument):
    """The newest code of a patient; there is one, until it is used, expires, or too many tries were wrong."""

    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    salt: bytes = Field(repr=False)
    mac: bytes = Field(repr=False)
    method: SignInMethod = SignInMethod.CODE
    tries: int = 0
    expires_at: datetime

    class Settings:
        name = "portal_codes"
        indexes = (IndexModel([("tenant_id", ASCENDING), ("patient_id", ASCENDING)], name="patient", unique=True),)


class PortalTicket(TenantDocument):
    """A QR code that signs a patient in once. `digest` is the hash of what its link carries."""

    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    digest: str = Field(repr=False)
    expires_at: datetime

    class Settings:
        name = "portal_tickets"
        indexes = (
            IndexModel([("tenant_id", ASCENDING), ("digest", ASCENDING)], name="digest", unique=True),
            IndexModel([("tenant_id", ASCENDING), ("patient_id", ASCENDING)], name="patient"),
        )
