"""Who and where this request is. The scope is the only carrier of both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, NewType

from bson import ObjectId
from pymongo.asynchronous.database import AsyncDatabase

from app.errors import TenantScopeRequired, Unauthenticated
from app.permissions import Permission

TenantId = NewType("TenantId", ObjectId)
"""The id of a tenant that was looked up by us; never an id that a client sent."""

Database = AsyncDatabase[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class TenantRef:
    """What a request needs of its clinic. `timezone` is an IANA name, `currency` an ISO 4217 code."""

    id: TenantId
    subdomain: str
    name: str
    timezone: str = "UTC"
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class Actor:
    """The signed-in person. The role and what it permits are those at this scope's tenant, if any."""

    user_id: ObjectId
    session_id: str
    name: str
    email: str
    membership_id: ObjectId | None = None
    role: str | None = None
    permissions: frozenset[Permission] = frozenset()


@dataclass(frozen=True, slots=True)
class Scope:
    """One request, job or command: which clinic, who acts, where the clinic's data lives."""

    request_id: str
    tenant: TenantRef | None = None
    actor: Actor | None = None
    database: Database | None = field(default=None, repr=False)
    address: str = ""
    mismatch: bool = False
    """True when somebody is signed in but the session has not entered this host's clinic."""
    system_reason: str | None = None
    """Set only inside `system_scope`: why clinics are crossed."""

    @property
    def tenant_id(self) -> TenantId:
        """This scope's tenant. Raises `TenantScopeRequired` when there is none."""
        if self.tenant is None:
            raise TenantScopeRequired("no clinic is in scope")
        return self.tenant.id

    @property
    def signed_in(self) -> Actor:
        """The actor. Raises `Unauthenticated` when nobody is signed in."""
        if self.actor is None:
            raise Unauthenticated
        return self.actor


_current: ContextVar[Scope | None] = ContextVar("polyclinic_scope", default=None)


def current_scope() -> Scope:
    """The scope of the running task. Raises `TenantScopeRequired` when none was opened."""
    scope = _current.get()
    if scope is None:
        raise TenantScopeRequired("no scope is open")
    return scope


def scope_or_none() -> Scope | None:
    """The scope of the running task, or None outside of any."""
    return _current.get()


@contextmanager
def open_scope(scope: Scope) -> Iterator[Scope]:
    """Makes `scope` the current one until the block ends, then restores what was before."""
    token = _current.set(scope)
    try:
        yield scope
    finally:
        _current.reset(token)


def forget_actor() -> None:
    """Goes on as nobody until the scope that is open now ends."""
    _current.set(replace(current_scope(), actor=None, mismatch=False))


@contextmanager
def narrowed(**changes: Any) -> Iterator[Scope]:
    """Opens a copy of the current scope with `changes`, for instance a new actor after sign-in."""
    with open_scope(replace(current_scope(), **changes)) as scope:
        yield scope
