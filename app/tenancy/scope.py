"""Who and where this request is. The scope is the only carrier of both."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, NewType

from bson import ObjectId
from pymongo.asynchronous.database import AsyncDatabase

from app.errors import TenantScopeRequired, Unauthenticated
from app.permissions import Permission, PlatformRole
from app.plans import Standing
from app.tenancy.trail import Trail

TenantId = NewType("TenantId", ObjectId)
"""The id of a tenant that was looked up by us; never an id that a client sent."""

Database = AsyncDatabase[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class SignInPolicy:
    """What a clinic asks of the sessions that enter it, beside the limits that hold everywhere.

    `email_domains` (lower case) are those of the people who may be invited; none named means any.
    """

    second_factor: bool = False
    session_hours: int | None = None
    idle_minutes: int | None = None
    email_domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Residence:
    """Where a clinic's documents live: in the shared database, or in the one of its own that is named here; that is on
    the home cluster, or on the other one that is named."""

    database: str | None = None
    cluster: str | None = None

    @property
    def is_own(self) -> bool:
        """Whether the clinic has a database of its own."""
        return self.database is not None


POOL = Residence()
"""The shared database."""


@dataclass(frozen=True, slots=True)
class TenantRef:
    """What a request needs of its clinic. `timezone` is an IANA name, `currency` an ISO 4217 code."""

    id: TenantId
    subdomain: str
    name: str
    timezone: str = "UTC"
    currency: str = "USD"
    policy: SignInPolicy = SignInPolicy()
    residence: Residence = POOL
    standing: Standing = field(default=Standing(), compare=False)
    """What the clinic's plan gives, and until when."""
    catalog_version: int | None = field(default=None, compare=False)
    """How often what others may remember of the clinic was changed, as read for this request; None when it was not."""


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
    platform_role: PlatformRole | None = None
    """What they are to the system itself; read on the root host alone."""
    entry_id: ObjectId | None = None
    """The timed entry by which somebody who runs the system is at this clinic, without being its member."""
    second_factor: bool = False
    """Whether this session was opened with more than a password."""
    confined: bool = False
    """Whether this session is good at this clinic alone, on the word of the clinic's own identity provider: it is
    nobody anywhere else, and may not touch the person's account."""


@dataclass(frozen=True, slots=True)
class PatientActor:
    """A patient, signed in at this scope's clinic and nowhere else. Never stands for an `Actor`, nor one for it."""

    patient_id: ObjectId
    session_id: str
    code: str
    """The clinic's own code of the patient."""


@dataclass(frozen=True, slots=True)
class Scope:
    """One request, job or command: which clinic, who acts, where the clinic's data lives."""

    request_id: str
    tenant: TenantRef | None = None
    actor: Actor | None = None
    patient: PatientActor | None = None
    """The patient who is signed in, by a session of its own: what staff may do is never read from it."""
    database: Database | None = field(default=None, repr=False)
    address: str = ""
    mismatch: bool = False
    """True when somebody is signed in but the session has not entered this host's clinic."""
    trail: Trail | None = field(default=None, repr=False, compare=False)
    """Where the guard notes what this request does with patients' data; none for jobs and commands."""
    system_reason: str | None = None
    """Set only inside `system_scope`: why clinics are crossed."""
    ledger: bool = False
    """Set only by `app.tenancy.ledger`, where entries of several clinics are stored together."""

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

    @property
    def signed_in_patient(self) -> PatientActor:
        """The patient. Raises `Unauthenticated` when none is signed in."""
        if self.patient is None:
            raise Unauthenticated
        return self.patient


class Place(NamedTuple):
    """Where a clinic's documents are: all that work for several requests at once takes over of their scopes."""

    tenant: TenantRef
    database: Database | None

    @classmethod
    def here(cls) -> Place:
        """That of the current scope. Raises `TenantScopeRequired` when no clinic is in it."""
        scope = current_scope()
        if scope.tenant is None:
            raise TenantScopeRequired("no clinic is in scope")
        return cls(scope.tenant, scope.database)

    @property
    def name(self) -> Hashable:
        """Equal for the same clinic at the same database, whatever else is known of the clinic."""
        return self.tenant.id, self.tenant.residence, id(self.database)

    def scope(self, request_id: str) -> Scope:
        """A scope of the clinic in which nobody acts and nothing is noted."""
        return Scope(request_id=request_id, tenant=self.tenant, database=self.database)


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


def forget_patient() -> None:
    """Goes on without a patient until the scope that is open now ends."""
    _current.set(replace(current_scope(), patient=None))


@contextmanager
def narrowed(**changes: Any) -> Iterator[Scope]:
    """Opens a copy of the current scope with `changes`, for instance a new actor after sign-in."""
    with open_scope(replace(current_scope(), **changes)) as scope:
        yield scope
