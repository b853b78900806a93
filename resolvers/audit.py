"""The audit log: who did what at the clinic."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Any

import strawberry

from app.graphql.access import field
from app.graphql.context import Info
from app.graphql.fields import Row, computed, related, row_type, stored
from app.graphql.inputs import object_id
from app.graphql.paging import DEFAULT_PAGE, Connection
from app.graphql.related_pages import After, First
from app.permissions import Permission
from app.services import audit_log as service
from models import AuditEntry, Staff
from resolvers.base import Resolver
from resolvers.patients import PatientType


@strawberry.enum(description="On whose behalf something was done.")
class AuditActor(Enum):
    STAFF = strawberry.enum_value("staff", description="Somebody who works at the clinic.")
    PATIENT = strawberry.enum_value("patient", description="A patient, in their own session.")
    OPERATOR = strawberry.enum_value("operator", description="Somebody who runs the system, by a timed entry.")
    OTHER_CLINIC = strawberry.enum_value("other_clinic", description="Somebody at another clinic, by a consent.")
    SYSTEM = strawberry.enum_value("system", description="A command, a job, or a machine.")


def actor_of(row: Row) -> AuditActor:
    """On whose behalf an entry says that something was done."""
    if row.get("crossed"):
        return AuditActor.OTHER_CLINIC
    if row.get("operator_entry"):
        return AuditActor.OPERATOR
    if row.get("by_patient"):
        return AuditActor.PATIENT
    return AuditActor.STAFF if row.get("user_id") else AuditActor.SYSTEM


def _patient_count(row: Row) -> int:
    return len(row.get("patient_ids", ()))


@row_type("AuditPerson", model=Staff, description="Somebody of the clinic's staff who acted.")
class AuditPersonType:
    name: str = stored(description="Name.")


@row_type(
    "AuditEntry",
    model=AuditEntry,
    read=Permission.AUDIT_LOG_READ,
    description="One act at the clinic. It tells who, what and on whom, never what anything said.",
)
class AuditEntryType:
    id: strawberry.ID = stored("_id", description="Opaque id.")
    at: datetime = stored(description="When.")
    actor: AuditActor = computed(
        "crossed", "operator_entry", "by_patient", "user_id", by=actor_of, description="On whose behalf."
    )
    person: AuditPersonType | None = related(
        lambda: AuditPersonType,
        key="user_id",
        foreign="user_id",
        description="Who it was; null for patients, operators, machines and other clinics.",
    )
    action: str = stored(description="What was done: the field that was asked for, or the act, as `noun.verb`.")
    result: str = stored(
        description="`ok`; `begun` for a change that was about to be made; otherwise the code of the failure."
    )
    kinds: list[str] = stored("collections", description="What was read or written, by kind of document.")
    subject: str | None = stored(description="The document acted on, as `kind/id`.")
    patient_count: int = computed(
        "patient_ids", by=_patient_count, description="Of how many patients the data was, gone ones too."
    )
    patients: list[PatientType] = related(
        lambda: PatientType,
        key="patient_ids",
        many=True,
        description="Those of the patients who are still here. Needs `patient:read`.",
    )
    request_id: str = stored(description="The request, as it is told with failures and in the server's logs.")
    address: str = stored(description="The network address that it came from; empty for machines and other clinics.")


@strawberry.input(description="Which entries to list. All conditions must hold.")
class AuditLogFilter:
    patient_id: strawberry.ID | None = strawberry.field(default=None, description="About this patient.")
    staff_id: strawberry.ID | None = strawberry.field(default=None, description="By the person of this staff profile.")
    action: str | None = strawberry.field(default=None, description="Of this action, exactly.")
    result: str | None = strawberry.field(default=None, description="With this result, exactly.")
    from_: datetime | None = strawberry.field(default=None, name="from", description="At or after this time.")
    to: datetime | None = strawberry.field(default=None, description="Before this time.")


@strawberry.type
class AuditQuery(Resolver):
    @field(Permission.AUDIT_LOG_READ, description="What was done at the clinic, the latest first. Reading it is noted.")
    async def audit_log(
        self, info: Info, first: First = DEFAULT_PAGE, after: After = None, filter: AuditLogFilter | None = None
    ) -> Connection[AuditEntryType]:
        where = await service.listed(**_conditions(filter or AuditLogFilter()))
        return await self.page(
            info, AuditEntryType, where=where, sort=[("at", -1), ("_id", -1)], first=first, after=after
        )


def _conditions(chosen: AuditLogFilter) -> dict[str, Any]:
    ids = {
        "patient_id": object_id(chosen.patient_id, "filter.patientId") if chosen.patient_id else None,
        "staff_id": object_id(chosen.staff_id, "filter.staffId") if chosen.staff_id else None,
    }
    return {**ids, "action": chosen.action, "result": chosen.result, "start": chosen.from_, "end": chosen.to}
