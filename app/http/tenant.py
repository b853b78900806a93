"""Host → clinic, for every request. No other part of a request can name a clinic."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import TenantNotFound
from app.http.failures import BadRequest
from app.http.registry import RouteKind
from app.http.state import RequestState, request_state
from app.tenancy.hosts import BadHost, Clinic, Outcome, Unknown, parse_host, resolve_host
from app.tenancy.scope import Database, TenantRef, current_scope, open_scope


class Directory(Protocol):
    """Where clinics are looked up."""

    async def by_subdomain(self, subdomain: str) -> TenantRef | None:
        """The active clinic of this name; None alike for an unknown, inactive or suspended one."""
        ...

    async def database_for(self, tenant: TenantRef) -> Database:
        """Where the clinic's data lives."""
        ...


class HostSettings(Protocol):
    """The settings that decide about hosts."""

    @property
    def is_production(self) -> bool: ...
    @property
    def root_domain(self) -> str: ...
    @property
    def preview_domain(self) -> str | None: ...
    @property
    def single_clinic(self) -> bool: ...
    @property
    def default_tenant(self) -> str | None: ...


class TenantResolver:
    """Puts the host's clinic and its database into the scope, none on the root host.

    A malformed host is `VALIDATION_FAILED` (400); a host without an active clinic `TENANT_NOT_FOUND` (404).
    Probes and metrics concern no clinic and are answered on every host.
    """

    def __init__(self, app: ASGIApp, *, directory: Directory, settings: HostSettings) -> None:
        self.app = app
        self._directory = directory
        self._alone = settings.default_tenant if settings.single_clinic else None
        self._place_of = lru_cache(maxsize=1024)(partial(_place_of, settings))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        state = request_state(scope)
        if state.spec is not None and state.spec.kind is RouteKind.OPERATOR:
            await self.app(scope, receive, send)
            return
        subdomain = self._subdomain(state)
        scope["headers"] = state.fields.headers
        if subdomain is None:
            await self.app(scope, receive, send)
            return
        tenant = await self._directory.by_subdomain(subdomain)
        if tenant is None:
            raise TenantNotFound
        state.tenant = tenant.subdomain
        database = await self._directory.database_for(tenant)
        with open_scope(replace(current_scope(), tenant=tenant, database=database)):
            await self.app(scope, receive, send)

    def _subdomain(self, state: RequestState) -> str | None:
        """The clinic that the host names, None on the root host; leaves the checked host as the only one that can be
        read further in. Raises `BadRequest`, `TenantNotFound`."""
        try:
            state.host = parse_host(state.authority or "")
        except BadHost:
            raise BadRequest("The Host header is missing, repeated or malformed.") from None
        state.fields.name_host(state.host.authority)
        if self._alone:
            systems = state.spec is not None and state.spec.kind.is_the_systems
            return None if systems else self._alone
        place = self._place_of(state.host.host)
        if isinstance(place, Unknown):
            raise TenantNotFound
        return place.subdomain if isinstance(place, Clinic) else None


def _place_of(settings: HostSettings, host: str) -> Outcome:
    return resolve_host(
        host,
        root_domain=settings.root_domain,
        preview_domain=settings.preview_domain,
        development=not settings.is_production,
    )
