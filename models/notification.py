"""What people are told in the app, how else they want to be told, and the browsers that take pushed messages."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from beanie import PydanticObjectId
from pydantic import Field
from pymongo import ASCENDING, DESCENDING, IndexModel

from app.tenancy.sealing import Sealed
from models.base import TenantDocument
from models.references import PlatformReference, Reference
from models.values import now


class NotificationKind(StrEnum):
    """What happened."""

    MESSAGE = "message"
    PATIENT_MESSAGE = "patient_message"
    TICKET_ASSIGNED = "ticket_assigned"
    TICKET_COMMENT = "ticket_comment"
    APPOINTMENT_TOMORROW = "appointment_tomorrow"
    STOCK_LOW = "stock_low"


ALL_KINDS = list(NotificationKind)


class NotificationPreference(TenantDocument):
    """How one person wants to be told at one clinic, beside in the app: by kind, for each way."""

    user_id: Annotated[PydanticObjectId, PlatformReference("users")]
    email: list[NotificationKind] = Field(default_factory=list)
    sms: list[NotificationKind] = Field(default_factory=list)
    push: list[NotificationKind] = Field(default_factory=lambda: list(ALL_KINDS))

    class Settings:
        name = "notification_preferences"
        indexes = (IndexModel([("tenant_id", ASCENDING), ("user_id", ASCENDING)], name="user", unique=True),)


class PushSubscription(TenantDocument):
    """A browser in which a person takes messages. Its address is a secret: who has it may send."""

    user_id: Annotated[PydanticObjectId, PlatformReference("users")]
    endpoint: Annotated[str, Sealed(blind="endpoint_index")] = Field(repr=False)
    p256dh: str
    auth: Annotated[str, Sealed()] = Field(repr=False)
    created_at: datetime = Field(default_factory=now)

    class Settings:
        name = "push_subscriptions"
        indexes = (IndexModel([("tenant_id", ASCENDING), ("user_id", ASCENDING), ("created_at", -1)], name="user"),)


class Notification(TenantDocument):
    """Something that somebody at a clinic is told: one of the staff (`user_id`), or the patient (`to_patient`).

    It says what happened and where to look, never what was said. `once` names what is told of one time only.
    """

    user_id: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    patient_id: Annotated[PydanticObjectId, Reference("patients")] | None = None
    """Whom it is about; the one who is told, where `to_patient`."""
    to_patient: bool = False
    kind: NotificationKind
    conversation_id: Annotated[PydanticObjectId, Reference("conversations")] | None = None
    ticket_id: Annotated[PydanticObjectId, Reference("tickets")] | None = None
    appointment_id: Annotated[PydanticObjectId, Reference("appointments")] | None = None
    item_id: Annotated[PydanticObjectId, Reference("inventory_items")] | None = None
    once: str | None = None
    read_at: datetime | None = None
    created_at: datetime = Field(default_factory=now)

    class Settings:
        name = "notifications"
        indexes = (
            IndexModel(
                [("tenant_id", ASCENDING), ("user_id", ASCENDING), ("created_at", DESCENDING), ("_id", -1)], name="user"
            ),
            IndexModel(
                [
                    ("tenant_id", ASCENDING),
                    ("user_id", ASCENDING),
                    ("read_at", ASCENDING),
                    ("created_at", DESCENDING),
                    ("_id", -1),
                ],
                name="user_unread",
            ),
            IndexModel(
                [
                    ("tenant_id", ASCENDING),
                    ("patient_id", ASCENDING),
                    ("to_patient", ASCENDING),
                    ("created_at", DESCENDING),
                    ("_id", -1),
                ],
                name="patient",
            ),
            IndexModel(
                [("tenant_id", ASCENDING), ("once", ASCENDING)],
                name="once",
                unique=True,
                partialFilterExpression={"once": {"$gt": ""}},
            ),
        )
