"""The database role for the server itself: it may do what it needs and cannot rewrite what was done.

With it, not even a server that was taken over changes or deletes an audit entry: the database refuses.
"""

from __future__ import annotations

from typing import Any

from pymongo.errors import OperationFailure

from app.db.schema import STATE
from app.tenancy.scope import Database
from app.tenancy.spanning import COMMIT_LOG
from models import (
    ALL_DOCUMENTS,
    SHARED_DOCUMENTS,
    TENANT_DOCUMENTS,
    AuditEntry,
    AuditRemnant,
    LegacyDocument,
    LegacyRun,
    PlatformAudit,
    Tenant,
)
from models.base import GuardedDocument

ROLE_EXISTS = 51002
READ_AND_WRITE = ("find", "insert", "update", "remove")
FEWER: dict[str, tuple[str, ...]] = {
    AuditEntry.guarded_name(): ("find", "insert"),
    PlatformAudit.guarded_name(): ("find", "insert"),
    AuditRemnant.guarded_name(): ("find",),
    Tenant.guarded_name(): (*READ_AND_WRITE, "changeStream"),
    STATE: ("find",),
    LegacyDocument.guarded_name(): (),
    LegacyRun.guarded_name(): (),
}
"""What differs from reading and writing. Logs only grow; the schema is applied by an operator's own user, who
alone sees what a migration keeps apart."""


ANY = ""
"""MongoDB's name for every database."""


def privileges(database: str) -> list[dict[str, Any]]:
    """What the role permits in this database, in MongoDB's terms."""
    names = [one.guarded_name() for one in ALL_DOCUMENTS if issubclass(one, GuardedDocument)]
    granted = [
        {"resource": {"db": database, "collection": name}, "actions": list(FEWER.get(name, READ_AND_WRITE))}
        for name in (*names, STATE)
        if FEWER.get(name, READ_AND_WRITE)
    ]
    return [*granted, {"resource": {"db": database, "collection": ""}, "actions": ["listCollections"]}]


def privileges_elsewhere() -> list[dict[str, Any]]:
    """What the role permits in clinics' own databases: in their collections by name, whatever the database."""
    names = [one.guarded_name() for one in (*TENANT_DOCUMENTS, *SHARED_DOCUMENTS)]
    granted = [
        {"resource": {"db": ANY, "collection": name}, "actions": list(FEWER.get(name, READ_AND_WRITE))}
        for name in (*names, STATE, COMMIT_LOG)
    ]
    return [*granted, {"resource": {"db": ANY, "collection": ""}, "actions": ["listCollections"]}]


async def apply_role(database: Database, name: str, *, elsewhere: bool = False) -> bool:
    """Makes the role, or brings it up to date; True when it is new. Needs a user who may administer roles.

    With `elsewhere` it also serves clinics with databases of their own, and is a role of `admin`: only such a role may
    reach beyond one database.
    """
    granted = [*privileges(database.name), *(privileges_elsewhere() if elsewhere else ())]
    definition: dict[str, Any] = {"privileges": granted, "roles": []}
    place = database.client["admin"] if elsewhere else database
    try:
        await place.command({"createRole": name, **definition})
    except OperationFailure as error:
        if error.code != ROLE_EXISTS:
            raise
        await place.command({"updateRole": name, **definition})
        return False
    return True
