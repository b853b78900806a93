"""Which stored collections belong to clinics: the registry that the guard, the wall and the schema applier share."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from app.errors import TenantGuardRefused

TENANT_FIELD = "tenant_id"
SHARED_FIELD = "tenant_ids"
ARCHIVED_FIELD = "archived_in"
HIDDEN_FIELDS = frozenset({SHARED_FIELD, ARCHIVED_FIELD})
"""Arrays of tenant ids on shared documents: they name a patient's other clinics, so nobody reads them."""


class Kind(StrEnum):
    """Whose documents a collection holds."""

    TENANT = "tenant"
    """Each document belongs to one clinic, for ever (`tenant_id`)."""
    SHARED = "shared"
    """A document may belong to several clinics (`tenant_ids`)."""
    PLATFORM = "platform"
    """Above the clinics."""


_kinds: dict[str, Kind] = {}


def register(name: str, kind: Kind) -> None:
    """Notes a collection's kind. Raises `TenantGuardRefused` when it is known as another kind."""
    if _kinds.setdefault(name, kind) is not kind:
        raise TenantGuardRefused(f"collection {name!r} is already registered as {_kinds[name]}")


def kind_of(name: object) -> Kind | None:
    """The kind of a collection; None when no document class stores there."""
    return _kinds.get(name) if isinstance(name, str) else None


def registered() -> Mapping[str, Kind]:
    """A live, read-only view: collection name → kind."""
    return MappingProxyType(_kinds)
