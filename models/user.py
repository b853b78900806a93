"""A person who signs in, the clinics they work at, and their sessions."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, IndexModel

from models.base import PlatformDocument, Versioned
from models.references import ANY_ID, PlatformReference, Reference, WhenGone
from models.values import Email, Name, now


class UserStatus(StrEnum):
    """A disabled person cannot sign in anywhere."""

    ACTIVE = "active"
    DISABLED = "disabled"


class User(Versioned, PlatformDocument):
    """One person, whichever clinics they work at. `token_version` ends old sessions when it grows."""

    email: Email
    name: Name
    password_hash: str = Field(repr=False)
    status: UserStatus = UserStatus.ACTIVE
    token_version: int = 1
    last_login_at: datetime | None = None
    email_verified_at: datetime | None = None
    """When the person last showed that they read the mail of this address."""

    class Settings:
        name = "users"
        indexes = (IndexModel([("email", ASCENDING)], name="email", unique=True),)


class MembershipStatus(StrEnum):
    """Whether the person still works at the clinic."""

    ACTIVE = "active"
    DISABLED = "disabled"
    """They may not enter for the time being."""
    REMOVED = "removed"


class Membership(Versioned, PlatformDocument):
    """Binds a person to a clinic and to a role there. Read live for each request."""

    user_id: Annotated[PydanticObjectId, PlatformReference("users", WhenGone.HOLD)]
    clinic_id: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.DELETE)]
    role_id: Annotated[PydanticObjectId, Reference("roles")]
    role: str
    """The role's name, kept here so that a person's list of clinics needs no look into the clinics."""
    staff_id: Annotated[PydanticObjectId, Reference("staff")] | None = None
    status: MembershipStatus = MembershipStatus.ACTIVE

    class Settings:
        name = "memberships"
        indexes = (
            IndexModel([("user_id", ASCENDING), ("clinic_id", ASCENDING)], name="user_clinic", unique=True),
            IndexModel([("clinic_id", ASCENDING), ("role_id", ASCENDING)], name="clinic_role"),
            IndexModel([("staff_id", ASCENDING)], name="staff"),
        )


class Session(PlatformDocument):
    """One sign-in on one device. The token only names it; everything else is checked here."""

    id: str  # type: ignore[assignment]  # a random name of its own, not an ObjectId
    user_id: Annotated[PydanticObjectId, PlatformReference("users", WhenGone.DELETE)]
    token_version: int
    clinic_ids: Annotated[list[PydanticObjectId], PlatformReference("tenants", WhenGone.PULL)] = Field(
        default_factory=list
    )
    created_at: datetime = Field(default_factory=now)
    last_seen_at: datetime = Field(default_factory=now)
    expires_at: datetime
    revoked_at: datetime | None = None
    address: str = ""
    device: str = ""
    only_clinic_id: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.DELETE)] | None = None
    """The one clinic where it is good, for a session that the clinic's own identity provider vouched for."""
    second_factor_at: datetime | None = None
    """When the person showed more than their password in this session."""
    longest_rest: int = 0
    """Seconds: the longest time so far in which it was not used. A clinic may allow less than other hosts do."""

    class Settings:
        name = "sessions"
        indexes = (
            IndexModel([("user_id", ASCENDING), ("created_at", ASCENDING)], name="user"),
            IndexModel([("clinic_ids", ASCENDING)], name="clinics"),
            IndexModel(
                [("only_clinic_id", ASCENDING)],
                name="only_clinic",
                partialFilterExpression={"only_clinic_id": ANY_ID},
            ),
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),
        )
