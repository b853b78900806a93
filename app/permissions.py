"""All of authorisation in one file: what can be permitted at a clinic and above them, and who may do it by role."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Permission(StrEnum):
    """One right, written `resource:action`."""

    PATIENT_READ = "patient:read"
    PATIENT_CREATE = "patient:create"
    PATIENT_UPDATE = "patient:update"
    PATIENT_ARCHIVE = "patient:archive"
    PATIENT_SHARE = "patient:share"
    PATIENT_MERGE = "patient:merge"
    PATIENT_BREAK_GLASS = "patient:break_glass"
    PATIENT_EXPORT = "patient:export"
    PATIENT_ERASE = "patient:erase"
    APPOINTMENT_READ = "appointment:read"
    APPOINTMENT_CREATE = "appointment:create"
    APPOINTMENT_UPDATE = "appointment:update"
    APPOINTMENT_CANCEL = "appointment:cancel"
    APPOINTMENT_OVERBOOK = "appointment:overbook"
    AVAILABILITY_READ = "availability:read"
    AVAILABILITY_MANAGE = "availability:manage"
    VISIT_READ = "visit:read"
    VISIT_WRITE = "visit:write"
    VISIT_SIGN = "visit:sign"
    PRESCRIPTION_READ = "prescription:read"
    PRESCRIPTION_WRITE = "prescription:write"
    LAB_RESULT_READ = "lab_result:read"
    LAB_RESULT_WRITE = "lab_result:write"
    LAB_RESULT_RELEASE = "lab_result:release"
    IMAGING_READ = "imaging:read"
    IMAGING_WRITE = "imaging:write"
    PROCEDURE_READ = "procedure:read"
    PROCEDURE_WRITE = "procedure:write"
    REFERRAL_READ = "referral:read"
    REFERRAL_WRITE = "referral:write"
    DOCUMENT_READ = "document:read"
    DOCUMENT_WRITE = "document:write"
    CONSENT_READ = "consent:read"
    CONSENT_WRITE = "consent:write"
    QUEUE_READ = "queue:read"
    QUEUE_MANAGE = "queue:manage"
    ROOM_READ = "room:read"
    ROOM_MANAGE = "room:manage"
    SERVICE_READ = "service:read"
    SERVICE_MANAGE = "service:manage"
    SPECIALIZATION_READ = "specialization:read"
    SPECIALIZATION_MANAGE = "specialization:manage"
    STAFF_READ = "staff:read"
    STAFF_MANAGE = "staff:manage"
    ROLE_READ = "role:read"
    ROLE_MANAGE = "role:manage"
    SETTINGS_READ = "settings:read"
    SETTINGS_MANAGE = "settings:manage"
    STATISTICS_READ = "statistics:read"
    INVOICE_READ = "invoice:read"
    INVOICE_WRITE = "invoice:write"
    PAYMENT_READ = "payment:read"
    PAYMENT_WRITE = "payment:write"
    REVENUE_READ = "revenue:read"
    MEMBERSHIP_READ = "membership:read"
    MEMBERSHIP_MANAGE = "membership:manage"
    INVENTORY_READ = "inventory:read"
    INVENTORY_MANAGE = "inventory:manage"
    DISPENSING_READ = "dispensing:read"
    DISPENSING_WRITE = "dispensing:write"
    MEDICINE_READ = "medicine:read"
    MEDICINE_MANAGE = "medicine:manage"
    NOTIFICATION_READ = "notification:read"
    MESSAGE_READ = "message:read"
    MESSAGE_WRITE = "message:write"
    AUDIT_LOG_READ = "audit_log:read"
    SUBSCRIPTION_READ = "subscription:read"
    SUBSCRIPTION_MANAGE = "subscription:manage"

    @property
    def resource(self) -> str:
        return self.value.partition(":")[0]

    @property
    def action(self) -> str:
        return self.value.partition(":")[2]


@dataclass(frozen=True, slots=True)
class RoleSpec:
    """A seeded role. `level` orders roles: nobody grants a level above their own."""

    name: str
    level: int
    description: str
    permissions: frozenset[Permission]


def by_resource(permissions: Iterable[Permission]) -> Mapping[str, tuple[str, ...]]:
    """Groups permissions as they are stored: resource → its actions, both in enum order."""
    chosen = set(permissions)
    grouped: dict[str, tuple[str, ...]] = {}
    for permission in Permission:
        if permission in chosen:
            grouped[permission.resource] = (*grouped.get(permission.resource, ()), permission.action)
    return grouped


def _table(**resources: str) -> frozenset[Permission]:
    return frozenset(
        Permission(f"{resource}:{action}") for resource, actions in resources.items() for action in actions.split()
    )


ROLES: tuple[RoleSpec, ...] = (
    RoleSpec("admin", 100, "Runs the clinic: everything.", frozenset(Permission)),
    RoleSpec(
        "doctor",
        80,
        "Treats patients.",
        _table(
            patient="read create update share merge break_glass",
            appointment="read create update cancel overbook",
            availability="read manage",
            visit="read write sign",
            prescription="read write",
            lab_result="read write release",
            imaging="read write",
            procedure="read write",
            referral="read write",
            document="read write",
            consent="read write",
            queue="read manage",
            room="read",
            service="read",
            specialization="read",
            staff="read",
            medicine="read",
            inventory="read",
            dispensing="read",
            notification="read",
            message="read write",
        ),
    ),
    RoleSpec(
        "nurse",
        60,
        "Cares for patients and works in the lab.",
        _table(
            patient="read create update",
            appointment="read create update",
            availability="read",
            visit="read write",
            prescription="read",
            lab_result="read write",
            imaging="read",
            procedure="read write",
            document="read write",
            queue="read manage",
            room="read",
            service="read",
            specialization="read",
            staff="read",
            medicine="read",
            inventory="read",
            dispensing="read write",
            notification="read",
            message="read write",
        ),
    ),
    RoleSpec(
        "pharmacist",
        50,
        "Keeps the stock and hands out medicines.",
        _table(
            patient="read",
            prescription="read",
            room="read",
            service="read",
            staff="read",
            settings="read",
            medicine="read manage",
            inventory="read manage",
            dispensing="read write",
            notification="read",
            message="read write",
        ),
    ),
    RoleSpec(
        "receptionist",
        40,
        "Registers patients and books appointments.",
        _table(
            patient="read create update archive",
            appointment="read create update cancel",
            availability="read",
            document="read write",
            queue="read manage",
            room="read",
            service="read",
            specialization="read",
            staff="read",
            settings="read",
            invoice="read",
            payment="read write",
            notification="read",
            message="read write",
        ),
    ),
    RoleSpec(
        "accountant",
        30,
        "Handles invoices and payments.",
        _table(
            patient="read",
            appointment="read",
            service="read manage",
            staff="read",
            settings="read",
            statistics="read",
            invoice="read write",
            payment="read write",
            revenue="read",
            membership="read manage",
            inventory="read",
            notification="read",
            message="read write",
        ),
    ),
)

ADMIN = "admin"

REPRESENTATIVE = RoleSpec(
    "medical representative",
    10,
    "Visits for a maker of medicines: sees nothing of patients.",
    _table(medicine="read", availability="read", notification="read", message="read write"),
)
"""The role that a clinic makes when it lets such people in. Nobody whose profile is of that kind has more, whatever
role they are given: `app.auth.rights` sees to it."""


class PlatformRight(StrEnum):
    """One right above the clinics, held by those who run the system. None of them opens a clinic's data."""

    TENANT_READ = "tenant:read"
    TENANT_MANAGE = "tenant:manage"
    TENANT_ENTER = "tenant:enter"
    OPERATOR_READ = "operator:read"
    OPERATOR_MANAGE = "operator:manage"
    PLATFORM_AUDIT_READ = "platform_audit:read"
    JOB_READ = "job:read"
    JOB_MANAGE = "job:manage"


class PlatformRole(StrEnum):
    """What somebody is to the system itself."""

    SUPER_ADMIN = "super_admin"
    SUPPORT = "support"
    READONLY = "readonly"


PLATFORM_ROLES: Mapping[PlatformRole, frozenset[PlatformRight]] = {
    PlatformRole.SUPER_ADMIN: frozenset(PlatformRight),
    PlatformRole.SUPPORT: frozenset(
        {
            PlatformRight.TENANT_READ,
            PlatformRight.TENANT_ENTER,
            PlatformRight.PLATFORM_AUDIT_READ,
            PlatformRight.JOB_READ,
        }
    ),
    PlatformRole.READONLY: frozenset(
        {PlatformRight.TENANT_READ, PlatformRight.PLATFORM_AUDIT_READ, PlatformRight.JOB_READ}
    ),
}
