"""Signing in by the clinic's own identity provider: from the clinic's host to the provider and back.

What comes of it is good at this clinic alone. The clinic's admin chooses the provider, and a provider can say anything:
so it vouches for addresses of the clinic's own domains only, for people who work here already, and for each of them
only after they have agreed, by a link that is mailed to the address we know.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from app.auth.links import digest, new_secret
from app.auth.sessions import SignedIn, end_session, identify, lacks_second_factor, open_session
from app.config import Settings
from app.errors import NotFound, Unauthenticated, Unavailable, ValidationFailed
from app.integrations.oidc import Client, Identity, OidcError, Proof
from app.services.audit import record
from app.services.identity_providers import present, providers
from app.services.provider_links import confirmed_user, request_confirmation
from app.services.rate_limits import Limit, network_of, take
from app.tenancy.scope import TenantRef, current_scope, open_scope
from models import IdentityProvider, OidcFlow, User
from models.values import now

STARTS = Limit("single-sign-on-start", 300, timedelta(minutes=15))
RETURNS = Limit("single-sign-on-return", 300, timedelta(minutes=15))
"""By network, at one clinic: so many people begin their day behind one address; what is guessed at has 256 bits."""
LASTS = timedelta(minutes=10)
LONGEST_PATH = 500
LONGEST_SECRET = 200
AGREE = "/login?notice=confirm-by-mail"
"""Where those are sent whose agreement is still needed."""
REFUSED = "The sign-in by your clinic's provider did not succeed. Start it again."

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """Where to send the browser, and the secret that it keeps until it comes back."""

    url: str = field(repr=False)
    browser: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Returned:
    """What came back with the browser; each None when it did not come exactly once."""

    state: str | None = field(repr=False)
    code: str | None = field(repr=False)
    issuer: str | None
    error: str | None
    browser: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Finished:
    """Where the browser goes, with a session unless the person must agree first."""

    path: str
    signed_in: SignedIn | None


async def start(settings: Settings, *, redirect_uri: str, next_path: str) -> Started:
    """Begins a sign-in at the clinic in scope. Raises NOT_FOUND without a provider, VALIDATION_FAILED at `next`."""
    clinic = _clinic()
    await take(STARTS, network_of(current_scope().address))
    path = _checked_path(next_path)
    provider = await _enabled()
    browser, state = new_secret(), new_secret()
    try:
        url = await providers(loopback=settings.loopback_providers).authorization_url(
            _client(provider, redirect_uri), _proof(browser, state)
        )
    except OidcError as error:
        log.warning("the identity provider cannot be used", reason=str(error))
        raise Unavailable("Your clinic's identity provider does not answer.") from None
    await OidcFlow(
        id=digest(state),
        browser=digest(browser),
        clinic_id=clinic.id,
        issuer=provider.issuer,
        client_id=provider.client_id,
        next_path=path,
        expires_at=now() + LASTS,
    ).insert()
    return Started(url, browser)


async def finish(settings: Settings, returned: Returned, *, redirect_uri: str, device: str) -> Finished:
    """Ends a sign-in that this very browser began at this clinic within ten minutes, once.

    Raises UNAUTHENTICATED with one and the same text for everything that is wrong with what came back.
    """
    await take(RETURNS, network_of(current_scope().address))
    flow, proof = await _use_up(returned, _clinic())
    provider = await _enabled()
    if returned.error is not None or not returned.code:
        raise _refused("the provider refused")
    if (provider.issuer, provider.client_id) != (flow.issuer, flow.client_id):
        raise _refused("the clinic's provider was changed meanwhile")
    try:
        identity = await providers(loopback=settings.loopback_providers).identity(
            _client(provider, redirect_uri), proof, returned.code, returned.issuer
        )
    except OidcError as error:
        raise _refused(str(error)) from None
    user = await confirmed_user(identity, provider)
    if user is None:
        await request_confirmation(identity, provider, settings)
        return Finished(AGREE, None)
    return Finished(flow.next_path, await _open(user, identity, provider, settings, device))


async def _use_up(returned: Returned, clinic: TenantRef) -> tuple[OidcFlow, Proof]:
    state, browser = returned.state or "", returned.browser or ""
    if not 0 < len(state) <= LONGEST_SECRET or not 0 < len(browser) <= LONGEST_SECRET:
        raise _refused("no state, or no cookie")
    row = await OidcFlow.guarded().find_one_and_delete(
        {
            "_id": digest(state),
            "browser": digest(browser),
            "clinic_id": clinic.id,
            "expires_at": {"$gt": now()},
        }
    )
    if row is None:
        raise _refused("a state that is unknown, used, too old, or of another browser or clinic")
    return OidcFlow.model_validate(row), _proof(browser, state)


async def _open(
    user: User, identity: Identity, provider: IdentityProvider, settings: Settings, device: str
) -> SignedIn:
    scope = current_scope()
    signed_in = await open_session(
        user,
        settings,
        clinic=scope.tenant,
        address=scope.address,
        device=device,
        second_factor=provider.trusts_second_factor and identity.second_factor,
        confined=True,
    )
    known = await identify(signed_in.token, scope, settings)
    if await IdentityProvider.find_one({"_id": provider.key, "version": provider.version}) is None:
        await end_session(signed_in.session.id)  # changed while the code was redeemed: its sessions have been ended
        raise _refused("the clinic's provider was changed meanwhile")
    if known is None or known.mismatch:
        await end_session(signed_in.session.id)
        if known is not None and lacks_second_factor(known):
            raise Unauthenticated("This clinic asks for a second factor, for which your provider did not vouch.")
        raise _refused("the person was taken off meanwhile")
    await User.guarded().update_one({"_id": user.key}, {"$set": {"last_login_at": now()}})
    with open_scope(known):
        await record("session.open_by_provider", subject=user)
    return signed_in


def _clinic() -> TenantRef:
    clinic = current_scope().tenant
    if clinic is None:
        raise NotFound
    return clinic


async def _enabled() -> IdentityProvider:
    provider = await present()
    if provider is None or not provider.enabled:
        raise NotFound("This clinic has no identity provider.")
    return provider


def _client(provider: IdentityProvider, redirect_uri: str) -> Client:
    return Client(provider.issuer, provider.client_id, provider.client_secret, tuple(provider.scopes), redirect_uri)


def _proof(browser: str, state: str) -> Proof:
    """Nonce and verifier come from what only the browser keeps, so that nothing stored could stand in for it."""
    return Proof(state, nonce=_derived(browser, "nonce", state), verifier=_derived(browser, "verifier", state))


def _derived(browser: str, purpose: str, state: str) -> str:
    raw = hmac.digest(browser.encode(), f"{purpose}:{state}".encode(), "sha256")
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _checked_path(path: str) -> str:
    """A path of this host. Raises VALIDATION_FAILED at `next` for what a browser could take for another one."""
    plain = len(path) <= LONGEST_PATH and all("!" <= char <= "~" and char != "\\" for char in path)
    if not plain or not path.startswith("/") or path.startswith("//"):
        raise ValidationFailed.at("next", "must be a path of this host")
    return path


def _refused(reason: str) -> Unauthenticated:
    log.info("single sign-on was refused", reason=reason)
    return Unauthenticated(REFUSED)
