"""Who did what at a clinic: entries in a keyed chain, from which none can be changed, dropped or moved unseen."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from models.base import PlatformDocument, TenantDocument
from models.references import ANY_ID, PlatformReference, Reference, WhenGone
from models.values import now


class AuditEntry(TenantDocument):
    """One act: who, what, about which patients, with which result, from where, in which request. Never any values.

    `seq` counts the clinic's entries from 1 without gaps. `mac` covers this entry and the one before it, under the
    key that `key_id` names.
    """

    seq: int
    at: datetime = Field(default_factory=now)
    user_id: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    by_patient: Annotated[PydanticObjectId, Reference("patients")] | None = None
    """The patient who acted, in their own session."""
    operator_entry: Annotated[PydanticObjectId, PlatformReference("operator_entries")] | None = None
    """The timed entry by which somebody who runs the system was here."""
    crossed: bool = False
    """Whether it came from another clinic, on the strength of a consent: which one, and who there, is in that
    clinic's own log under the same request."""
    action: str
    result: str
    """`begun` for a change that is announced, then `ok` or the code of the failure."""
    patient_ids: Annotated[list[PydanticObjectId], Reference("patients")] = Field(default_factory=list)
    collections: list[str] = Field(default_factory=list)
    subject: str | None = None
    """`collection/id` of the document acted on."""
    request_id: str
    address: str = ""
    key_id: str
    mac: bytes = Field(repr=False)

    class Settings:
        name = "audit_entries"
        indexes = (
            IndexModel([("tenant_id", ASCENDING), ("seq", ASCENDING)], name="seq", unique=True),
            IndexModel([("tenant_id", ASCENDING), ("at", DESCENDING), ("_id", DESCENDING)], name="at"),
            IndexModel(
                [("tenant_id", ASCENDING), ("patient_ids", ASCENDING), ("at", DESCENDING), ("_id", DESCENDING)],
                name="patient_at",
                partialFilterExpression={"patient_ids": ANY_ID},
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("user_id", ASCENDING), ("at", DESCENDING), ("_id", DESCENDING)],
                name="user_at",
                partialFilterExpression={"user_id": ANY_ID},
            ),
        )


class AuditPending(TenantDocument):
    """An entry that was stored in the transaction of its act, and is on its way into the chain under the same id."""

    at: datetime = Field(default_factory=now)
    entry: dict[str, Any]

    class Settings:
        name = "audit_pending"
        indexes = (IndexModel([("tenant_id", ASCENDING), ("_id", ASCENDING)], name="order"),)


class AuditAnchor(PlatformDocument):
    """How far a clinic's chain has come, kept apart from it: a chain that is shorter was cut."""

    clinic_id: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.DELETE)]
    seq: int
    mac: bytes = Field(repr=False)
    at: datetime = Field(default_factory=now)
    key_id: str
    seal: bytes = Field(repr=False)
    """The MAC over the anchor itself."""

    class Settings:
        name = "audit_anchors"
        indexes = (IndexModel([("clinic_id", ASCENDING)], name="clinic", unique=True),)


class AuditRemnant(PlatformDocument):
    """What is left of a deleted clinic's audit: when, what and with which result, and the chain's MACs. No people."""

    clinic_id_was: Annotated[PydanticObjectId, PlatformReference("tenants", WhenGone.KEEP)]
    first_seq: int
    last_seq: int
    entries: list[list[Any]]
    """Each is `[seq, at, action, result, mac]`."""

    class Settings:
        name = "audit_remnants"
        indexes = (
            IndexModel([("clinic_id_was", ASCENDING), ("first_seq", ASCENDING)], name="clinic_seq", unique=True),
        )
