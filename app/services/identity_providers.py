"""A clinic's identity provider: who it is, for which addresses its word counts, and what we are to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError

from app.auth.sessions import end_vouched_sessions
from app.config import Settings
from app.db.transactions import in_transaction
from app.errors import InvalidState, NotFound, ValidationFailed
from app.integrations.oidc import OidcError, Providers
from app.integrations.outbound import url_fault
from app.services.audit import record
from app.services.changes import another_version, build, change_row, checked
from app.services.rate_limits import Limit, take
from app.tenancy.scope import current_scope
from models import IdentityProvider

TERMS = ("issuer", "client_id", "email_domains", "trusts_second_factor", "enabled")
"""What a session that the provider vouched for rests on: with any of it changed, those sessions end."""
CHECKS = Limit("identity-provider-check", 30, timedelta(minutes=15))
SECRET = "client_secret"


@cache
def providers(*, loopback: bool) -> Providers:
    """What this process knows of identity providers."""
    return Providers(loopback=loopback)


async def present() -> IdentityProvider | None:
    """The provider of the clinic in scope, enabled or not."""
    found: IdentityProvider | None = await IdentityProvider.find_one({})
    return found


async def set_provider(version: int | None, values: Mapping[str, Any], settings: Settings) -> None:
    """Stores the clinic's first provider (without `version`), or changes the one of that version.

    An enabled one is called first. A secret is never shown to another issuer than the one that it was given for:
    whoever changes the issuer gives its secret too, or none is kept. With other terms (`TERMS`) the sessions end that
    it vouched for. Raises VALIDATION_FAILED at `input.…`, CONFLICT at `input.version`, INVALID_STATE when there is one
    already and no version was given.
    """
    stored = await present()
    if version is None:
        await _create(stored, values, settings)
        return
    if stored is None or stored.version != version:
        raise another_version()
    changes = checked(IdentityProvider, values)
    if changes.get("issuer", stored.issuer) != stored.issuer:
        changes.setdefault(SECRET, None)
    await _check({**stored.model_dump(include={"issuer", "enabled"}), **changes}, settings)

    async def work(session: AsyncClientSession) -> None:
        await change_row(IdentityProvider, stored.key, version, changes, session=session)
        if any(name in changes and changes[name] != getattr(stored, name) for name in TERMS):
            await end_vouched_sessions(current_scope().tenant_id, session=session)
        await record("identity_provider.change", subject=stored, session=session)

    await in_transaction(work)


async def _create(stored: IdentityProvider | None, values: Mapping[str, Any], settings: Settings) -> None:
    provider: IdentityProvider = build(IdentityProvider, {name: v for name, v in values.items() if v is not None})
    if stored is not None:
        raise _there_is_one()
    await _check(provider.model_dump(include={"issuer", "enabled"}), settings)

    async def work(session: AsyncClientSession) -> None:
        await provider.insert(session=session)
        await record("identity_provider.create", subject=provider, session=session)

    try:
        await in_transaction(work)
    except DuplicateKeyError:
        raise _there_is_one() from None


def _there_is_one() -> InvalidState:
    return InvalidState("The clinic has an identity provider already: give its version to change it.")


async def _check(provider: Mapping[str, Any], settings: Settings) -> None:
    if fault := url_fault(provider["issuer"], loopback=settings.loopback_providers):
        raise ValidationFailed.at("input.issuer", fault)
    if not provider["enabled"]:
        return
    await take(CHECKS, "all")
    try:
        await providers(loopback=settings.loopback_providers).check(provider["issuer"])
    except OidcError as error:
        raise ValidationFailed.at("input.issuer", f"does not lead to an identity provider: {error}") from None


async def remove_provider(version: int) -> None:
    """Forgets the clinic's provider: nobody signs in by it from now on, and who did is signed out.

    Raises NOT_FOUND, or CONFLICT.
    """
    stored = await present()
    if stored is None:
        raise NotFound("The clinic has no identity provider.")

    async def work(session: AsyncClientSession) -> None:
        done = await IdentityProvider.guarded().delete_one({"_id": stored.key, "version": version}, session=session)
        if not done.deleted_count:
            raise another_version()
        await end_vouched_sessions(current_scope().tenant_id, session=session)
        await record("identity_provider.remove", subject=stored, session=session)

    await in_transaction(work)
