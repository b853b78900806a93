"""Host → clinic, for every request. No other part of a request can name a clinic."""

from __future__ import annotations

from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import TenantNotFound
from app.http.failures import BadRequest
from app.http.registry import RouteKind
from app.http.state import RequestState, request_state
from app.tenancy.hosts import BadHost, Clinic, Root, parse_host, resolve_host
from app.tenancy.scope import Database, TenantRef, narrowed


class Directory(Protocol):
    """Where clinics are looked up."""

    async def by_subdomain(self, subdomain: str) -> TenantRef | None:
        """The active clinic of this name; None alike for an unknown, inactive or suspended one."""
        ...

    def database_for(self, tenant: TenantRef) -> Database:
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
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        state = request_state(scope)
        if state.spec is not None and state.spec.kind is RouteKind.OPERATOR:
            await self.app(scope, receive, send)
            return
        subdomain = self._subdomain(state)
        scope = _with_one_host(scope, state)
        if subdomain is None:
            await self.app(scope, receive, send)
            return
        tenant = await self._clinic(subdomain)
        state.tenant = tenant.subdomain
        with narrowed(tenant=tenant, database=self._directory.database_for(tenant)):
            await self.app(scope, receive, send)

    def _subdomain(self, state: RequestState) -> str | None:
        """The clinic that the host names, None on the root host. Raises `BadRequest`, `TenantNotFound`."""
        try:
            state.host = parse_host(state.authority or "")
        except BadHost:
            raise BadRequest("The Host header is missing, repeated or malformed.") from None
        settings = self._settings
        if settings.single_clinic and settings.default_tenant:
            return settings.default_tenant
        match resolve_host(
            state.host.host,
            root_domain=settings.root_domain,
            preview_domain=settings.preview_domain,
            development=not settings.is_production,
        ):
            case Root():
                return None
            case Clinic(subdomain):
                return subdomain
            case _:
                raise TenantNotFound

    async def _clinic(self, subdomain: str) -> TenantRef:
        tenant = await self._directory.by_subdomain(subdomain)
        if tenant is None:
            raise TenantNotFound
        return tenant


def _with_one_host(scope: Scope, state: RequestState) -> Scope:
    """Leaves the checked host as the only one that can be read further in."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    authority = state.host.authority if state.host else ""
    return {**scope, "headers": [(b"host", authority.encode("ascii")), *headers]}
