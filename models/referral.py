"""Referrals: a patient is sent to somebody else, who answers."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from beanie import PydanticObjectId
from pydantic import Field

from app.tenancy.sealing import Sealed
from models.base import TenantDocument
from models.clinical import by_time
from models.diagnosis import Diagnoses
from models.lab_order import OrderPriority
from models.references import PlatformReference, Reference
from models.states import Staged, Transitions
from models.values import Email, Line, Phone, Text, Value, now


class ReferralStatus(StrEnum):
    """The states of a referral; `Referral.transitions` says which may follow which."""

    DRAFT = "draft"
    SENT = "sent"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class Recipient(Value):
    """To whom a patient is sent, outside of the clinic."""

    name: Line
    organization: Line | None = None
    phone: Phone | None = None
    email: Email | None = None


_S = ReferralStatus


class Referral(Staged, TenantDocument):
    """A letter that sends a patient on, and what came back. What was sent does not change any more."""

    transitions: ClassVar[Transitions] = {
        _S.DRAFT: frozenset({_S.SENT, _S.CANCELLED}),
        _S.SENT: frozenset({_S.ACCEPTED, _S.DECLINED, _S.COMPLETED, _S.CANCELLED}),
        _S.ACCEPTED: frozenset({_S.COMPLETED, _S.CANCELLED}),
        _S.DECLINED: frozenset(),
        _S.COMPLETED: frozenset(),
        _S.CANCELLED: frozenset(),
    }

    status: ReferralStatus = ReferralStatus.DRAFT
    patient_id: Annotated[PydanticObjectId, Reference("patients")]
    doctor_id: Annotated[PydanticObjectId, Reference("staff")]
    visit_id: Annotated[PydanticObjectId, Reference("visits")] | None = None
    specialization_id: Annotated[PydanticObjectId, Reference("specializations")] | None = None
    recipient: Recipient | None = None
    priority: OrderPriority = OrderPriority.ROUTINE
    reason: Annotated[Text, Sealed()]
    summary: Annotated[Text | None, Sealed()] = None
    diagnoses: Annotated[Diagnoses, Sealed()] = Field(default_factory=list)
    written_at: datetime = Field(default_factory=now)
    sent_at: datetime | None = None
    sent_by: Annotated[PydanticObjectId, PlatformReference("users")] | None = None
    answer: Annotated[Text | None, Sealed()] = None
    answered_at: datetime | None = None

    class Settings:
        name = "referrals"
        indexes = by_time("written_at")
