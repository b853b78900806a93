"""Invitations to work at a clinic, and the links that people are mailed about their own account."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from models.base import PlatformDocument, TenantDocument
from models.references import PlatformReference, Reference, WhenGone
from models.staff import StaffKind
from models.values import Email, Name, now


class InvitationStatus(StrEnum):
    """Where an invitation stands. An open one may have run out: see `expires_at`."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REVOKED = "revoked"


class Invitation(TenantDocument):
    """One invitation of an address to a role. The secret of its link is stored as a hash alone."""

    email: Email
    name: Name
    kind: StaffKind
    role_id: Annotated[PydanticObjectId, Reference("roles")]
    staff_id: Annotated[PydanticObjectId, Reference("staff")] | None = None
    """The profile that the person takes over; without one they get a new one."""
    token_hash: str = Field(repr=False)
    status: InvitationStatus = InvitationStatus.OPEN
    invited_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    accepted_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    created_at: datetime = Field(default_factory=now)
    sent_at: datetime = Field(default_factory=now)
    expires_at: datetime
    accepted_at: datetime | None = None

    class Settings:
        name = "invitations"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("email", ASCENDING)],
                name="open_email",
                unique=True,
                partialFilterExpression={"status": InvitationStatus.OPEN.value},
            ),
            IndexModel([("tenant_id", ASCENDING), ("token_hash", ASCENDING)], name="token", unique=True),
            IndexModel([("tenant_id", ASCENDING), ("created_at", DESCENDING), ("_id", DESCENDING)], name="created"),
            IndexModel([("tenant_id", ASCENDING), ("role_id", ASCENDING)], name="role"),
        )


class EmailPurpose(StrEnum):
    """What a mailed link is for."""

    VERIFY = "verify"
    CHANGE = "change"
    RESET = "reset"


class EmailToken(PlatformDocument):
    """The one link that counts for a person and a purpose; a newer one replaces it, and using it removes it.

    It holds while the person's `token_version` is still the same, so a new password voids it.
    """

    user_id: Annotated[PydanticObjectId, PlatformReference("users", WhenGone.DELETE)]
    purpose: EmailPurpose
    token_hash: str = Field(repr=False)
    email: Email
    """The address that it was mailed to."""
    token_version: int
    created_at: datetime = Field(default_factory=now)
    expires_at: datetime

    class Settings:
        name = "email_tokens"
        indexes = (
            IndexModel([("user_id", ASCENDING), ("purpose", ASCENDING)], name="user_purpose", unique=True),
            IndexModel([("token_hash", ASCENDING)], name="token", unique=True),
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),
        )
