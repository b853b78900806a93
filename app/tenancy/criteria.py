"""What a caller may say in a filter, a projection, a sort and an update, and how the tenant is joined to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId

from app.errors import TenantGuardRefused
from app.tenancy.kinds import ARCHIVED_FIELD, HIDDEN_FIELDS, SHARED_FIELD, TENANT_FIELD, Kind

Document = dict[str, Any]
Stage = Mapping[str, Any]

FORBIDDEN = frozenset({"$where", "$function", "$accumulator"})
"""Server-side JavaScript: it sees whole documents and cannot be checked."""
WHOLE_DOCUMENT = frozenset({"$getField", "$setField", "$unsetField", "$jsonSchema"})
"""Operators that reach a field by a computed name or a pattern, so a mention cannot be seen."""
SIMPLE = frozenset({str, int, float, bool, bytes, type(None), datetime, ObjectId})
"""Types of values that hold no others; asking for these first spares the slow question for a mapping."""
WHOLE_VARIABLES = ("$$ROOT", "$$CURRENT")
OWNER_REFUSED = "a document stays with its clinic for ever"
HIDDEN_REFUSED = "which clinics share or archived a document is not for callers to read or write"


def tenant_clause(kind: Kind, own: ObjectId) -> Document:
    """The filter that keeps a query inside one clinic."""
    if kind is Kind.SHARED:
        return {SHARED_FIELD: {"$elemMatch": {"$eq": own}}}
    return {TENANT_FIELD: {"$eq": own}}


def joined(kind: Kind, own: ObjectId, criteria: Any) -> Document:
    """`criteria` inside the clinic `own`. Joined with `$and`, never merged, so no key can overwrite the tenant."""
    check_filter(kind, own, criteria)
    clause = tenant_clause(kind, own)
    return {"$and": [clause, criteria]} if criteria else clause


def carries_tenant(kind: Kind, own: ObjectId, criteria: Any) -> bool:
    """Whether a filter on the wire is held to the clinic `own`, at its top or in a top-level `$and`."""
    if not isinstance(criteria, Mapping):
        return False
    clause = tenant_clause(kind, own)
    ((field, wanted),) = clause.items()
    if criteria.get(field) == wanted or (kind is Kind.TENANT and criteria.get(field) == own):
        return True
    return any(carries_tenant(kind, own, part) for part in criteria.get("$and", ()))


def pairs(value: Any, *, keys_only: bool = False) -> Iterator[tuple[str | None, Any]]:
    """Every key with its value, and every value in a list (key None) unless `keys_only`, at any depth."""
    waiting: list[Any] = [value]
    while waiting:
        current = waiting.pop()
        if type(current) is dict or isinstance(current, Mapping):
            for key, inner in current.items():
                yield key, inner
                if type(inner) not in SIMPLE:
                    waiting.append(inner)
        elif isinstance(current, list | tuple | set | frozenset):
            if keys_only:
                waiting += [inner for inner in current if type(inner) not in SIMPLE]
                continue
            for inner in current:
                yield None, inner
                if type(inner) not in SIMPLE:
                    waiting.append(inner)


def names_hidden(path: Any) -> bool:
    """Whether a field path or an expression string goes through an array of tenant ids."""
    return isinstance(path, str) and not HIDDEN_FIELDS.isdisjoint(path.lstrip("$").split("."))


def refuse_javascript(value: Any) -> None:
    """Raises `TenantGuardRefused` for server-side JavaScript at any depth."""
    waiting: list[Any] = [value]
    while waiting:
        current = waiting.pop()
        if type(current) is dict or isinstance(current, Mapping):
            if not FORBIDDEN.isdisjoint(current):
                raise TenantGuardRefused(f"{min(FORBIDDEN.intersection(current))} is not allowed")
            waiting += [inner for inner in current.values() if type(inner) not in SIMPLE]
        elif isinstance(current, list | tuple | set | frozenset):
            waiting += [inner for inner in current if type(inner) not in SIMPLE]


def refuse_hidden_keys(value: Any, own: ObjectId | None = None) -> None:
    """Raises `TenantGuardRefused` for a key that names an array of tenant ids, or could reach one unnamed.

    With `own`, a clinic may still ask whether a document is archived by itself. Values are left alone, for they
    may be what a person typed; only what stands under `$expr` is read as an expression.
    """
    for key, inner in pairs(value, keys_only=True):
        if own is not None and key == ARCHIVED_FIELD and inner in ({"$ne": own}, own):
            continue
        if key in WHOLE_DOCUMENT or names_hidden(key):
            raise TenantGuardRefused(HIDDEN_REFUSED)
        if key == "$expr":
            refuse_hidden_expressions(inner)


def refuse_hidden_expressions(value: Any) -> None:
    """Raises `TenantGuardRefused` for an expression that reads an array of tenant ids or the whole document."""
    refuse_hidden_keys(value)
    for _, inner in pairs([value]):
        if _reads_hidden(inner):
            raise TenantGuardRefused(HIDDEN_REFUSED)


def _reads_hidden(value: Any) -> bool:
    if not isinstance(value, str) or not value.startswith("$"):
        return False
    return names_hidden(value) or value.startswith(WHOLE_VARIABLES)


def check_filter(kind: Kind, own: ObjectId | None, criteria: Any) -> None:
    """Raises `TenantGuardRefused` for a filter that is no mapping or could look past its clinic."""
    if criteria is None:
        return
    if not isinstance(criteria, Mapping):
        raise TenantGuardRefused("a filter must be a mapping")
    if "$query" in criteria:
        raise TenantGuardRefused("$query is not allowed")
    refuse_javascript(criteria)
    if kind is Kind.SHARED:
        refuse_hidden_keys(criteria, own)


def checked_projection(kind: Kind, projection: Any) -> Any:
    """The projection to send. On a shared collection it always leaves the arrays of tenant ids out."""
    if projection is not None:
        refuse_javascript(projection)
    if kind is not Kind.SHARED:
        return projection
    return _without_hidden(projection)


def _without_hidden(projection: Any) -> Document:
    hidden = dict.fromkeys(sorted(HIDDEN_FIELDS), 0)
    if not projection:
        return hidden
    fields = projection if isinstance(projection, Mapping) else dict.fromkeys(projection, 1)
    if not all(isinstance(value, int | float) for value in fields.values()) or any(map(names_hidden, fields)):
        raise TenantGuardRefused("a projection on a shared collection takes or leaves fields by name only")
    includes = any(value for name, value in fields.items() if name != "_id" or len(fields) == 1)
    return dict(fields) if includes else {**fields, **hidden}


def check_sort(kind: Kind, sort: Any) -> None:
    """Raises `TenantGuardRefused` for a sort by the arrays of tenant ids: an order tells their content."""
    if kind is Kind.SHARED and any(names_hidden(name) for name in sort_names(sort)):
        raise TenantGuardRefused("a shared collection is not sorted by its clinics")


def sort_names(sort: Any) -> Iterable[Any]:
    """The fields by which a sort orders, however it is written."""
    if sort is None:
        return ()
    if isinstance(sort, str):
        return (sort,)
    if isinstance(sort, Mapping):
        return tuple(sort)
    return tuple(part[0] if isinstance(part, Sequence) and not isinstance(part, str) else part for part in sort)


def check_update(kind: Kind, own: ObjectId, update: Any) -> None:
    """Raises `TenantGuardRefused` for an update, or update pipeline, that would change or show whose a document is."""
    refuse_javascript(update)
    if not update:
        raise TenantGuardRefused("an update must change something")
    if isinstance(update, Mapping):
        _check_operators(kind, own, update)
    elif isinstance(update, list | tuple):
        _check_stages(kind, update)
    else:
        raise TenantGuardRefused("an update must be a mapping of operators or a pipeline")


def _check_operators(kind: Kind, own: ObjectId, update: Mapping[str, Any]) -> None:
    if not all(key.startswith("$") for key in update):
        raise TenantGuardRefused("an update must consist of operators; replace_one replaces")
    for operator, changes in update.items():
        if not isinstance(changes, Mapping):
            raise TenantGuardRefused(f"{operator} must be a mapping")
        if kind is Kind.SHARED:
            refuse_hidden_keys(changes)
        for path, value in changes.items():
            if operator == "$rename" and _names_owner(kind, value):
                raise TenantGuardRefused(OWNER_REFUSED)
            if is_tenant_path(path) and not _keeps_tenant(own, operator, path, value):
                raise TenantGuardRefused(OWNER_REFUSED)


def _names_owner(kind: Kind, path: Any) -> bool:
    return names_hidden(path) if kind is Kind.SHARED else is_tenant_path(path)


def is_tenant_path(path: Any) -> bool:
    return isinstance(path, str) and path.partition(".")[0] == TENANT_FIELD


def _keeps_tenant(own: ObjectId, operator: str, path: str, value: Any) -> bool:
    return operator in ("$set", "$setOnInsert") and path == TENANT_FIELD and bool(value == own)


def _check_stages(kind: Kind, stages: Sequence[Any]) -> None:
    for stage in stages:
        if not isinstance(stage, Mapping) or len(stage) != 1:
            raise TenantGuardRefused("an update pipeline is a list of single stages")
        ((name, content),) = stage.items()
        if name not in ("$set", "$addFields", "$unset"):
            raise TenantGuardRefused(f"{name} is not allowed in an update: it could drop or replace the tenant")
        fields = [content] if isinstance(content, str) else list(content)
        if any(is_tenant_path(field) or (kind is Kind.SHARED and names_hidden(field)) for field in fields):
            raise TenantGuardRefused(OWNER_REFUSED)
        if kind is Kind.SHARED:
            refuse_hidden_expressions(content)


def stamped(kind: Kind, own: ObjectId, document: Any) -> Document:
    """A copy of `document` that belongs to `own`. Raises `TenantGuardRefused` when it says it is another's."""
    if not isinstance(document, Mapping):
        raise TenantGuardRefused("a document must be a mapping")
    if kind is Kind.SHARED:
        if not HIDDEN_FIELDS.isdisjoint(document):
            raise TenantGuardRefused("the clinics of a shared document are set by the guard")
        return {**document, SHARED_FIELD: [own]}
    claimed = document.get(TENANT_FIELD)
    if claimed is not None and claimed != own:
        raise TenantGuardRefused("the document was made for another clinic")
    return {**document, TENANT_FIELD: own}
