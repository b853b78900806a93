"""What is stored. `ALL_DOCUMENTS` is the registry: a document that is not in it cannot be used."""

from __future__ import annotations

from beanie import Document

from models.access import Role, RolePermission
from models.appointment import Appointment, AvailabilityRule, TimeOff
from models.appointment_series import AppointmentSeries
from models.audit import AuditAnchor, AuditEntry, AuditPending, AuditRemnant
from models.base import PlatformDocument, SharedDocument, TenantDocument
from models.cluster import Cluster, CommitMark
from models.consent import Consent, ConsentTemplate
from models.conversation import Conversation, Message
from models.document import ClinicDocument, DocumentContent, StorageUsage
from models.erasure import Erasure
from models.identity_provider import ExternalIdentity, IdentityProvider, OidcFlow
from models.imaging import Imaging
from models.installation import Installation
from models.inventory import Dispensing, InventoryItem, StockLot, StockMovement
from models.invitation import EmailToken, Invitation
from models.invoice import CreditNote, Invoice
from models.job_run import JobLock, JobPart, JobRun
from models.lab import LabConnection, LabDelivery, LabMessage, LabResult
from models.lab_order import LabOrder
from models.legacy import LegacyDocument, LegacyRun
from models.medical_record import MedicalRecord
from models.medicine import Medicine
from models.notification import Notification, NotificationPreference, PushSubscription
from models.opening import Closure
from models.operator import Operator, OperatorEntry
from models.outbox import OutboxMessage
from models.patient import Patient, PatientRecord
from models.patient_import import PatientImport
from models.patient_membership import MembershipPlan, PatientMembership
from models.patient_merge import PatientMerge
from models.payment import DayClosing, Payment
from models.persisted_document import PersistedDocument
from models.platform_audit import PlatformAudit
from models.portal import OneTimeCode, PortalAccount, PortalSession, PortalTicket
from models.prescription import Prescription, RefillRequest
from models.procedure import Procedure
from models.queue import QueueEntry
from models.quote import Quote
from models.rate_bucket import RateBucket
from models.referral import Referral
from models.room import Room
from models.second_factor import Passkey, PasskeyChallenge, SecondFactor
from models.service import Service, ServiceCategory
from models.settings import Counter, Settings
from models.sharing import BreakGlass, PatientVersion, ReceivedShare, ShareCode, ShareRoute
from models.staff import Specialization, Staff
from models.subscription import PaypalEvent, PaypalOrder, PaypalRoute, SubscriptionPayment
from models.tenant import Tenant, Tombstone
from models.tenant_key import TenantKey
from models.ticket import Ticket, TicketComment
from models.user import Membership, Session, User
from models.visit import Visit

PLATFORM_DOCUMENTS: tuple[type[PlatformDocument], ...] = (
    Tenant,
    Tombstone,
    TenantKey,
    User,
    Membership,
    Session,
    SecondFactor,
    Passkey,
    PasskeyChallenge,
    PlatformAudit,
    AuditAnchor,
    AuditRemnant,
    RateBucket,
    PersistedDocument,
    Installation,
    JobLock,
    JobPart,
    JobRun,
    LabDelivery,
    ShareRoute,
    OutboxMessage,
    EmailToken,
    Operator,
    OperatorEntry,
    OidcFlow,
    PaypalRoute,
    PaypalEvent,
    LegacyDocument,
    LegacyRun,
    Cluster,
    CommitMark,
)

SHARED_DOCUMENTS: tuple[type[SharedDocument], ...] = (Patient,)

