"""A clinic's own identity provider, by which its people sign in to that clinic and nowhere else (OpenID Connect)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import AfterValidator, Field, StringConstraints
from pymongo import ASCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.base import PlatformDocument, TenantDocument, Versioned
from models.references import PlatformReference, WhenGone
from models.tenant import EmailDomain
from models.values import now


def _issuer(url: str) -> str:
    if "?" in url or "#" in url:
        raise ValueError("must have neither query nor fragment")
    return url


def _with_openid(scopes: list[str]) -> list[str]:
    return list(dict.fromkeys(["openid", "email", *scopes]))


Issuer = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=500, pattern=r"^https?://[!-~]+$"),
    AfterValidator(_issuer),
]
"""The provider's issuer identifier: a web address without query and fragment (OpenID Connect Discovery 1.0, 3)."""
ClientId = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[ -~]{1,255}$")]
ClientSecret = Annotated[str, StringConstraints(pattern=r"^[ -~]{1,1000}$")]
Scope = Annotated[str, StringConstraints(pattern=r"^[!#-\[\]-~]{1,100}$")]
"""RFC 6749, section 3.3."""


class IdentityProvider(Versioned, TenantDocument):
    """Who vouches for the clinic's people, and for whom: a clinic has one at most."""

    issuer: Issuer
    client_id: ClientId
    client_secret: Annotated[ClientSecret | None, Sealed()] = Field(default=None, repr=False)
    """None for a public client, which PKCE alone holds."""
    scopes: Annotated[list[Scope], Field(max_length=20), AfterValidator(_with_openid)] = Field(
        default_factory=lambda: ["openid", "email"]
    )
    email_domains: list[EmailDomain] = Field(min_length=1, max_length=20)
    """For addresses of these domains alone its word counts."""
    trusts_second_factor: bool = False
    """Whether its word that it saw a second factor counts where the clinic asks for one."""
    enabled: bool = True

    class Settings:
        name = "identity_providers"
        indexes = (IndexModel([("tenant_id", ASCENDING)], name="clinic", unique=True),)


class ExternalIdentity(TenantDocument):
    """Somebody of the clinic as an identity provider knows them. It counts once the person has confirmed it."""

    issuer: Issuer
    subject: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    user_id: Annotated[PydanticObjectId, PlatformReference("users")]
    created_at: datetime = Field(default_factory=now)
    confirmed_at: datetime | None = None
    confirmation: str | None = Field(default=None, repr=False)
    """The hash of the secret in the link that was mailed to the person."""
    expires_at: datetime | None = None
    """Until when that link is good."""
    last_used_at: datetime | None = None

    class Settings:
        name = "external_identities"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("issuer", ASCENDING), ("subject", ASCENDING)], name="subject", unique=True
            ),
            IndexModel([("tenant_id", ASCENDING), ("user_id", ASCENDING)], name="user"),
            IndexModel([("tenant_id", ASCENDING), ("confirmation", ASCENDING)], name="confirmation"),
        )


class OidcFlow(PlatformDocument):
    """One sign-in on its way to a provider and back: of one browser, at one clinic, once, for ten minutes."""

    id: str  # type: ignore[assignment]  # the hash of its state
    browser: str = Field(repr=False)
    """The hash of the secret that this browser keeps in a cookie; nonce and PKCE verifier come from that secret."""
    clinic_id: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.DELETE)]
    issuer: str
    client_id: str
    next_path: str
    expires_at: datetime

    class Settings:
        name = "oidc_flows"
        indexes = (
            IndexModel([("clinic_id", ASCENDING)], name="clinic"),
            IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),
        )
