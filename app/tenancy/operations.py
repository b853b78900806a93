"""What the guard lets pass with an operation, which clinic a session serves, and what a taken `_id` means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError, DuplicateKeyError, WriteError

from app.errors import NotFound, TenantGuardRefused
from app.tenancy.scope import TenantId

READ = frozenset({"batch_size", "collation", "comment", "hint", "limit", "max_time_ms", "skip", "sort"})
COUNT = frozenset({"collation", "comment", "hint", "limit", "max_time_ms", "skip"})
DISTINCT = frozenset({"collation", "comment", "hint", "max_time_ms"})
AGGREGATE = frozenset({"allowDiskUse", "batchSize", "collation", "comment", "hint", "maxTimeMS"})
WRITE = frozenset({"array_filters", "collation", "comment", "hint"})
DELETE = frozenset({"collation", "comment", "hint"})
FIND_AND = frozenset({"array_filters", "collation", "comment", "hint", "sort"})
INSERT = frozenset({"comment"})
"""Keyword arguments that may pass through, per family of operations. `bypass_document_validation`, `let`, `return_key`
and whatever a later driver invents are not among them."""

DUPLICATE_KEY = 11000

_session_owners: WeakKeyDictionary[AsyncClientSession, TenantId] = WeakKeyDictionary()


def claim_session(session: AsyncClientSession | None, own: TenantId) -> None:
    """Ties a session, and so its transaction, to the first clinic that uses it. Raises for a second one."""
    if session is not None and _session_owners.setdefault(session, own) != own:
        raise TenantGuardRefused("the transaction belongs to another clinic")


@contextmanager
def passed_to(session: AsyncClientSession | None, neighbour: TenantId) -> Iterator[None]:
    """Lends a session to another clinic for one step of its transaction. For `app.tenancy.crossing` alone."""
    if session is None:
        yield
        return
    own = _session_owners.pop(session, None)
    _session_owners[session] = neighbour
    try:
        yield
    finally:
        del _session_owners[session]
        if own is not None:
            _session_owners[session] = own


def allow(options: Mapping[str, Any], allowed: frozenset[str]) -> None:
    if not allowed.issuperset(options):
        unknown = ", ".join(sorted(set(options) - allowed))
        raise TenantGuardRefused(f"the guard does not pass on: {unknown}")


@contextmanager
def foreign_id_is_not_found(upsert: bool) -> Iterator[None]:
    """An upsert that meets a taken `_id` met another clinic's document: to the caller it does not exist."""
    try:
        yield
    except (DuplicateKeyError, BulkWriteError) as error:
        if upsert and _duplicate_id(error.details):
            raise NotFound from None
        raise


def failures_of(error: BulkWriteError) -> Mapping[int, WriteError]:
    """What each document of an unordered insert met, by its place, as if it had been inserted alone.

    Raises the error itself when what was stored is not known to be stored for good.
    """
    told: Any = error.details or {}
    if told.get("writeConcernErrors"):
        raise error
    return {
        one["index"]: (DuplicateKeyError if one["code"] == DUPLICATE_KEY else WriteError)(
            one.get("errmsg", ""), one["code"], {**one, "index": 0}
        )
        for one in told.get("writeErrors", ())
    }


def _duplicate_id(details: Any) -> bool:
    failures = [details or {}, *(details or {}).get("writeErrors", ())]
    return any(failure.get("keyPattern") == {"_id": 1} for failure in failures)