TENANT_DOCUMENTS: tuple[type[TenantDocument], ...] = (
    Role,
    RolePermission,
    Staff,
    Specialization,
    Invitation,
    PatientRecord,
    PatientImport,
    PatientVersion,
    PatientMerge,
    ConsentTemplate,
    Consent,
    ShareCode,
    ReceivedShare,
    BreakGlass,
    Room,
    ServiceCategory,
    Service,
    AppointmentSeries,
    Appointment,
    AvailabilityRule,
    TimeOff,
    Closure,
    QueueEntry,
    LabConnection,
    LabMessage,
    LabResult,
    MembershipPlan,
    PatientMembership,
    Quote,
    Invoice,
    CreditNote,
    DayClosing,
    Payment,
    PortalAccount,
    PortalSession,
    OneTimeCode,
    PortalTicket,
    Settings,
    Counter,
    IdentityProvider,
    ExternalIdentity,
    AuditEntry,
    AuditPending,
    Erasure,
    ClinicDocument,
    DocumentContent,
    StorageUsage,
    Conversation,
    Message,
    Notification,
    Ticket,
    TicketComment,
    NotificationPreference,
    PushSubscription,
    Medicine,
    InventoryItem,
    StockLot,
    StockMovement,
    Dispensing,
    Visit,
    MedicalRecord,
    Prescription,
    RefillRequest,
    LabOrder,
    Imaging,
    Procedure,
    Referral,
    PaypalOrder,
    SubscriptionPayment,
)

ALL_DOCUMENTS: tuple[type[Document], ...] = (*PLATFORM_DOCUMENTS, *SHARED_DOCUMENTS, *TENANT_DOCUMENTS)

__all__ = [
    "ALL_DOCUMENTS",
    "PLATFORM_DOCUMENTS",
    "SHARED_DOCUMENTS",
    "TENANT_DOCUMENTS",
    "Appointment",
    "AppointmentSeries",
    "AuditAnchor",
    "AuditEntry",
    "AuditPending",
    "AuditRemnant",
    "AvailabilityRule",
    "BreakGlass",
    "ClinicDocument",
    "Closure",
    "Cluster",
    "CommitMark",
    "Consent",
    "ConsentTemplate",
    "Conversation",
    "Counter",
    "CreditNote",
    "DayClosing",
    "Dispensing",
    "DocumentContent",
    "EmailToken",
    "Erasure",
    "ExternalIdentity",
    "IdentityProvider",
    "Imaging",
    "Installation",
    "InventoryItem",
    "Invitation",
    "Invoice",
    "JobLock",
    "JobPart",
    "JobRun",
    "LabConnection",
    "LabDelivery",
    "LabMessage",
    "LabOrder",
    "LabResult",
    "LegacyDocument",
    "LegacyRun",
    "MedicalRecord",
    "Medicine",
    "Membership",
    "MembershipPlan",
    "Message",
    "Notification",
    "NotificationPreference",
    "OidcFlow",
    "OneTimeCode",
    "Operator",
    "OperatorEntry",
    "OutboxMessage",
    "Passkey",
    "PasskeyChallenge",
    "Patient",
    "PatientImport",
    "PatientMembership",
    "PatientMerge",
    "PatientRecord",
    "PatientVersion",
    "Payment",
    "PaypalEvent",
    "PaypalOrder",
    "PaypalRoute",
    "PersistedDocument",
    "PlatformAudit",
    "PlatformDocument",
    "PortalAccount",
    "PortalSession",
    "PortalTicket",
    "Prescription",
    "Procedure",
    "PushSubscription",
    "QueueEntry",
    "Quote",
    "RateBucket",
    "ReceivedShare",
    "Referral",
    "RefillRequest",
    "Role",
    "RolePermission",
    "Room",
    "SecondFactor",
    "Service",
    "ServiceCategory",
    "Session",
    "Settings",
    "ShareCode",
    "ShareRoute",
    "SharedDocument",
    "Specialization",
    "Staff",
    "StockLot",
    "StockMovement",
    "StorageUsage",
    "SubscriptionPayment",
    "Tenant",
    "TenantDocument",
    "TenantKey",
    "Ticket",
    "TicketComment",
    "TimeOff",
    "Tombstone",
    "User",
    "Visit",
]
