"""Whether a document class can be governed: the checks that every model passes, and that a rogue one is caught by."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Iterator
from typing import Any

from beanie import Document, UnionDoc, View
from pymongo import IndexModel

import models
from app.tenancy.kinds import ARCHIVED_FIELD, SHARED_FIELD, TENANT_FIELD, Kind, kind_of
from models.base import PlatformDocument, SharedDocument, TenantDocument
from tests.contracts.test_references import undeclared_ids

BASES = (TenantDocument, SharedDocument, PlatformDocument)
OWNER = {Kind.TENANT: TENANT_FIELD, Kind.SHARED: SHARED_FIELD}
FIRST = {Kind.TENANT: (TENANT_FIELD,), Kind.SHARED: (SHARED_FIELD, ARCHIVED_FIELD)}
"""With what an index may begin: a field that holds clinics' ids, one of which each read names."""

ACROSS_CLINICS = {
    ("appointments", "claims"): "a doctor who works at two clinics must not be booked at both at once",
}
"""Unique indexes that hold across clinics, and why they must."""


def classes_of(package: str = "models") -> list[type[Any]]:
    """Every stored class that the package defines, in whichever way Beanie knows."""
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(module.name)
    found = {one for root in (Document, View, UnionDoc) for one in _below(root) if _is_in(one, package)}
    return sorted(found, key=lambda one: one.__name__)


def _below(root: type[Any]) -> Iterator[type[Any]]:
    for one in root.__subclasses__():
        yield one
        yield from _below(one)


def _is_in(one: type[Any], package: str) -> bool:
    return one.__module__.split(".")[0] == package and one.__module__ != "models.base"


def complaints(one: type[Any], registry: Iterable[type[Any]] = models.ALL_DOCUMENTS) -> list[str]:
    """What keeps a class from being governed; empty when nothing does."""
    if not (inspect.isclass(one) and issubclass(one, BASES)):
        return [f"{one.__name__} derives from none of the three document bases, so the guard never sees it"]
    found = [] if one in set(registry) else [f"{one.__name__} is not in ALL_DOCUMENTS"]
    found += [f"{one.__name__}.{name} holds an id without saying where it points" for name in undeclared_ids(one)]
    return found + list(_index_complaints(one))


def _index_complaints(one: type[Any]) -> Iterator[str]:
    kind, name = kind_of(one.guarded_name()), one.guarded_name()
    if kind not in OWNER:
        return
    indexes = [index.document for index in getattr(one.Settings, "indexes", ()) if isinstance(index, IndexModel)]
    if not indexes:
        yield f"{one.__name__} has no index that begins with {OWNER[kind]}: each of its reads would walk all clinics"
    for index in indexes:
        if next(iter(index["key"])) not in FIRST[kind] and (name, index["name"]) not in ACROSS_CLINICS:
            rule = "a unique index tells one clinic what another has" if index.get("unique") else "no clinic can use it"
            yield f"{one.__name__}: index {index['name']} does not begin with {OWNER[kind]}: {rule}"
