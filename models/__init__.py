"""What is stored. `ALL_DOCUMENTS` is the registry: a document that is not in it cannot be used."""

from __future__ import annotations

from beanie import Document

from models.access import Role, RolePermission
from models.appointment import Appointment, AvailabilityRule, TimeOff
from models.audit import AuditEntry
from models.base import PlatformDocument, SharedDocument, TenantDocument
from models.patient import Patient, PatientRecord
from models.platform_audit import PlatformAudit
from models.rate_bucket import RateBucket
from models.room import Room
from models.service import Service
from models.settings import Counter, Settings
from models.staff import Specialization, Staff
from models.tenant import Tenant, Tombstone
from models.user import Membership, Session, User

PLATFORM_DOCUMENTS: tuple[type[PlatformDocument], ...] = (
    Tenant,
    Tombstone,
    User,
    Membership,
    Session,
    PlatformAudit,
    RateBucket,
)

SHARED_DOCUMENTS: tuple[type[SharedDocument], ...] = (Patient,)

TENANT_DOCUMENTS: tuple[type[TenantDocument], ...] = (
    Role,
    RolePermission,
    Staff,
    Specialization,
    PatientRecord,
    Room,
    Service,
    Appointment,
    AvailabilityRule,
    TimeOff,
    Settings,
    Counter,
    AuditEntry,
)

ALL_DOCUMENTS: tuple[type[Document], ...] = (*PLATFORM_DOCUMENTS, *SHARED_DOCUMENTS, *TENANT_DOCUMENTS)

__all__ = [
    "ALL_DOCUMENTS",
    "PLATFORM_DOCUMENTS",
    "SHARED_DOCUMENTS",
    "TENANT_DOCUMENTS",
    "Appointment",
    "AuditEntry",
    "AvailabilityRule",
    "Counter",
    "Membership",
    "Patient",
    "PatientRecord",
    "PlatformAudit",
    "PlatformDocument",
    "RateBucket",
    "Role",
    "RolePermission",
    "Room",
    "Service",
    "Session",
    "Settings",
    "SharedDocument",
    "Specialization",
    "Staff",
    "Tenant",
    "TenantDocument",
    "TimeOff",
    "Tombstone",
    "User",
]
