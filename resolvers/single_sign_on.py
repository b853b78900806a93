"""The clinic's own identity provider, and agreeing to it."""

from __future__ import annotations

from typing import Any

import strawberry
from strawberry import Maybe

from app.graphql.access import Level, field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, row_type, stored
from app.graphql.inputs import given
from app.graphql.selection import columns, projection
from app.permissions import Permission
from app.plans import Feature
from app.services import identity_providers as service
from app.services import provider_links
from app.tenancy.scope import current_scope
from models import IdentityProvider
from resolvers.base import Resolver, shown

PATH = "/auth/oidc/start"


def _has_secret(row: Row) -> bool:
    return row.get("client_secret") is not None


@row_type(
    "IdentityProvider",
    model=IdentityProvider,
    read=Permission.SETTINGS_READ,
    description="By whom the clinic's people may sign in to the clinic, and nowhere else (OpenID Connect).",
)
class IdentityProviderType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    version: int = stored(description="Grows with each change; send it back when changing.")
    issuer: str = stored(description="Its issuer identifier, a web address.")
    client_id: str = stored(description="What it calls this system.")
    has_client_secret: bool = computed(
        "client_secret", by=_has_secret, description="Whether a secret is kept. The secret itself is never shown."
    )
    scopes: list[str] = stored(description="What it is asked for; `openid` and `email` always.")
    email_domains: list[str] = stored(description="For addresses of these domains alone its word counts.")
    trusts_second_factor: bool = stored(
        description="Whether its word that it saw a second factor counts where the clinic asks for one."
    )
    enabled: bool = stored(description="Whether people may sign in by it.")


@strawberry.input(
    description="The clinic's identity provider. With a version: changes, where what is left out stays as it is."
)
class SetIdentityProviderInput:
    version: int | None = strawberry.field(
        default=None, description="The version that the change is based on; none for the clinic's first provider."
    )
    issuer: Maybe[str] = strawberry.field(description="Its issuer identifier. Another one voids the secret.")
    client_id: Maybe[str] = strawberry.field(description="What it calls this system.")
    client_secret: Maybe[str | None] = strawberry.field(description="The secret it gave; null for a public client.")
    scopes: Maybe[list[str]] = strawberry.field(description="What to ask it for beside `openid` and `email`.")
    email_domains: Maybe[list[str]] = strawberry.field(description="The domains for which its word counts.")
    trusts_second_factor: Maybe[bool] = strawberry.field(
        description="Whether its word that it saw a second factor counts."
    )
    enabled: Maybe[bool] = strawberry.field(description="Whether people may sign in by it.")


@strawberry.input(description="The identity provider that is to be forgotten.")
class RemoveIdentityProviderInput:
    version: int = strawberry.field(description="The version that the step is based on.")


@strawberry.input(description="The secret of a link by which somebody agrees to a sign-in by the clinic's provider.")
class ConfirmExternalIdentityInput:
    token: str = strawberry.field(description="What stands behind `#token=` in the link.")


async def _provider(info: Info) -> Any:
    rows = await IdentityProvider.rows({}, projection=projection(columns(info, IdentityProviderType)), limit=1)
    return shown(rows[0] if rows else None)


@strawberry.type
class SingleSignOnQuery(Resolver):
    @field(Permission.SETTINGS_READ, description="The clinic's identity provider, if it has one.")
    async def identity_provider(self, info: Info) -> IdentityProviderType | None:
        return await _provider(info)

    @field(
        Level.PUBLIC,
        description="The path on this host that leads to the clinic's identity provider; null when people cannot sign "
        "in by one.",
    )
    async def single_sign_on_path(self, info: Info) -> str | None:
        provider = await service.present() if current_scope().tenant else None
        return PATH if provider is not None and provider.enabled else None


@strawberry.type
class SingleSignOnMutation(Resolver):
    @field(
        Permission.SETTINGS_MANAGE,
        description="Sets the clinic's identity provider. An enabled one is called first.",
        feature=Feature.SINGLE_SIGN_ON,
    )
    async def set_identity_provider(self, info: Info, input: SetIdentityProviderInput) -> IdentityProviderType:
        values = given(input)
        await service.set_provider(values.pop("version", None), values, info.context.settings)
        return await _provider(info)

    @field(Permission.SETTINGS_MANAGE, description="Forgets the clinic's identity provider: nobody signs in by it.")
    async def remove_identity_provider(self, info: Info, input: RemoveIdentityProviderInput) -> bool:
        await service.remove_provider(input.version)
        return True

    @field(
        Level.PUBLIC,
        description="Agrees, by a mailed link, that the clinic's provider vouches for one at this clinic. It signs "
        "nobody in. NOT_FOUND alike for a link that is unknown, used, replaced or too old.",
        without_plan=True,
    )
    async def confirm_external_identity(self, info: Info, input: ConfirmExternalIdentityInput) -> bool:
        await provider_links.confirm(input.token)
        return True
